"""Recipe `facex-nano`: one controller for every edit (FaceX, arXiv 2401.00551), on the frozen base.

Two kinds of rows in each batch:

- *A photo is made from itself.* Its pieces come from a decoupled view of it, mirrored, turned, shifted and in other
  colours, and from itself, as the task's row of `editing.tasks` says; the region image shows what the task would leave
  of it. The loss is the base's own, of the noised photo.
- *Two people.* Some pictures are sampled from pure noise, the kept part fused in as an edit does: somebody's identity
  and looks, somebody else's canvas, pose and expression. No photo shows that, so the readers judge: the recogniser whom
  the finished face shows, the motion network what it does. (An identity loss on few-step predictions is what lifted
  DreamID and PuLID; nothing in our data shows one person twice.)

UNet, text encoder and autoencoder stay as they are. Who is to be seen is told by the identity prompt, as always.

Legend: N photos of a batch; R pairs; G = 32, the grid on which regions lie.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image
from torch import Tensor, nn

from personae.conditioning.controller import widths_of
from personae.conditioning.facex import SIZES, FaceX, Sizes
from personae.conditioning.representation import DEGREES, MEASURES, REGIONS, TOKENS
from personae.editing.canvas import GREY, WHITE
from personae.editing.tasks import ROLES, TASKS, Task
from personae.reading.differentiable import AlignedMap, crop_grid
from personae.reading.motion import MotionConfig
from personae.reading.onnx_module import OnnxModule
from personae.reading.regions import GROUPS
from personae.sampling import codec
from personae.training import captions
from personae.training.autoencoder import to_tensor
from personae.training.base import BaseTask, IdentityToFace, _Prepared, jitter, noised
from personae.training.decomposed import Decomposed
from personae.training.expression import rarity
from personae.training.faces import FaceTable
from personae.training.loop import Metrics
from personae.training.roll import STEPS, Course, Rolled, ends_and_scales, roll
from personae.types import Array

_EARLY = 0.4  # of the times, see `noised`
_KEPT = 0.25  # the weight in the loss of what an edit keeps, which is fused in anyway
_WIDER = 2  # cells of the grid by which a free region grows at most
_STEPS, _GUIDANCE = 12, 2.5  # of the report's samples
_SHOWN = 64  # held-out pairs in the report
_DEGREES = 15.0  # an error of the pose that counts as much as a spread of a blendshape
_LEAST = 0.03  # spread of a blendshape over the photos, for what is read back


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """A task as it is practised: `share` of the photos and of the `pairs`."""

    task: Task
    share: float
    pairs: float = 0.0

    def role(self, token: str) -> int:
        """Who gives a token: 0 the source, 1 the target, -1 nobody. Identity is always the decoupled view's."""
        if token == "identity":
            return 0
        return ROLES.index(self.task.givers[token]) if token in self.task.givers else -1

    @property
    def moves(self) -> bool:
        """Whether the source's photo is kept around the free region, not the target's."""
        return self.task.canvas == "source"


LESSONS = {
    lesson.task.name: lesson
    for lesson in (
        Lesson(task=TASKS["swap"], share=0.3, pairs=0.45),
        Lesson(task=TASKS["head"], share=0.2, pairs=0.15),
        Lesson(task=TASKS["reenact"], share=0.35, pairs=0.4),
        Lesson(task=TASKS["inpaint"], share=0.15),
    )
}
_NAMES = tuple(LESSONS)


class Controlled(IdentityToFace):
    """The frozen base with FaceX engaged: identity prompt and what FaceX is shown to the UNet's prediction."""

    def __init__(self, base: IdentityToFace, facex: FaceX) -> None:
        super().__init__(base.text_encoder, base.unet, base.placeholder)
        self.requires_grad_(requires_grad=False)
        self.facex = facex
        self.engaged = ExitStack()
        self.engaged.enter_context(facex.controller.engaged(self.unet))

    def forward(  # type: ignore[override]
        self, noisy: Tensor, times: Tensor, tokens: Tensor, vectors: Tensor, shown: dict[str, Any]
    ) -> Tensor:
        """shown: the arguments of `FaceX.forward`."""
        return self.led(noisy, times, tokens, vectors, self.facex(**shown))

    def led(self, noisy: Tensor, times: Tensor, tokens: Tensor, vectors: Tensor, told: Tensor | None) -> Tensor:
        """told: (M, T, C), or None for the base alone."""
        with torch.no_grad():
            words = self.condition(tokens, vectors)
        self.facex.controller.tell(told)
        return self.predict(noisy, times, words)


class FaceXTask(BaseTask):
    """See `training.loop.Trainable`. `start`: the folder of the base; `space`: of the embedder's identities; `motion`:
    of the motion reader, which judges."""

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
        identity_weight: float = 0.4,
        motion_weight: float = 0.4,
        pairs: float = 0.25,
        untold: float = 0.08,
    ) -> None:
        """`pairs`: the share of a batch's rows that show two people. `untold`: of tokens that nobody gives."""
        super().__init__(cache, vae, embedder, start=start, identity_weight=identity_weight)
        self.motion_weight, self.pairs, self.untold = motion_weight, pairs, untold
        self.maps = AlignedMap(embedder, sizes.map_name).eval()
        self.read = {name: OnnxModule(motion, name).eval() for name in ("pose", "blendshapes")}
        self.register = crop_grid("portrait", MotionConfig.template, MotionConfig.size)
        spread = self.rows.expression.std(0)
        self.varies = np.flatnonzero(spread > _LEAST)
        self.spread = torch.from_numpy(spread[self.varies])
        # Wide poses and rare expressions are met often: half of the rows are drawn by `rarity`.
        turned = np.abs(self.rows.pose[:, :1]).clip(0, 1)
        rare = rarity(np.concatenate([self.rows.expression, turned], 1))
        self.shares = 0.5 * rare + 0.5 / len(rare)
        self.test_rows = Decomposed.of(self.test, cache / "facex")
        self.model: Controlled = Controlled(self.model, FaceX(sizes, widths_of(self.model.unet), space))

    def compile(self) -> None:
        """Not: hooks and all, torch compiles each request's anew."""

    def _prepare(self, table: FaceTable, views: int, path: Path) -> _Prepared:
        self.crops = table.crops
        self.rows = Decomposed.of(table, path.parent / "facex")
        return super()._prepare(table, views, path)

    # ------------------------------------------------------------------ batches

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Any]:
        """`source` and `target`: what FaceX is shown of each row's two faces; `latents`: of the photo that is made, or
        around a pair's free region; `vectors`: the source's. The last rows are the pairs."""
        pairs = max(1, round(size * self.pairs))
        lessons = np.concatenate([self._drawn(rng, size - pairs, "share"), self._drawn(rng, pairs, "pairs")])
        paired = np.arange(size) >= size - pairs
        target = rng.choice(len(self.shares), size=size, p=self.shares)
        source = np.where(paired, rng.choice(len(self.shares), size=size, p=self.shares), target)
        sides, other = rng.integers(2, size=(2, size))
        moves = np.array([LESSONS[_NAMES[lesson]].moves for lesson in lessons])
        around = np.where(paired & moves, source, target), np.where(paired & moves, other, sides)
        views = rng.integers(self.data.vectors.shape[2], size=size)
        return {
            "lessons": lessons.astype(np.int64),
            "pairs": pairs,
            "latents": self.data.latents[around[1], around[0]],
            "inside": self.data.inside[sides, target],
            "vectors": self.data.vectors[other, source, views],
            "tokens": self._tokens([captions.IDENTITY_PROMPT] * size),
            "source": self._seen(self.rows, self.crops, source, other.astype(bool)),
            "target": self._seen(self.rows, self.crops, target, sides.astype(bool)),
        }

    def _drawn(self, rng: np.random.Generator, count: int, of: str) -> Array:
        return rng.choice(len(_NAMES), size=count, p=[getattr(lesson, of) for lesson in LESSONS.values()])

    def _seen(self, rows: Decomposed, crops: Array, which: Array, mirrored: Array) -> dict[str, Array]:
        crop = crops[which]
        crop[mirrored] = crop[mirrored][:, :, ::-1]
        return {"crops": crop, **rows.at(which, mirrored)}

    # ------------------------------------------------------------------ what FaceX is shown

    def _shown(self, batch: dict[str, Any], generator: torch.Generator) -> tuple[dict[str, Any], Tensor]:
        """The arguments of `FaceX.forward`, and the free region (M, 1, S, S)."""
        source, target, lessons = batch["source"], batch["target"], batch["lessons"]
        device = lessons.device
        alone = (torch.arange(len(lessons), device=device) < len(lessons) - batch["pairs"]).float()
        own, theirs = (to_tensor(face["crops"]) for face in (source, target))
        warp = _warps(alone, generator)
        own, shares = _warped(own, warp), _warped(source["regions"], warp)
        free = self._free(shares, target["regions"], lessons, generator)
        free = F.interpolate(free, size=own.shape[-1])
        image = self._region_image(own, theirs, shares, free, lessons)
        mesh = F.interpolate(target["meshes"].permute(0, 3, 1, 2).float() / 255, size=own.shape[-1])
        looks = _of(lessons, lambda lesson: not lesson.moves).float() * alone
        coloured = _recoloured(own, looks, generator)
        with torch.no_grad():
            maps = self.maps.to(device)(own)
        measures = {name: torch.cat([source[name], target[name]]).float() for name in MEASURES}
        shown = {
            "crops": torch.cat([coloured, theirs]),
            "shares": torch.cat([shares, target["regions"]]),
            "maps": torch.cat([maps, torch.zeros_like(maps)]),
            "measures": measures,
            "who": self._givers(lessons, generator),
            "reference": torch.cat([image, free, mesh], 1),
        }
        return shown, free

    def _givers(self, lessons: Tensor, generator: torch.Generator) -> Tensor:
        """(M, K): sources are faces 0 to M - 1, targets the ones after."""
        table = torch.full((len(_NAMES), len(TOKENS)), -1)
        for row, lesson in enumerate(LESSONS.values()):
            table[row] = torch.tensor([lesson.role(name) for name in TOKENS])
        role = table.to(lessons.device)[lessons]
        faces = torch.arange(len(lessons), device=lessons.device)[:, None] + role * len(lessons)
        lot = torch.rand(role.shape, generator=generator, device=lessons.device)
        return torch.where((role < 0) | (lot < self.untold), -1, faces)

    def _free(self, own: Tensor, theirs: Tensor, lessons: Tensor, generator: torch.Generator) -> Tensor:
        """(M, 1, G, G): of the regions (M, R, G, G) of source and target; grown, now and then."""
        device = own.device
        face, head = (
            torch.stack([part[:, [REGIONS.index(name) for name in GROUPS[group]]].sum(1) for part in (own, theirs)])
            for group in ("face", "head")
        )
        grid = own.shape[-1]
        low = torch.rand(2, len(lessons), 1, generator=generator, device=device) * 0.6
        high = low + 0.25 + 0.35 * torch.rand(low.shape, generator=generator, device=device)
        line = (torch.arange(grid, device=device) + 0.5) / grid
        across, down = ((line > a) & (line < b) for a, b in zip(low, high, strict=True))
        anywhere = (across[:, None, :] & down[:, :, None]).float()
        regions = {"face": face[1], "heads": head.amax(0), "asked": anywhere}
        kinds = torch.stack([regions[lesson.task.free] for lesson in LESSONS.values()])
        chosen = (kinds[lessons, torch.arange(len(lessons), device=device)] > 0.5).float()[:, None]
        wider = torch.randint(_WIDER + 1, (len(lessons), 1, 1, 1), generator=generator, device=device)
        grown = [F.max_pool2d(chosen, 2 * by + 1, 1, by) for by in range(_WIDER + 1)]
        return torch.stack(grown).gather(0, wider[None].expand(1, *chosen.shape))[0]

    def _region_image(self, own: Tensor, theirs: Tensor, shares: Tensor, free: Tensor, lessons: Tensor) -> Tensor:
        """I_R (M, 3, S, S)."""
        hole = torch.where(free > 0, _unit(GREY), theirs)
        head = shares[:, [REGIONS.index(name) for name in GROUPS["head"]]].sum(1, keepdim=True)
        head = F.interpolate(head, size=own.shape[-1]) > 0.5
        grey = own.mean(1, keepdim=True).expand_as(own)
        shown = {
            "hole": hole,
            "head": torch.where(head, grey, torch.where(free > 0, _unit(WHITE), theirs)),
            "whole": own,
        }
        kinds = torch.stack([shown[lesson.task.reference] for lesson in LESSONS.values()])
        return kinds[lessons, torch.arange(len(lessons), device=own.device)]

    # ------------------------------------------------------------------ losses

    def loss(self, model: nn.Module, batch: dict[str, Any], generator: torch.Generator) -> tuple[Tensor, Metrics]:
        shown, free = self._shown(batch, generator)
        cells = F.adaptive_max_pool2d(free, batch["latents"].shape[-1])
        photos = len(cells) - batch["pairs"]
        drawn = noised({name: batch[name][:photos] for name in ("latents", "inside")}, generator, _EARLY)
        weight = drawn.inside * (_KEPT + (1 - _KEPT) * cells[:photos, 0])
        drawn = replace(drawn, inside=weight)

        tokens, vectors, canvas = batch["tokens"][photos:], batch["vectors"][photos:], batch["latents"][photos:].float()
        with torch.no_grad():
            told = self.model.facex(**shown)[photos:]
        course = ends_and_scales(len(tokens), generator)
        noise = torch.randn(canvas.shape, generator=generator, device=canvas.device)
        rolled = self._rolled(tokens, vectors, told, noise, canvas, cells[photos:], course)
        made = model(
            torch.cat([drawn.noisy, rolled.noisy]),
            torch.cat([drawn.times, rolled.times]),
            batch["tokens"],
            batch["vectors"],
            shown,
        ).float()
        flow = drawn.loss(made[:photos])
        clean = torch.where(cells[photos:] > 0, rolled.clean(made[photos:]), canvas)
        images = self.vae.decoder(clean / self.vae.config.scaling_factor).float()
        alike = (self.embedder(images, jitter(len(images), generator)) * vectors).sum(-1).mean()
        off = self._off(images, {name: batch["target"][name][photos:] for name in ("pose", "expression")})
        loss = flow + self.identity_weight * (1 - alike) + self.motion_weight * off
        return loss, {"flow": flow.detach(), "identity": alike.detach(), "off": off.detach()}

    def _rolled(
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
        nothing = torch.from_numpy(self._tokens([""])).to(tokens.device).expand(len(tokens), -1)
        return roll(
            lambda noisy, times: self.model.led(noisy, times, tokens, vectors, told),
            lambda noisy, times: self.model.led(noisy, times, nothing, 0 * vectors, None),
            noise,
            course,
            steps=steps,
            fuse=lambda noisy, t: torch.where(cells > 0, noisy, (1 - t) * canvas + t * noise),
        )

    def _off(self, images: Tensor, wanted: dict[str, Tensor]) -> Tensor:
        """How far pose and blendshapes read off images (R, 3, S, S) are from those wanted (Huber's), in spreads."""
        pose, shapes = self._motion(images)
        varies = torch.from_numpy(self.varies).to(images.device)
        spread = self.spread.to(images.device)
        turned = F.smooth_l1_loss(pose / _DEGREES, wanted["pose"] * DEGREES / _DEGREES)
        made = F.smooth_l1_loss(shapes[:, varies] / spread, wanted["expression"][:, varies] / spread)
        return turned + made

    def _motion(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Pose (R, 3) in degrees and blendshapes (R, 52), as our own reader's network sees them."""
        grid = self.register.to(images.device).expand(len(images), -1, -1, -1)
        crops = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
        pose, shapes = (self.read[name].to(images.device)(crops).float() for name in ("pose", "blendshapes"))
        return pose, shapes

    # ------------------------------------------------------------------ report

    def report(self, model: nn.Module) -> dict[str, float]:
        """Held-out pairs, swapped and reenacted: the conditioning encoder's own likeness to source and target, and
        our own reader's mean absolute errors of yaw and pitch (degrees) and of blendshapes to the target's; and the
        same of the source generated with nothing told."""
        assert isinstance(model, Controlled)
        home = model.unet.device
        count = min(_SHOWN, len(self.test))
        target = np.arange(count)
        source = np.roll(target, count // 2)
        faces: dict[str, Any] = {
            name: {key: torch.as_tensor(part).to(home) for key, part in self._test_faces(rows).items()}
            for name, rows in (("source", source), ("target", target))
        }
        vectors = torch.from_numpy(self.test_vectors).to(home)
        tokens = torch.from_numpy(self._tokens([captions.IDENTITY_PROMPT] * count)).to(home)
        noise = torch.randn(self.test_latents[:count].shape, generator=torch.Generator().manual_seed(0)).to(home)
        course = Course(
            end=torch.zeros(count, 1, 1, 1, device=home), scale=torch.full((count, 1, 1, 1), _GUIDANCE).to(home)
        )
        report, self.shown = {}, [self.test.crops[source], self.test.crops[target]]
        for name in ("plain", "swap", "head", "reenact"):
            batch = {
                **faces,
                "pairs": count,
                "lessons": torch.full((count,), _NAMES.index(name) if name in _NAMES else 0),
            }
            batch["lessons"] = batch["lessons"].to(home)
            shown, free = self._shown(batch, torch.Generator(home).manual_seed(0))
            plain = name == "plain"
            canvas = torch.from_numpy(self.test_latents).float().to(home)[source if name == "reenact" else target]
            cells = torch.ones_like(canvas[:, :1]) if plain else F.adaptive_max_pool2d(free, canvas.shape[-1])
            told = None if plain else model.facex(**shown)
            made = self._rolled(tokens, vectors[source], told, noise, canvas, cells, course, _STEPS).noisy
            images = self.vae.decoder(made / self.vae.config.scaling_factor).float()
            seen, (pose, shapes) = self.embedder(images), self._motion(images)
            report[f"{name}_source"] = float((seen * vectors[source]).sum(-1).mean())
            report[f"{name}_target"] = float((seen * vectors[target]).sum(-1).mean())
            off = (pose - faces["target"]["pose"] * DEGREES).abs().mean(0)
            report |= {f"{name}_yaw": float(off[0]), f"{name}_pitch": float(off[1])}
            report[f"{name}_expression"] = float((shapes - faces["target"]["expression"]).abs().mean())
            self.shown.append(codec.to_uint8(images))
        return report

    def _test_faces(self, rows: Array) -> dict[str, Array]:
        return self._seen(self.test_rows, self.test.crops, rows, np.zeros(len(rows), bool))

    def export(self, model: nn.Module, folder: Path) -> None:
        """`facex/`, and `samples.png`: sources, targets, the source alone, swapped, the head, reenacted."""
        assert isinstance(model, Controlled)
        model.facex.save(folder / "facex")
        Image.fromarray(np.concatenate([np.concatenate(list(row[:16]), 1) for row in self.shown])).save(
            folder / "samples.png"
        )


def _unit(level: int) -> float:
    """0-255 as -1 to 1."""
    return level / 127.5 - 1


def _of(lessons: Tensor, holds: Callable[[Lesson], bool]) -> Tensor:
    """(M,) bool"""
    return torch.tensor([holds(lesson) for lesson in LESSONS.values()], device=lessons.device)[lessons]


def _warps(strength: Tensor, generator: torch.Generator) -> Tensor:
    """(M, 2, 3) similarities of the unit square, by the strength (M,) of each: turns of 8 degrees, scales of 8 % and
    shifts of 4 % are usual."""
    turn, scale, *shift = torch.randn(4, len(strength), generator=generator, device=strength.device) * strength
    size, angle = torch.exp(0.08 * scale), 0.14 * turn
    cosine, sine = size * torch.cos(angle), size * torch.sin(angle)
    right, down = (0.08 * one for one in shift)
    return torch.stack([torch.stack([cosine, -sine, right], 1), torch.stack([sine, cosine, down], 1)], 1)


def _warped(maps: Tensor, warps: Tensor) -> Tensor:
    grid = F.affine_grid(warps, [*maps.shape], align_corners=False).to(maps)
    return F.grid_sample(maps, grid, padding_mode="border", align_corners=False)


def _recoloured(images: Tensor, strength: Tensor, generator: torch.Generator) -> Tensor:
    """Images in other light and colours: gain, contrast and tint, by the strength (M,) of each."""
    drawn = torch.randn(len(images), 5, 1, 1, generator=generator, device=images.device) * strength[:, None, None, None]
    contrast, light, tint = torch.exp(0.25 * drawn[:, :1]), 0.2 * drawn[:, 1:2], 0.1 * drawn[:, 2:]
    return (images * contrast + light + tint).clamp(-1, 1)
