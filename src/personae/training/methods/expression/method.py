"""Recipe `nano-expression`: an adapter that makes nano's faces do what blendshapes ask, on the frozen base.

The adapter is the published one's kind (arXiv 2510.04706; IP-Adapter, Ye et al. 2023), small: an MLP takes the 52
numbers to four tokens, and every cross-attention layer attends to them with keys and values of its own, whose matrices
are products of two thin ones and are stored so. Of a photo it learns what the identity and the noise do not say
already; of each ten photos one comes without its expression, half of those without identity too, for guidance.

That alone teaches slowly: a photo full of noise still shows how its mouth is. So some people of each batch are sampled
from pure noise with somebody else's expression, in three guided steps without gradient and a fourth with it; the
motion network, as a differentiable module, reads the face, and what it reads is held to the request.

Most photos are of neutral or smiling faces. Rows are drawn by `rarity`, so that wide open mouths are met often.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from personae.shapes import Float, Shaped
from personae.training.compilation import compile_blocks
from personae.training.loop import Metrics
from personae.training.losses import noised
from personae.training.methods.base.data import BaseFiles, TrainingFaces
from personae.training.methods.base.setting import Setting
from personae.training.methods.expression.data import FacesWithExpressions
from personae.training.methods.expression.evaluator import ExpressionEvaluator
from personae.training.methods.expression.export import export_adapter
from personae.training.methods.expression.network import ExpressionToFace, build_adapter
from personae.training.motion_judge import MotionJudge
from personae.training.rollout import ends_and_scales, roll

_EARLY = 0.7  # of the times, see `noised`
_STILL = 0.05  # a blendshape that moves no further in any photo is not listened to


class ExpressionTask:
    """See `training.loop.Trainable`."""

    def __init__(
        self,
        files: BaseFiles,
        motion: Path,
        *,
        dropout: float = 0.1,
        read_weight: float = 0.3,
        read_images: int = 8,
    ) -> None:
        """files: of the base. motion: of the motion reader, which judges. dropout: the share of photos without their
        expression. read_weight: of the expressions read off `read_images` sampled faces."""
        pictures = TrainingFaces.of(files.caches, files.frame)
        self.setting = Setting.open(files, pictures)
        self.data = FacesWithExpressions(self.setting, pictures.table, dropout=dropout)
        self.read_weight, self.read_images = read_weight, read_images
        self.judge = MotionJudge(motion, files.frame.template, self.data.expressions[0].std(0))
        moved = self.data.expressions[0].max(0) > _STILL
        self.model = ExpressionToFace(self.setting.base, build_adapter(self.setting.base.unet, moved))
        self.evaluator = ExpressionEvaluator(self.setting, motion)
        self.batch = self.data.batch

    def compile(self) -> None:
        """The UNet's blocks."""
        compile_blocks(self.model.unet)

    def loss(
        self, model: nn.Module, batch: dict[str, Shaped[Tensor, " ..."]], generator: torch.Generator
    ) -> tuple[Float[Tensor, ""], Metrics]:
        """The flow loss of photos; and of sampled faces, how far their expression is from the requested one."""
        drawn = noised(batch, generator, _EARLY)
        tokens, vectors, expressions = self._people(batch, generator)
        course = ends_and_scales(len(tokens), generator)
        noise = torch.randn(len(tokens), *drawn.noisy.shape[1:], generator=generator, device=tokens.device)
        nothing = self.setting.tokens_of("", 1, tokens.device).expand(len(tokens), -1)
        rolled = roll(
            lambda noisy, times: self.model(noisy, times, tokens, vectors, expressions),
            lambda noisy, times: self.model(noisy, times, nothing, vectors, 0 * expressions),
            noise,
            course,
        )
        prediction = model(
            torch.cat([drawn.noisy, rolled.noisy]),
            torch.cat([drawn.times, rolled.times]),
            torch.cat([batch["tokens"], tokens]),
            torch.cat([batch["vectors"], vectors]),
            torch.cat([batch["expressions"], expressions]),
        ).float()
        photos = len(drawn.times)
        flow, off = drawn.loss(prediction[:photos]), self._off(rolled.clean(prediction[photos:]), expressions)
        return flow + self.read_weight * off, {"flow": flow.detach(), "off": off.detach()}

    def _people(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Some of the batch's people: tokens (R, L), vectors (R, D), and another row's expression each (R, 52)."""
        has_person = self.model.has_person(batch["tokens"])
        lot = torch.rand(len(has_person), generator=generator, device=has_person.device)
        rows = torch.where(has_person, lot, 2.0).argsort()[: self.read_images]
        return batch["tokens"][rows], batch["vectors"][rows], batch["expressions"][rows.roll(1)]

    def _off(self, clean: Tensor, expressions: Tensor) -> Tensor:
        """How far the blendshapes read off the faces of latents are from those requested (R, 52)."""
        images = self.setting.networks.for_judges(clean)
        return self.judge.expression_off(self.judge.read(images)[1], expressions)

    def report(self, model: nn.Module) -> dict[str, float]:
        """See `ExpressionEvaluator`."""
        assert isinstance(model, ExpressionToFace)
        return self.evaluator.report(model)

    def export(self, model: nn.Module, folder: Path) -> None:
        """`exp_adapter/`, and `samples.png`: held-out people, the ones whose expressions they take, and the faces."""
        assert isinstance(model, ExpressionToFace)
        export_adapter(model.adapter, folder / "exp_adapter")
        self.evaluator.sheet().save(folder / "samples.png")
