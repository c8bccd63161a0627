"""What FaceX practises, whatever its base: whose pieces a row takes, and what it reads of the canvas.

    lessons = drawn(rng, 12, "share")                                # the tasks of 12 photos
    inputs, free = facex_inputs(batch, maps, generator, dropout=0.08)   # arguments of `FaceX.forward`; the free region

A batch has `lessons` (M,) int64, rows of `LESSONS`; `pairs`, how many of its last rows no photo shows, `free`
(M, G, G) bool, the free region of rows whose task leaves that to its user; and for `source` and `target` what was read
off each row's two faces: `crops` (M, S, S, 3) uint8, `regions` (M, R, G, G) shares, `meshes` (M, s, s, 3) uint8 normal
maps, and `representation.MEASURES`. In the other rows, which a photo shows, the source is a decoupled view of the
target's photo, or of another picture of the same person: turned, shifted and in other colours. In pairs they are two
people; or, where the task asks something of one (`is_own`), twice the same photo, the target's measures changed.

Legend: M rows; K names of `TOKENS`; R regions; G = 32, the grid on which they lie; S side of a crop.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from personae.conditioning.facex.representation import MEASURES, REGIONS, TOKENS
from personae.editing.masks import GREY, WHITE
from personae.editing.tasks import ROLES, TASKS, Task
from personae.reading.region_table import GROUPS
from personae.shapes import Bool, Float, Int, Shaped
from personae.training.images import to_tensor
from personae.types import Array

_WIDER = 2  # cells of the grid by which a free region grows at most


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """A task as it is practised: `share` of the photos and of the `pairs`. recoloured: how much the colours of what a
    source shows differ from those to be made; 0 where they are to be carried over."""

    task: Task
    share: float
    pairs: float = 0.0
    recoloured: float = 1.0

    def role(self, token: str) -> int:
        """Who gives a token: 0 the source, 1 the target, -1 nobody. Identity is always the decoupled view's."""
        if token == "identity":
            return 0
        return ROLES.index(self.task.token_roles[token]) if token in self.task.token_roles else -1

    @property
    def moves(self) -> bool:
        """Whether the canvas around the free region is the source's photo, not the target's."""
        return self.task.canvas == "source"


LESSONS = {
    lesson.task.name: lesson
    for lesson in (
        Lesson(task=TASKS["swap"], share=0.25, pairs=0.2),
        Lesson(task=TASKS["head"], share=0.2, pairs=0.15, recoloured=0.2),  # hair has no other colour than its own
        Lesson(task=TASKS["reenact"], share=0.25, pairs=0.25, recoloured=0.0),
        Lesson(task=TASKS["inpaint"], share=0.15, pairs=0.1),
        Lesson(task=TASKS["attribute"], share=0.15, pairs=0.3, recoloured=0.0),
    )
}
NAMES = tuple(LESSONS)


def drawn(rng: np.random.Generator, count: int, of: str) -> Array:
    """(count,) int64 rows of `LESSONS`, as often as each one's `share` or `pairs` says."""
    return rng.choice(len(NAMES), size=count, p=[getattr(lesson, of) for lesson in LESSONS.values()])


def moves(lessons: Int[Array, " M"]) -> Bool[Array, " M"]:
    """(M,) bool"""
    return np.array([LESSONS[NAMES[lesson]].moves for lesson in lessons])


def is_own(lessons: Int[Array, " M"]) -> Bool[Array, " M"]:
    """(M,) bool: of whom nobody else has a part."""
    return np.array(["source" not in LESSONS[NAMES[lesson]].task.roles for lesson in lessons])


def still(batch: Mapping[str, Any]) -> Tensor:
    """(M, 52) the blendshapes that each row's canvas shows: the source's where it is their photo, moved."""
    of_source = torch.tensor([lesson.moves or lesson.task.name == "attribute" for lesson in LESSONS.values()])
    rows = of_source.to(batch["lessons"].device)[batch["lessons"]]
    return torch.where(rows[:, None], batch["source"]["expression"], batch["target"]["expression"])


# ---------------------------------------------------------------------- what FaceX reads


def facex_inputs(
    batch: Mapping[str, Any], recogniser_maps: nn.Module, generator: torch.Generator, *, dropout: float
) -> tuple[dict[str, Any], Tensor]:
    """The arguments of `FaceX.forward`, and the free region (M, 1, S, S).

    recogniser_maps: the recogniser's `AlignedMap`. dropout: the share of tokens without a source.
    """
    source, target, lessons = batch["source"], batch["target"], batch["lessons"]
    device = lessons.device
    alone = (torch.arange(len(lessons), device=device) < len(lessons) - batch["pairs"]).float()
    own, theirs = (to_tensor(face["crops"]) for face in (source, target))
    warp = _warps(alone, generator)
    own, shares = _warped(own, warp), _warped(source["regions"], warp)
    free = _free(shares, target["regions"], batch["free"], lessons, generator)
    free = F.interpolate(free, size=own.shape[-1])
    image = _region_image(own, theirs, shares, free, lessons)
    mesh = F.interpolate(target["meshes"].permute(0, 3, 1, 2).float() / 255, size=own.shape[-1])
    strength = torch.tensor([lesson.recoloured for lesson in LESSONS.values()], device=device)[lessons]
    coloured = _recoloured(own, strength * alone, generator)
    with torch.no_grad():
        maps = recogniser_maps.to(device)(own)
    measures = {name: torch.cat([source[name], target[name]]).float() for name in MEASURES}
    inputs = {
        "crops": torch.cat([coloured, theirs]),
        "shares": torch.cat([shares, target["regions"]]),
        "maps": torch.cat([maps, torch.zeros_like(maps)]),
        "measures": measures,
        "face_index": _face_index(lessons, generator, dropout),
        "reference": torch.cat([image, free, mesh], 1),
    }
    return inputs, free


def _face_index(lessons: Tensor, generator: torch.Generator, dropout: float) -> Tensor:
    """(M, K): for each token the row of its source face, -1: none. Sources are faces 0 to M - 1."""
    table = torch.full((len(NAMES), len(TOKENS)), -1)
    for row, lesson in enumerate(LESSONS.values()):
        table[row] = torch.tensor([lesson.role(name) for name in TOKENS])
    role = table.to(lessons.device)[lessons]
    faces = torch.arange(len(lessons), device=lessons.device)[:, None] + role * len(lessons)
    lot = torch.rand(role.shape, generator=generator, device=lessons.device)
    return torch.where((role < 0) | (lot < dropout), -1, faces)


def _free(own: Tensor, theirs: Tensor, requested: Tensor, lessons: Tensor, generator: torch.Generator) -> Tensor:
    """(M, 1, G, G): of the regions (M, R, G, G) of source and target, or as requested (M, G, G); sometimes grown."""
    device = own.device
    face, head = (
        torch.stack([part[:, [REGIONS.index(name) for name in GROUPS[group]]].sum(1) for part in (own, theirs)])
        for group in ("face", "head")
    )
    regions = {"face": face[1], "heads": head.amax(0), "asked": requested.float(), "moved": requested.float()}
    kinds = torch.stack([regions[lesson.task.edit_mask] for lesson in LESSONS.values()])
    chosen = (kinds[lessons, torch.arange(len(lessons), device=device)] > 0.5).float()[:, None]
    wider = torch.randint(_WIDER + 1, (len(lessons), 1, 1, 1), generator=generator, device=device)
    grown = [F.max_pool2d(chosen, 2 * by + 1, 1, by) for by in range(_WIDER + 1)]
    return torch.stack(grown).gather(0, wider[None].expand(1, *chosen.shape))[0]


def _region_image(own: Tensor, theirs: Tensor, shares: Tensor, free: Tensor, lessons: Tensor) -> Tensor:
    """I_R (M, 3, S, S)."""
    hole = torch.where(free > 0, _unit(GREY), theirs)
    head = shares[:, [REGIONS.index(name) for name in GROUPS["head"]]].sum(1, keepdim=True)
    head = F.interpolate(head, size=own.shape[-1]) > 0.5
    grey = own.mean(1, keepdim=True).expand_as(own)
    images = {
        "hole": hole,
        "head": torch.where(head, grey, torch.where(free > 0, _unit(WHITE), theirs)),
        "whole": own,
    }
    kinds = torch.stack([images[lesson.task.reference] for lesson in LESSONS.values()])
    return kinds[lessons, torch.arange(len(lessons), device=own.device)]


def _unit(level: int) -> float:
    """0-255 as -1 to 1."""
    return level / 127.5 - 1


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


# ---------------------------------------------------------------------- what comes of it


def hair_off(
    images: Float[Tensor, "M 3 S S"],
    source: Mapping[str, Tensor],
    target: Mapping[str, Tensor],
    which: Shaped[Tensor, " M"],
) -> Float[Tensor, ""]:
    """How far the hair of images (M, 3, S, S), which hold their heads as the targets do, is from the sources' in
    colour: means and spreads of its pixels in [-1, 1]. which: (M,) bool, those that count."""
    wanted = _colours(to_tensor(source["crops"]), source["regions"])
    found = _colours(images, target["regions"])
    return (F.smooth_l1_loss(found, wanted, beta=0.1, reduction="none").mean(1) * which).sum() / which.sum().clamp(
        min=1
    )


def _colours(images: Tensor, shares: Tensor) -> Tensor:
    """(M, 6): mean and spread of each channel over the hair."""
    weight = F.interpolate(shares[:, [REGIONS.index("hair")]].float(), size=images.shape[-1])
    weight = weight / weight.sum((2, 3), keepdim=True).clamp(min=1e-3)
    mean = (images * weight).sum((2, 3))
    spread = ((images - mean[..., None, None]).square() * weight).sum((2, 3))
    return torch.cat([mean, (spread + 1e-4).sqrt()], 1)
