"""Recipe `nano-expression`: an adapter that makes nano's faces do what blendshapes ask, on the frozen base.

The adapter is the published one's kind (arXiv 2510.04706; IP-Adapter, Ye et al. 2023), small: an MLP takes the 52
numbers to four tokens, and every cross-attention layer attends to them with keys and values of its own, whose matrices
are products of two thin ones and are stored so. Of a photo it learns what the identity and the noise do not say
already; of each ten photos one is shown without its expression, half of those without identity too, for guidance.

That alone teaches slowly: a photo full of noise still shows how its mouth is. So some people of each batch are sampled
from pure noise, asked for somebody else's expression, in three guided steps without gradient and a fourth with it; the
motion network, as a differentiable module, reads the face, and what it reads is held to what was asked.

Most photos are of neutral or smiling faces. Rows are drawn by `rarity`, so that a wide open mouth is seen often.
"""

import hashlib
from pathlib import Path

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from PIL import Image
from torch import Tensor, nn

from personae.conditioning.blendshapes import adapter_input
from personae.conditioning.expression_adapter import (
    FILE,
    MLP_NAMES,
    PARTS,
    ExpressionControl,
)
from personae.io.tensors import in_half, save_tensors
from personae.reading import align
from personae.reading.face_motion import MotionConfig, OnnxMotionReader
from personae.sampling import codec, schedulers
from personae.sampling.guidance import guided
from personae.sampling.loop import denoise
from personae.training import captions
from personae.training.face_table import FaceTable
from personae.training.loop import Metrics
from personae.training.losses import noised
from personae.training.methods.base.data import Prepared
from personae.training.methods.base.method import BaseTask
from personae.training.methods.expression.network import ExpressionToFace, build_adapter
from personae.training.mirror import mirrored_blendshapes
from personae.training.motion_judge import MotionJudge
from personae.training.rarity import rarity
from personae.training.rollout import ends_and_scales, roll
from personae.types import BLENDSHAPES, Array

_EARLY = 0.7  # of the times, see `noised`
_STILL = 0.05  # a blendshape that moves no further in any photo is not listened to
_WATCHED = ("mouthSmile", "jawOpen", "eyeBlink", "browInnerUp")


class ExpressionTask(BaseTask):
    """See `training.loop.Trainable`. `start`: the export of the base; `motion`: of the motion reader, which judges."""

    def __init__(
        self,
        cache: Path,
        vae: Path,
        embedder: Path,
        motion: Path,
        *,
        start: Path,
        untold: float = 0.1,
        read_weight: float = 0.3,
        read_images: int = 12,
    ) -> None:
        """`untold`: the share of photos shown without their expression. `read_weight`: of the expressions read off
        `read_images` sampled faces."""
        super().__init__(cache, vae, embedder, start=start)
        self.untold, self.read_weight, self.read_images = untold, read_weight, read_images
        self.judge = MotionJudge(motion, "portrait", self.expressions[0].std(0))
        self.reader = OnnxMotionReader(
            motion.parent, MotionConfig(file=motion.name, sha256=hashlib.sha256(motion.read_bytes()).hexdigest())
        )
        self.test_expressions = adapter_input(self.test.blendshapes)
        # Whose expression each held-out person is asked for: never their own, which identities may give away.
        self.others = np.roll(np.arange(len(self.test)), len(self.test) // 2)
        moved = self.expressions[0].max(0) > _STILL
        self.model: ExpressionToFace = ExpressionToFace(self.model, build_adapter(self.model.unet, moved))

    def _prepare(self, table: FaceTable, views: int, path: Path) -> Prepared:
        """The base's latents and vectors; and, of the same rows, the expressions."""
        shapes = adapter_input(table.blendshapes)
        self.expressions = np.stack([shapes, shapes[:, mirrored_blendshapes()]])  # (2, N, 52): plain, mirrored
        self.shares = rarity(table.blendshapes)
        return super()._prepare(table, views, path)

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Array]:
        rows = rng.choice(len(self.shares), size=size, p=self.shares)
        sides, views = rng.integers(2, size=size), rng.integers(self.data.vectors.shape[2], size=size)
        lot = rng.random(size)
        expressions = self.expressions[sides, rows]
        expressions[lot < self.untold] = 0
        prompts = ["" if draw < self.untold / 2 else captions.IDENTITY_PROMPT for draw in lot]
        return {
            "latents": self.data.latents[sides, rows],
            "vectors": self.data.vectors[sides, rows, views],
            "inside": self.data.inside[sides, rows],
            "tokens": self.tokens(prompts),
            "expressions": expressions,
        }

    def loss(self, model: nn.Module, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, Metrics]:
        drawn = noised(batch, generator, _EARLY)
        tokens, vectors, expressions = self._people(batch, generator)
        course = ends_and_scales(len(tokens), generator)
        noise = torch.randn(len(tokens), *drawn.noisy.shape[1:], generator=generator, device=tokens.device)
        nothing = torch.from_numpy(self.tokens([""])).to(tokens.device).expand(len(tokens), -1)
        rolled = roll(
            lambda noisy, times: self.model(noisy, times, tokens, vectors, expressions),
            lambda noisy, times: self.model(noisy, times, nothing, vectors, 0 * expressions),
            noise,
            course,
        )
        made = model(
            torch.cat([drawn.noisy, rolled.noisy]),
            torch.cat([drawn.times, rolled.times]),
            torch.cat([batch["tokens"], tokens]),
            torch.cat([batch["vectors"], vectors]),
            torch.cat([batch["expressions"], expressions]),
        ).float()
        photos = len(drawn.times)
        flow, off = drawn.loss(made[:photos]), self._off(rolled.clean(made[photos:]), expressions)
        return flow + self.read_weight * off, {"flow": flow.detach(), "off": off.detach()}

    def _people(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Some of the batch's people: tokens (R, L), vectors (R, D), and another row's expression each (R, 52)."""
        asked = self.model.asked(batch["tokens"], batch["vectors"])
        lot = torch.rand(len(asked), generator=generator, device=asked.device)
        rows = torch.where(asked, lot, 2.0).argsort()[: self.read_images]
        return batch["tokens"][rows], batch["vectors"][rows], batch["expressions"][rows.roll(1)]

    def _off(self, clean: Tensor, asked: Tensor) -> Tensor:
        """How far the blendshapes read off the faces of latents are from those asked for."""
        images = self.decoded(clean)
        return self.judge.expression_off(self.judge.read(images)[1], asked)

    def report(self, model: nn.Module) -> dict[str, float]:
        """Held-out flow loss at fixed noise: told the expression, told none, and without the adapter. And, on
        held-out people asked for other people's expressions, correlations of what was asked with what our own reader
        reads off the faces (left and right averaged)."""
        assert isinstance(model, ExpressionToFace)
        home = model.unet.device
        expressions = torch.from_numpy(self.test_expressions).to(home)
        told, untold = self._held_out(model, expressions), self._held_out(model, torch.zeros_like(expressions))
        model.adapter.attach(model.unet, scale=0.0)
        without = self._held_out(model, expressions)
        model.adapter.attach(model.unet)
        report = {"held_out_told": told, "held_out_untold": untold, "held_out_without": without}
        self.made = self._faces(model, expressions[self.others])
        points = np.array(align.template("portrait").points) * self.made.shape[1] - 0.5
        read = np.stack([self.reader.read(image, points).blendshapes for image in self.made])
        asked = self.test_expressions[self.others]
        return report | {name: correlation(name, asked, read) for name in _WATCHED}

    def _held_out(self, model: ExpressionToFace, expressions: Tensor) -> float:
        home = expressions.device
        clean, vectors = (torch.from_numpy(part).float().to(home) for part in (self.test_latents, self.test_vectors))
        times = torch.linspace(0.02, 0.98, len(clean), device=home)
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)).to(home)
        t = times[:, None, None, None]
        tokens = torch.from_numpy(self.tokens([captions.IDENTITY_PROMPT] * len(clean))).to(home)
        made = model((1 - t) * clean + t * noise, times, tokens, vectors, expressions).float()
        return float((made - (noise - clean)).pow(2).mean())

    def _faces(self, model: ExpressionToFace, expressions: Tensor) -> Array:
        """(N, H, W, 3) uint8 of the held-out people, by the package's own loop: 12 Euler steps at guidance 2.5."""
        home = expressions.device
        vectors = torch.from_numpy(self.test_vectors).to(home)
        asked, free = (
            model.condition(torch.from_numpy(self.tokens([prompt] * len(rows))).to(home), rows)
            for prompt, rows in ((captions.IDENTITY_PROMPT, vectors), ("", vectors[:1]))
        )
        control = ExpressionControl(adapter=model.adapter, vectors=expressions.cpu())  # attached: no need to engage
        noise = torch.randn(self.test_latents.shape, generator=torch.Generator().manual_seed(0)).to(home)
        scheduler = schedulers.fresh(None, like=FlowMatchEulerDiscreteScheduler(), steps=12, device=home)
        latents = denoise(guided(model.unet, asked, free, 2.5, hooks=[control]), noise, scheduler)
        return codec.to_uint8(codec.decode(self.vae, latents))

    def export(self, model: nn.Module, folder: Path) -> None:
        """`exp_adapter/`, in half precision and the published layout, matrices as their two factors; `samples.png`:
        held-out people, the ones whose expressions they were asked for, and the faces made."""
        assert isinstance(model, ExpressionToFace)
        names = {new: old for old, new in MLP_NAMES.items()}
        tensors = {}
        for key, value in model.adapter.projection.image_projection_layers[0].state_dict().items():
            module, _, kind = key.rpartition(".")
            tensors[f"image_proj.{names.get(module, module)}.{kind}"] = value
        for index, processor in enumerate(model.adapter.processors.values()):
            for part in PARTS:
                down, up = getattr(processor, part)[0]
                name = f"ip_adapter.{2 * index + 1}.{part}"
                tensors |= {f"{name}.down.weight": down.weight, f"{name}.up.weight": up.weight}
        target = folder / "exp_adapter"
        target.mkdir(parents=True, exist_ok=True)
        save_tensors(target / FILE, in_half(tensors))
        count = min(24, len(self.made))
        rows = self.test.crops[:count], self.test.crops[self.others[:count]], self.made[:count]
        Image.fromarray(np.concatenate([np.concatenate(list(row), 1) for row in rows])).save(folder / "samples.png")


def correlation(name: str, asked: Array, read: Array) -> float:
    """Pearson's, of one blendshape (or the mean of its two sides) in two tables (N, 52); 0 where one never varies."""
    columns = [i for i, shape in enumerate(BLENDSHAPES) if shape in (name, name + "Left", name + "Right")]
    one, other = asked[:, columns].mean(1), read[:, columns].mean(1)
    if min(np.ptp(one), np.ptp(other)) < 1e-6:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])
