"""Recipe `facex-nano`: one controller for every edit (FaceX, arXiv 2401.00551), on the frozen base.

Two kinds of rows in each batch:

- *A photo is made from itself.* Its pieces come from a decoupled view of it, mirrored, turned, shifted and in other
  colours, and from itself, as the task's row of `editing.tasks` says; the region image shows what the task would leave
  of it. The loss is the base's own, of the noised photo.
- *Pairs.* Some pictures are sampled from pure noise, the rest of the canvas fused in as an edit does: somebody's
  identity and looks, somebody else's canvas, pose and expression; or somebody's own, with a request for another pose or
  expression (`self_edit_tasks`). No photo shows that, so the readers judge: the recogniser whom the finished face
  shows, the motion network what it does; and hair is to have its own colour on another head. (An identity loss on
  few-step predictions is what lifted DreamID and PuLID; nothing in our data shows one person twice.)

UNet, text encoder and autoencoder stay as they are. The identity prompt says who is to be shown, as always.

Legend: N photos of a batch; R pairs.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from personae.conditioning.facex.controller import widths_of
from personae.conditioning.facex.network import SIZES, FaceX, Sizes
from personae.reading.differentiable import AlignedMap, last_map
from personae.sampling import codec
from personae.shapes import Float, Int
from personae.training import sheets
from personae.training.jitter import jitter
from personae.training.loop import Metrics, to_device
from personae.training.losses import noised
from personae.training.methods.base.data import BaseFiles, TrainingFaces
from personae.training.methods.base.frozen import autocast
from personae.training.methods.base.setting import Setting
from personae.training.methods.facex.data import FacesToEdit
from personae.training.methods.facex.evaluator import PLAIN, Exam
from personae.training.methods.facex.lessons import NAMES, facex_inputs, hair_off, still
from personae.training.methods.facex.network import Controlled
from personae.training.motion_judge import MotionJudge
from personae.training.rollout import STEPS, Course, Rolled, ends_and_scales, roll
from personae.types import Array

_EARLY = 0.4  # of the times, see `noised`
_CANVAS_WEIGHT = 0.25  # in the loss, of what an edit leaves as it is, which is fused in anyway
_SHEET = 16  # people


class FaceXTask:
    """See `training.loop.Trainable`."""

    def __init__(
        self,
        files: BaseFiles,
        motion: Path,
        *,
        space: str,
        sizes: Sizes = SIZES["facex-nano"],
        identity_weight: float = 0.6,
        motion_weight: float = 0.6,
        hair_weight: float = 0.5,
        pairs: float = 0.3,
        dropout: float = 0.08,
    ) -> None:
        """files: of the base, and of a FaceX to go on with, if it has one. motion: of the motion reader, which judges.
        space: of the embedder's identities. sizes: of a new FaceX; `side` and the map are taken from the base. pairs:
        the share of a batch's rows that no photo shows. dropout: of tokens that nobody gives."""
        pictures = TrainingFaces.of(files.caches, files.frame)
        self.setting = Setting.open(files, pictures)
        self.data = FacesToEdit(self.setting, pictures.table, files.cache / "facex", pairs=pairs)
        self.identity_weight, self.motion_weight, self.hair_weight = identity_weight, motion_weight, hair_weight
        self.dropout = dropout
        self.judge = MotionJudge(motion, files.frame.template, self.data.rows.expression.std(0))
        folder, widths = files.part("facex"), widths_of(self.setting.base.unet)
        facex = FaceX(_fitting(sizes, files), widths, space) if folder is None else FaceX.load(folder)
        self.maps = AlignedMap(files.embedder, facex.sizes.map_name, source=files.frame.template).eval()
        self.model = Controlled(self.setting.base, facex.train().requires_grad_(requires_grad=True))
        self.pictures_of_report: list[Array] = []

    def compile(self) -> None:
        """Not: hooks and all, torch compiles each request's anew."""

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Any]:
        """See `FacesToEdit`."""
        return self.data.batch(rng, size)

    def inputs(self, batch: dict[str, Any], generator: torch.Generator) -> tuple[dict[str, Any], Tensor]:
        """The arguments of `FaceX.forward`, and the free region (M, 1, S, S)."""
        return facex_inputs(batch, self.maps, generator, dropout=self.dropout)

    def loss(
        self, model: nn.Module, batch: dict[str, Any], generator: torch.Generator
    ) -> tuple[Float[Tensor, ""], Metrics]:
        """Of photos the flow loss; of pairs what the readers say."""
        inputs, free = self.inputs(batch, generator)
        cells = F.adaptive_max_pool2d(free, batch["latents"].shape[-1])
        photos = len(cells) - batch["pairs"]
        photo = noised({name: batch[name][:photos] for name in ("latents", "inside")}, generator, _EARLY)
        weight = photo.inside * (_CANVAS_WEIGHT + (1 - _CANVAS_WEIGHT) * cells[:photos, 0])
        photo = replace(photo, inside=weight)

        tokens, vectors, canvas = batch["tokens"][photos:], batch["vectors"][photos:], batch["latents"][photos:].float()
        with torch.no_grad():
            face_tokens = self.model.facex(**inputs)[photos:]
        course = ends_and_scales(len(tokens), generator)
        noise = torch.randn(canvas.shape, generator=generator, device=canvas.device)
        rolled = self.rolled(tokens, vectors, face_tokens, noise, canvas, cells[photos:], course)
        velocities = model(
            torch.cat([photo.noisy, rolled.noisy]),
            torch.cat([photo.times, rolled.times]),
            batch["tokens"],
            batch["vectors"],
            inputs,
        ).float()
        flow = photo.loss(velocities[:photos])
        images = self.setting.networks.for_judges(self._finished(rolled, velocities[photos:], canvas, cells[photos:]))
        alike = self.setting.networks.likeness(images, vectors, generator).mean()
        source, target = ({name: part[photos:] for name, part in batch[role].items()} for role in ("source", "target"))
        off = self.judge.off(images, target, jitter=jitter(len(images), generator), before=still(batch)[photos:])
        hair = hair_off(images, source, target, batch["lessons"][photos:] == NAMES.index("head"))
        loss = flow + self.identity_weight * (1 - alike) + self.motion_weight * off + self.hair_weight * hair
        figures = {"flow": flow, "identity": alike, "off": off, "hair": hair}
        return loss, {name: figure.detach() for name, figure in figures.items()}

    @torch.no_grad()
    def pictures(self, batch: dict[str, Any], generator: torch.Generator) -> Array:
        """(M, S, S, 3) uint8, of a batch that is all pairs: as `loss` shows them to those who judge."""
        home = self.model.unet.device
        batch = to_device(batch, home)
        with autocast(home):
            inputs, free = self.inputs(batch, generator)
            face_tokens, canvas = self.model.facex(**inputs), batch["latents"].float()
            cells = F.adaptive_max_pool2d(free, canvas.shape[-1])
            noise = torch.randn(canvas.shape, generator=generator, device=home)
            identity = batch["tokens"], batch["vectors"]
            rolled = self.rolled(*identity, face_tokens, noise, canvas, cells, ends_and_scales(len(canvas), generator))
            velocity = self.model.led(rolled.noisy, rolled.times, *identity, face_tokens).float()
            return codec.to_uint8(self.setting.networks.decode(self._finished(rolled, velocity, canvas, cells)))

    def _finished(self, rolled: Rolled, velocity: Tensor, canvas: Tensor, cells: Tensor) -> Tensor:
        """(R, c, h, w) the faces that velocities mean, the canvas where cells are not free."""
        return torch.where(cells > 0, rolled.clean(velocity), canvas)

    def rolled(
        self,
        tokens: Int[Tensor, "R L"],
        vectors: Float[Tensor, "R D"],
        face_tokens: Float[Tensor, "R T C"] | None,
        noise: Float[Tensor, "R c h w"],
        canvas: Float[Tensor, "R c h w"],
        cells: Float[Tensor, "R 1 h w"],
        course: Course,
        steps: int = STEPS,
    ) -> Rolled:
        """Faces (R, c, h, w) on their way, the canvas fused in where cells (R, 1, h, w) are not free."""
        nothing = self.setting.tokens_of("", 1, tokens.device).expand(len(tokens), -1)
        return roll(
            lambda noisy, times: self.model.led(noisy, times, tokens, vectors, face_tokens),
            lambda noisy, times: self.model.led(noisy, times, nothing, 0 * vectors, None),
            noise,
            course,
            steps=steps,
            fuse=lambda noisy, t: torch.where(cells > 0, noisy, (1 - t) * canvas + t * noise),
        )

    def report(self, model: nn.Module) -> dict[str, float]:
        """See `evaluator.Exam`."""
        assert model is self.model
        exam = Exam(self)
        report: dict[str, float] = {}
        for name in (PLAIN, "swap", "head", "reenact"):
            report |= exam.lesson(name)
        report |= exam.mouths()
        self.pictures_of_report = exam.pictures
        return report

    def export(self, model: nn.Module, folder: Path) -> None:
        """`facex/`, and `samples.png`: sources, targets, the source alone, swapped, the head, reenacted; its mouth
        opened."""
        assert isinstance(model, Controlled)
        model.facex.save(folder / "facex")
        sheets.in_rows(*(row[:_SHEET] for row in self.pictures_of_report)).save(folder / "samples.png")


def _fitting(sizes: Sizes, files: BaseFiles) -> Sizes:
    """The sizes for pictures of the base and the last map of its embedder."""
    name, shape = last_map(files.embedder)
    return replace(sizes, side=files.frame.side, map_name=name, map_shape=shape)
