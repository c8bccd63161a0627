"""Recipe `facex-nano`: one controller for every edit (FaceX, arXiv 2401.00551), on the frozen base.

Two kinds of rows in each batch:

- *A photo is made from itself.* Its pieces come from a decoupled view of it, mirrored, turned, shifted and in other
  colours, and from itself, as the task's row of `editing.tasks` says; the region image shows what the task would leave
  of it. The loss is the base's own, of the noised photo.
- *Pairs.* Some pictures are sampled from pure noise, the kept part fused in as an edit does: somebody's identity and
  looks, somebody else's canvas, pose and expression; or somebody's own, asked for another pose or expression
  (`own_photo`). No photo shows that, so the readers judge: the recogniser whom the finished face shows, the motion
  network what it does; and hair is to keep its colour on another head. (An identity loss on few-step predictions is
  what lifted DreamID and PuLID; nothing in our data shows one person twice.)

UNet, text encoder and autoencoder stay as they are. Who is to be seen is told by the identity prompt, as always.

Legend: N photos of a batch; R pairs.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image
from torch import Tensor, nn

from personae.conditioning.facex.controller import widths_of
from personae.conditioning.facex.network import CONFIG, SIZES, FaceX, Sizes
from personae.reading.differentiable import AlignedMap
from personae.sampling import codec
from personae.training import captions, self_edit_tasks
from personae.training.crop_motion import marks_in_crops
from personae.training.face_table import FaceTable
from personae.training.jitter import jitter
from personae.training.loop import Metrics, to_device
from personae.training.losses import noised
from personae.training.methods.base.data import Prepared
from personae.training.methods.base.method import BaseTask
from personae.training.methods.facex.decomposed import Decomposed
from personae.training.methods.facex.evaluator import PLAIN, Exam
from personae.training.methods.facex.lessons import NAMES, drawn, hair_off, is_own, moves, shown, still
from personae.training.methods.facex.network import Controlled
from personae.training.motion_judge import MotionJudge
from personae.training.rarity import rarity
from personae.training.rollout import STEPS, Course, Rolled, ends_and_scales, roll
from personae.types import Array

_EARLY = 0.4  # of the times, see `noised`
_KEPT = 0.25  # the weight in the loss of what an edit keeps, which is fused in anyway


class FaceXTask(BaseTask):
    """See `training.loop.Trainable`. `start`: the folder of the base, and of a FaceX to go on with, if it has one;
    `space`: of the embedder's identities; `motion`: of the motion reader, which judges."""

    def __init__(
        self,
        cache: Path,
        vae: Path,
        embedder: Path,
        motion: Path,
        *,
        start: Path,
        space: str,
        sizes: Sizes = SIZES["facex-nano"],
        identity_weight: float = 0.6,
        motion_weight: float = 0.6,
        hair_weight: float = 0.5,
        pairs: float = 0.3,
        untold: float = 0.08,
    ) -> None:
        """`pairs`: the share of a batch's rows that no photo shows; `untold`: of tokens that nobody gives."""
        super().__init__(cache, vae, embedder, start=start, identity_weight=identity_weight)
        self.motion_weight, self.hair_weight = motion_weight, hair_weight
        self.pairs, self.untold = pairs, untold
        self.maps = AlignedMap(embedder, sizes.map_name).eval()
        self.judge = MotionJudge(motion, "portrait", self.rows.expression.std(0))
        # Wide poses and rare expressions are met often: half of the rows are drawn by `rarity`.
        turned = np.abs(self.rows.pose[:, :1]).clip(0, 1)
        rare = rarity(np.concatenate([self.rows.expression, turned], 1))
        self.shares = 0.5 * rare + 0.5 / len(rare)
        self.test_rows, self.test_marks = Decomposed.of(self.test, cache / "facex"), marks_in_crops(self.test)
        folder = start / "facex"
        facex = FaceX.load(folder) if (folder / CONFIG).is_file() else FaceX(sizes, widths_of(self.model.unet), space)
        self.model: Controlled = Controlled(self.model, facex.train().requires_grad_(requires_grad=True))

    def compile(self) -> None:
        """Not: hooks and all, torch compiles each request's anew."""

    def _prepare(self, table: FaceTable, views: int, path: Path) -> Prepared:
        self.crops, self.marks = table.crops, marks_in_crops(table)
        self.rows = Decomposed.of(table, path.parent / "facex")
        return super()._prepare(table, views, path)

    # ------------------------------------------------------------------ batches

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Any]:
        """`source` and `target`: what FaceX is shown of each row's two faces; `latents`: of the photo that is made, or
        around a pair's free region; `vectors`: the source's. The last rows are the pairs."""
        pairs = max(1, round(size * self.pairs))
        lessons = np.concatenate([drawn(rng, size - pairs, "share"), drawn(rng, pairs, "pairs")])
        paired = np.arange(size) >= size - pairs
        own = paired & is_own(lessons)
        target = rng.choice(len(self.shares), size=size, p=self.shares)
        source = np.where(paired & ~own, rng.choice(len(self.shares), size=size, p=self.shares), target)
        sides, other = np.where(own, 0, rng.integers(2, size=(2, size)))
        kept = paired & moves(lessons)  # the source's photo
        around = np.where(kept, source, target), np.where(kept, other, sides)
        views = rng.integers(self.data.vectors.shape[2], size=size)
        seen = self._seen(self.rows, self.crops, source, other.astype(bool))
        wanted = self._seen(self.rows, self.crops, target, sides.astype(bool))
        return {
            "lessons": lessons.astype(np.int64),
            "pairs": pairs,
            "asked": self_edit_tasks.ask(rng, lessons, own, self.marks[target], wanted, template="portrait"),
            "latents": self.data.latents[around[1], around[0]],
            "inside": self.data.inside[sides, target],
            "vectors": self.data.vectors[other, source, views],
            "tokens": self.tokens([captions.IDENTITY_PROMPT] * size),
            "source": seen,
            "target": wanted,
        }

    def _seen(self, rows: Decomposed, crops: Array, which: Array, mirrored: Array) -> dict[str, Array]:
        crop = crops[which]
        crop[mirrored] = crop[mirrored][:, :, ::-1]
        return {"crops": crop, **rows.at(which, mirrored)}

    def inputs(self, batch: dict[str, Any], generator: torch.Generator) -> tuple[dict[str, Any], Tensor]:
        """The arguments of `FaceX.forward`, and the free region (M, 1, S, S)."""
        return shown(batch, self.maps, generator, untold=self.untold)

    # ------------------------------------------------------------------ losses

    def loss(self, model: nn.Module, batch: dict[str, Any], generator: torch.Generator) -> tuple[Tensor, Metrics]:
        asked, free = self.inputs(batch, generator)
        cells = F.adaptive_max_pool2d(free, batch["latents"].shape[-1])
        photos = len(cells) - batch["pairs"]
        photo = noised({name: batch[name][:photos] for name in ("latents", "inside")}, generator, _EARLY)
        weight = photo.inside * (_KEPT + (1 - _KEPT) * cells[:photos, 0])
        photo = replace(photo, inside=weight)

        tokens, vectors, canvas = batch["tokens"][photos:], batch["vectors"][photos:], batch["latents"][photos:].float()
        with torch.no_grad():
            told = self.model.facex(**asked)[photos:]
        course = ends_and_scales(len(tokens), generator)
        noise = torch.randn(canvas.shape, generator=generator, device=canvas.device)
        rolled = self.rolled(tokens, vectors, told, noise, canvas, cells[photos:], course)
        made = model(
            torch.cat([photo.noisy, rolled.noisy]),
            torch.cat([photo.times, rolled.times]),
            batch["tokens"],
            batch["vectors"],
            asked,
        ).float()
        flow = photo.loss(made[:photos])
        images = self._finished(rolled, made[photos:], canvas, cells[photos:])
        alike = (self.embedder(images, jitter(len(images), generator)) * vectors).sum(-1).mean()
        source, target = ({name: part[photos:] for name, part in batch[who].items()} for who in ("source", "target"))
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
        with torch.autocast(home.type, torch.bfloat16):
            asked, free = self.inputs(batch, generator)
            told, canvas = self.model.facex(**asked), batch["latents"].float()
            cells = F.adaptive_max_pool2d(free, canvas.shape[-1])
            noise = torch.randn(canvas.shape, generator=generator, device=home)
            who = batch["tokens"], batch["vectors"]
            rolled = self.rolled(*who, told, noise, canvas, cells, ends_and_scales(len(canvas), generator))
            made = self.model.led(rolled.noisy, rolled.times, *who, told).float()
            return codec.to_uint8(self._finished(rolled, made, canvas, cells))

    def _finished(self, rolled: Rolled, made: Tensor, canvas: Tensor, cells: Tensor) -> Tensor:
        """(R, 3, S, S) the faces that the velocities `made` mean, the canvas where cells are not free."""
        return self.decoded(torch.where(cells > 0, rolled.clean(made), canvas))

    def rolled(
        self,
        tokens: Tensor,
        vectors: Tensor,
        told: Tensor | None,
        noise: Tensor,
        canvas: Tensor,
        cells: Tensor,
        course: Course,
        steps: int = STEPS,
    ) -> Rolled:
        """Faces (R, c, h, w) on their way, the canvas fused in where cells (R, 1, h, w) are not free."""
        nothing = torch.from_numpy(self.tokens([""])).to(tokens.device).expand(len(tokens), -1)
        return roll(
            lambda noisy, times: self.model.led(noisy, times, tokens, vectors, told),
            lambda noisy, times: self.model.led(noisy, times, nothing, 0 * vectors, None),
            noise,
            course,
            steps=steps,
            fuse=lambda noisy, t: torch.where(cells > 0, noisy, (1 - t) * canvas + t * noise),
        )

    # ------------------------------------------------------------------ report

    def report(self, model: nn.Module) -> dict[str, float]:
        """See `facex_report.Exam`."""
        assert model is self.model
        exam = Exam(self)
        report: dict[str, float] = {}
        for name in (PLAIN, "swap", "head", "reenact"):
            report |= exam.taken(name)
        report |= exam.mouths()
        self.shown = exam.shown
        return report

    def test_faces(self, rows: Array) -> dict[str, Array]:
        """What FaceX is shown of held-out people, by their rows."""
        return self._seen(self.test_rows, self.test.crops, rows, np.zeros(len(rows), bool))

    def export(self, model: nn.Module, folder: Path) -> None:
        """`facex/`, and `samples.png`: sources, targets, the source alone, swapped, the head, reenacted; its mouth
        opened."""
        assert isinstance(model, Controlled)
        model.facex.save(folder / "facex")
        Image.fromarray(np.concatenate([np.concatenate(list(row[:16]), 1) for row in self.shown])).save(
            folder / "samples.png"
        )
