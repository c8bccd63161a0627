"""Recipe `face0-nano`: text, face, and both, by one set of weights: the base goes on, and a projector beside it.

As in Face0 (arXiv 2306.06638) projector and UNet learn together. But *both* can be dropped, some photos come without
words, some without their face; and the base's own way of naming somebody, `{person}`, is practised along. Three terms:

- the flow loss of photos with caption and face, beside each other or around `{person}`;
- faces sampled from noise with somebody's face and phrases drawn evenly, which need not be true of any photo, are to
  look like that person,
- and to do what the phrases say, as the motion network and the pixels tell (`phrases`). Photos alone do not teach that:
  open mouths and black and white are too rare among them, and a noised photo still shows what the words say.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from personae.conditioning.face0 import SIZES, FaceTokens, Sizes
from personae.errors import BadData
from personae.shapes import Float
from personae.training import captions
from personae.training.compilation import compile_blocks
from personae.training.loop import Metrics
from personae.training.losses import noised
from personae.training.methods.base.data import BaseFiles
from personae.training.methods.base.export import export_base
from personae.training.methods.base.setting import Setting
from personae.training.methods.face0.data import WordsAndFaces
from personae.training.methods.face0.evaluator import Face0Evaluator
from personae.training.methods.face0.network import FacedText
from personae.training.methods.face0.shares import Shares
from personae.training.motion_judge import MotionJudge
from personae.training.phrases import short
from personae.training.rollout import Rolled, ends_and_scales, roll
from personae.types import BLENDSHAPES


class Face0Task:
    """See `training.loop.Trainable`."""

    def __init__(
        self,
        files: BaseFiles,
        motion: Path,
        *,
        space: str,
        sizes: Sizes = SIZES["face0-nano"],
        shares: Shares | None = None,
        identity_weight: float = 0.2,
        phrase_weight: float = 0.3,
        requests: int = 8,
        beginning: int = 1500,
    ) -> None:
        """files: of the base, and of face tokens to go on with, if it has some. motion: of the motion reader, which
        judges. space: of the embedder's identities. requests: faces sampled from noise in each step. beginning: the
        steps in which fresh face tokens first learn what the base itself says of a person (`FacedText.begin`). Raises
        `BadData` for face tokens of another space."""
        self.setting = Setting.open(files)
        folder = files.part("face_tokens")
        projector = FaceTokens(sizes, space) if folder is None else FaceTokens.load(folder)
        if projector.space != space:
            raise BadData(f"{folder} reads identities of {projector.space!r}, this training's are of {space!r}")
        tokens = projector.sizes.tokens
        self.data = WordsAndFaces(self.setting, shares or Shares(), reserved=tokens, requests=requests)
        self.identity_weight, self.phrase_weight = identity_weight, phrase_weight
        self.judge = MotionJudge(motion, files.frame.template, np.ones(len(BLENDSHAPES), np.float32))
        self.model = FacedText(self.setting.base, projector)
        if folder is None:
            named, nothing = (
                torch.from_numpy(each)
                for each in (self.setting.prompts.tokens([captions.IDENTITY_PROMPT]), self.data.beside([""]))
            )
            vectors = self.setting.faces.vectors
            people = torch.from_numpy(vectors.reshape(-1, vectors.shape[-1])).float()
            self.model.begin(named, nothing, people, beginning)
        self.evaluator = Face0Evaluator(self.setting, self.data, self.judge)
        self.batch = self.data.batch

    def compile(self) -> None:
        """The UNet's blocks."""
        compile_blocks(self.model.unet)

    def loss(
        self, model: nn.Module, batch: dict[str, Any], generator: torch.Generator
    ) -> tuple[Float[Tensor, ""], Metrics]:
        """The three terms."""
        photo, requests = noised(batch, generator), batch["requests"]
        rolled = self._rolled(requests, generator)
        prediction = model(
            torch.cat([photo.noisy, rolled.noisy]),
            torch.cat([photo.times, rolled.times]),
            *(torch.cat([batch[name], requests[name]]) for name in ("tokens", "vectors", "named")),
        ).float()
        photos = len(photo.times)
        flow = photo.loss(prediction[:photos])
        images = self.setting.networks.for_judges(rolled.clean(prediction[photos:]))
        cosines = self.setting.networks.likeness(images, requests["vectors"], generator)
        alike = _mean(cosines, requests["vectors"].any(-1))
        bounded = torch.isfinite(requests["low"]).any(-1) | torch.isfinite(requests["high"]).any(-1)
        off = _mean(short(self.judge.readings(images, generator), requests["low"], requests["high"]), bounded)
        loss = flow + self.identity_weight * (1 - alike) + self.phrase_weight * off
        return loss, {"flow": flow.detach(), "identity": alike.detach(), "off": off.detach()}

    @torch.no_grad()
    def _rolled(self, requests: dict[str, Tensor], generator: torch.Generator) -> Rolled:
        """The requested faces on their way from pure noise. The last step has gradients and runs with the batch."""
        tokens, vectors, named = requests["tokens"], requests["vectors"], requests["named"]
        nothing = torch.from_numpy(self.data.beside([""])).to(tokens.device).expand(len(tokens), -1)
        conditional = self.model.conditioning(tokens, vectors, named)
        unconditional = self.model.conditioning(nothing, torch.zeros_like(vectors), named)
        noise = torch.randn(len(tokens), *self.setting.faces.shape, generator=generator, device=tokens.device)
        return roll(
            lambda noisy, times: self.model.predict(noisy, times, conditional),
            lambda noisy, times: self.model.predict(noisy, times, unconditional),
            noise,
            ends_and_scales(len(tokens), generator),
        )

    def report(self, model: nn.Module) -> dict[str, float]:
        """See `Face0Evaluator`."""
        assert isinstance(model, FacedText)
        return self.evaluator.report(model)

    def export(self, model: nn.Module, folder: Path) -> None:
        """`face_tokens/`, and with it the base, which has learnt, too: `unet/`, `text_encoder/`, `tokenizer/`; and
        `samples.png`: held-out people, real above generated with the words of their own photo."""
        assert isinstance(model, FacedText)
        model.projector.save(folder / "face_tokens")
        export_base(model, self.setting.prompts, folder)
        self.evaluator.sheet().save(folder / "samples.png")


def _mean(values: Tensor, where: Tensor) -> Tensor:
    """Of those values (N,) for which `where` (N,) bool holds; 0 if there are none."""
    return (values * where).sum() / where.sum().clamp(min=1)
