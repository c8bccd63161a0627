"""Recipe `nano-controlnet`: faces that hold the pose and expression of a normal map.

A copy of the UNet's encoder gets, beside the UNet's own inputs, the map of the very photo that is being denoised,
drawn from that photo's labelled landmarks, and learns what to add to the UNet's skips (Zhang et al. 2023). UNet and
text encoder stay as they are, so everything else the model can do stays too. Only low-rank changes of the copy and the
layers that a ControlNet adds are trained and shipped (`sampling.controlnet.save_difference`).

What a noised photo still shows of a pose, need not be learnt from the map. So some people are sampled from noise, with
the map of their own face in another pose or expression (`self_edit_tasks`), and the motion network judges.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn

from personae.sampling.controlnet import save_difference
from personae.sampling.fast import modes
from personae.shapes import Float
from personae.training.compilation import compile_blocks
from personae.training.jitter import jitter
from personae.training.loop import Metrics
from personae.training.losses import noised
from personae.training.methods.base.data import BaseFiles, TrainingFaces
from personae.training.methods.base.setting import Setting
from personae.training.methods.pose.data import FacesWithMaps
from personae.training.methods.pose.evaluator import PoseEvaluator
from personae.training.methods.pose.network import posed, trainable_copy
from personae.training.motion_judge import MotionJudge
from personae.training.rollout import ends_and_scales, roll

RANK = 4
# Of the map's embedding, by the pixels of a latent cell; with rank 4, nano's difference takes 1.1 MB.
CHANNELS = {8: (12, 24, 32, 48), 16: (8, 12, 24, 32, 48)}
_EARLY = 0.7  # of the times, see `noised`


class PoseControlTask:
    """See `training.loop.Trainable`. `model` is the ControlNet, `frozen` the base."""

    def __init__(
        self,
        files: BaseFiles,
        motion: Path,
        *,
        rank: int = RANK,
        channels: tuple[int, ...] | None = None,
        read_weight: float = 0.3,
        read_images: int = 8,
    ) -> None:
        """files: of the base that the ControlNet is for. motion: the motion reader, which judges samples. channels: of
        the map's embedding, each half as large as the one before it; None: as the base's pictures need. read_weight:
        of what the reader reads off `read_images` sampled faces."""
        pictures = TrainingFaces.of(files.caches, files.frame)
        self.setting = Setting.open(files, pictures)
        home = modes.device_for(None)
        base = self.setting.base.to(home, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.frozen = base.eval().requires_grad_(False)
        self.model = trainable_copy(self.frozen.unet, rank=rank, channels=channels or CHANNELS[files.frame.cell])
        if home.type == "cpu":
            self.model.set_attn_processor(AttnProcessor())  # as in the base recipe: faster over sequences this short
        self.data = FacesWithMaps(self.setting, pictures.table, requests=read_images)
        self.read_weight = read_weight
        self.judge = MotionJudge(motion, files.frame.template, self.data.shapes.std(0))
        self.evaluator = PoseEvaluator(self.setting, motion)

    def compile(self) -> None:
        """The blocks of UNet and ControlNet."""
        compile_blocks(self.frozen.unet)
        compile_blocks(self.model)

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Any]:
        """See `FacesWithMaps`."""
        return self.data.batch(rng, size)

    def loss(
        self, model: nn.Module, batch: dict[str, Any], generator: torch.Generator
    ) -> tuple[Float[Tensor, ""], Metrics]:
        """The flow loss of photos with their maps; and of sampled faces, how far they are from the request."""
        drawn, requests = noised(batch, generator, _EARLY), batch["requests"]
        tokens, vectors, maps = (requests[name] for name in ("tokens", "vectors", "maps"))
        nothing = self.setting.tokens_of("", 1, tokens.device).expand(len(tokens), -1)
        noise = torch.randn(len(tokens), *drawn.noisy.shape[1:], generator=generator, device=tokens.device)
        rolled = roll(
            lambda noisy, times: posed(self.frozen, model, noisy, times, tokens, vectors, maps),
            lambda noisy, times: posed(self.frozen, None, noisy, times, nothing, 0 * vectors, maps),
            noise,
            ends_and_scales(len(tokens), generator),
        )
        prediction = posed(
            self.frozen,
            model,
            torch.cat([drawn.noisy, rolled.noisy]),
            torch.cat([drawn.times, rolled.times]),
            *(torch.cat([batch[name], requests[name]]) for name in ("tokens", "vectors", "maps")),
        )
        photos = len(drawn.times)
        flow = drawn.loss(prediction[:photos])
        images = self.setting.networks.for_judges(rolled.clean(prediction[photos:]))
        off = self.judge.off(images, requests, jitter=jitter(len(images), generator), before=requests["before"])
        return flow + self.read_weight * off, {"flow": flow.detach(), "off": off.detach()}

    def report(self, model: nn.Module) -> dict[str, float]:
        """See `PoseEvaluator`."""
        return self.evaluator.report(model)

    def export(self, model: nn.Module, folder: Path) -> None:
        """`controlnet/`, and `samples.png`: held-out people, the map above the face."""
        save_difference(model, folder / "controlnet")
        self.evaluator.sheet().save(folder / "samples.png")
