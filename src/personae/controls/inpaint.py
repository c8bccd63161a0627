"""`image`, `mask_image` and `strength`: a picture of which only a part is made anew, or all of it by some steps.

    pipe(face, image=crop, mask_image=mask)                 # white is repainted; the rest of `crop` stays
    pipe(face, image=[first, second], mask_image=mask)      # one picture for each image, or for each person
    pipe(face, image=crop, strength=0.5)                    # image to image: begun half way (SDEdit)

The pictures are as large as those to be made: cut them first (`reading.align.crop`), or let `personae.editing` do so,
which also puts the result back into the photo.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from personae.controls.request import Plan, Request
from personae.errors import BadOption
from personae.model import Model
from personae.reading.photo import PhotoSource, load_photo, record_of
from personae.sampling import codec
from personae.sampling.mask_blend import MaskBlend, cells
from personae.types import Array

_WHITE = 127  # above it a pixel of a mask is repainted


def steer(pipe: Model, request: Request, options: Mapping[str, Any]) -> Plan | None:
    """See `registry.Control`. Raises `BadOption` for pictures of another size or number, an impossible strength,
    a mask without an image; `BadImage`."""
    image, mask, strength = (options.get(name) for name in ("image", "mask_image", "strength"))
    if image is None:
        if mask is not None or strength is not None:
            raise BadOption("mask_image and strength say what of an image is made anew: give image with them")
        return None
    if options.get("regions") is not None:
        raise BadOption("image is for pictures of one person: leave regions out, or paint one person after the other")
    strength = _checked(strength)
    if mask is None and strength == 1:
        raise BadOption("nothing of the image would be left: give mask_image, or a strength below 1")
    cell = codec.pixels_per_cell(pipe.vae)
    size = (request.grid[0] * cell, request.grid[1] * cell)
    photos = [load_photo(one) for one in _each(image)]
    for photo in photos:
        _require_size("image", photo.pixels.shape[:2], size)
    masks = [np.ones(size, bool)] if mask is None else [_mask(one, size, request.grid) for one in _each(mask)]
    crops = codec.to_tensor(np.stack([photo.pixels for photo in photos]))
    clean = codec.encode(pipe.vae, crops.to(pipe._execution_device))
    free = torch.stack([cells(one, request.grid) for one in masks])
    settings: dict[str, Any] = {"image": _plain([record_of(photo) for photo in photos]), "strength": strength}
    if mask is not None:
        settings["mask_image"] = _plain(free.int().tolist())
    mask_blend = MaskBlend(
        clean=_rows("images", clean, request), mask=_rows("masks", free, request).to(clean.device), strength=strength
    )
    return Plan(mask_blend=mask_blend, settings=settings)


def _each(given: Any) -> list[Any]:
    """One picture, or several in a list or in an array (N, H, W, 3); masks also as nested lists, as recipes hold them,
    and as arrays (N, H, W)."""
    if isinstance(given, np.ndarray):
        several = given.ndim == 4 or (given.ndim == 3 and given.shape[2] not in (3, 4))
        return list(given) if several else [given]
    if not isinstance(given, list | tuple):
        return [given]
    if not given:
        raise BadOption("image and mask_image are a picture or a list of pictures, got an empty list")
    if not isinstance(given[0], Sequence) or isinstance(given[0], str | bytes | bytearray):
        return list(given)
    numbers = np.array(given)  # of a recipe
    return [numbers] if numbers.ndim == 2 else list(numbers)


def _mask(given: Any, size: tuple[int, int], grid: tuple[int, int]) -> Array:
    """(H, W) bool: a picture's white; or the cells of the latents, of 0 and 1, as recipes hold them."""
    if isinstance(given, np.ndarray) and given.shape == grid and given.max(initial=0) <= 1:
        found = given.astype(bool).repeat(size[0] // grid[0], 0).repeat(size[1] // grid[1], 1)
    else:
        found = white(given)
    _require_size("mask_image", found.shape, size)
    if not found.any():
        raise BadOption("mask_image is black: white is what is repainted, so nothing would change")
    return found


def white(mask: PhotoSource) -> Array:
    """(H, W) bool: where a picture is white, or an array (H, W) of bool, or of 0 and 1, says so. Raises `BadImage`."""
    if isinstance(mask, np.ndarray) and mask.ndim == 2 and mask.max(initial=0) <= 1:
        return mask.astype(bool)
    return np.asarray(load_photo(mask).pixels.max(-1) > _WHITE)


def _require_size(what: str, got: Sequence[int], size: tuple[int, int]) -> None:
    if tuple(got) != size:
        shown = " x ".join(map(str, reversed(got)))
        raise BadOption(
            f"{what} must be {size[1]} x {size[0]} pixels, as the picture to be made, got {shown}: cut or scale it"
        )


def _rows(what: str, rows: Tensor, request: Request) -> Tensor:
    """(N, ...): one for all images, one for each, or one for each of the people."""
    if len(rows) == len(request.person_index):
        return rows
    if len(rows) == 1:
        return rows.expand(len(request.person_index), *rows.shape[1:])
    if len(rows) == len(request.people):
        return rows[list(request.person_index)]
    raise BadOption(
        f"there are {len(rows)} {what} for {len(request.people)} people and {len(request.person_index)} images: "
        "give one for all, or one for each"
    )


def _checked(strength: Any) -> float:
    if strength is None:
        return 1.0
    right = isinstance(strength, int | float) and not isinstance(strength, bool)
    if not right or not 0 < strength <= 1:
        raise BadOption(f"strength is a share of the steps, above 0 and at most 1, got {strength!r}")
    return float(strength)


def _plain(each: list[Any]) -> Any:
    return each[0] if len(each) == 1 else each
