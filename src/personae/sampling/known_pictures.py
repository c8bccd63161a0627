"""The pictures that a mask blend preserves, and its masks, however a caller passes them, as latents and cells.

    known = KnownPictures.read(image, mask, grid=(16, 16), cell=8)
    blend = known.blend(vae, device, strength=1.0, people=2, person_index=[0, 0, 1])

The pictures are as large as those to be generated: cut them first (`reading.align.crop`), or let `personae.editing` do
so, which also puts the result back into the photo.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from personae.errors import BadOption
from personae.reading.photo import PhotoSource, load_photo, record_of
from personae.sampling import codec
from personae.sampling.mask_blend import MaskBlend, cells
from personae.shapes import Bool, Shaped
from personae.types import Array, Photo

_WHITE = 127  # above it a pixel of a mask is repainted


@dataclass(frozen=True, kw_only=True)
class KnownPictures:
    """photos: one or more, of the size of the pictures to be generated. masks: (K, h, w) bool, the cells of the latents
    that are repainted. masked: whether there is a mask, or everything is repainted."""

    photos: Sequence[Photo]
    masks: Bool[Tensor, "K h w"]
    masked: bool

    @classmethod
    def read(cls, image: Any, mask: Any, *, grid: tuple[int, int], cell: int) -> KnownPictures:
        """One picture, or several in a list or an array (N, H, W, 3); masks also as nested lists, as recipes hold them,
        and as arrays (N, H, W). cell: pixels along a side of a cell. Raises `BadOption`, `BadImage`."""
        size = (grid[0] * cell, grid[1] * cell)
        photos = [load_photo(one) for one in each_of(image)]
        for photo in photos:
            _require_size("image", photo.pixels.shape[:2], size)
        masks = [np.ones(size, bool)] if mask is None else [_mask(one, size, grid) for one in each_of(mask)]
        return cls(photos=photos, masks=torch.stack([cells(one, grid) for one in masks]), masked=mask is not None)

    def settings(self) -> dict[str, Any]:
        """The pictures by their hashes, the masks by their cells."""
        found = {"image": _plain([record_of(photo) for photo in self.photos])}
        return found | ({"mask_image": _plain(self.masks.int().tolist())} if self.masked else {})

    def blend(
        self, vae: Any, device: torch.device, *, strength: float, people: int, person_index: Sequence[int]
    ) -> MaskBlend:
        """For N images of P `people`; `person_index` (N,) the person of each. Raises `BadOption` unless there is one
        picture for all, one for each image, or one for each person."""
        crops = codec.to_tensor(np.stack([photo.pixels for photo in self.photos]))
        clean = codec.encode(vae, crops.to(device))
        masks = _rows("masks", self.masks, people, person_index).to(clean.device)
        return MaskBlend(clean=_rows("images", clean, people, person_index), mask=masks, strength=strength)


def white(mask: PhotoSource) -> Bool[Array, "H W"]:
    """(H, W) bool: where a picture is white, or an array (H, W) of bool, or of 0 and 1, is set. Raises `BadImage`."""
    if isinstance(mask, np.ndarray) and mask.ndim == 2 and mask.max(initial=0) <= 1:
        return mask.astype(bool)
    return np.asarray(load_photo(mask).pixels.max(-1) > _WHITE)


def each_of(value: Any) -> list[Any]:
    """The pictures, or masks, that a caller passes as one, as a list, or as an array. Raises `BadOption`."""
    if isinstance(value, np.ndarray):
        several = value.ndim == 4 or (value.ndim == 3 and value.shape[2] not in (3, 4))
        return list(value) if several else [value]
    if not isinstance(value, list | tuple):
        return [value]
    if not value:
        raise BadOption("image and mask_image are a picture or a list of pictures, got an empty list")
    if not isinstance(value[0], Sequence) or isinstance(value[0], str | bytes | bytearray):
        return list(value)
    numbers = np.array(value)  # of a recipe
    return [numbers] if numbers.ndim == 2 else list(numbers)


def _mask(value: Any, size: tuple[int, int], grid: tuple[int, int]) -> Bool[Array, "H W"]:
    """(H, W) bool: a picture's white; or the cells of the latents, of 0 and 1, as recipes hold them."""
    if isinstance(value, np.ndarray) and value.shape == grid and value.max(initial=0) <= 1:
        found = value.astype(bool).repeat(size[0] // grid[0], 0).repeat(size[1] // grid[1], 1)
    else:
        found = white(value)
    _require_size("mask_image", found.shape, size)
    if not found.any():
        raise BadOption("mask_image is black: white is what is repainted, so nothing would change")
    return found


def _require_size(what: str, got: Sequence[int], size: tuple[int, int]) -> None:
    if tuple(got) != size:
        found = " x ".join(map(str, reversed(got)))
        raise BadOption(
            f"{what} must be {size[1]} x {size[0]} pixels, as the picture to be generated, got {found}: cut or scale it"
        )


def _rows(
    what: str, rows: Shaped[Tensor, "K ..."], people: int, person_index: Sequence[int]
) -> Shaped[Tensor, "N ..."]:
    """(N, ...): one for all images, one for each, or one for each of the people."""
    if len(rows) == len(person_index):
        return rows
    if len(rows) == 1:
        return rows.expand(len(person_index), *rows.shape[1:])
    if len(rows) == people:
        return rows[list(person_index)]
    raise BadOption(
        f"there are {len(rows)} {what} for {people} people and {len(person_index)} images: give one for all, or one "
        "for each"
    )


def _plain(each: list[Any]) -> Any:
    return each[0] if len(each) == 1 else each
