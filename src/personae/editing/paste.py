"""An edited crop put back into its photo: in which colours (`RECOLOURS`), and nothing outside the edit mask.

    patch = Patch(place=place, edit_mask=edit_mask, cells=cells)
    photo = paste_patch(photo, crop, patch, recolour="border", mask=None)

Legend: S side of the crop, H and W of the photo.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter  # type: ignore[import-untyped]

from personae.editing.recolour import ENOUGH, Change, skin_to_skin
from personae.reading import align
from personae.reading.aligned import Aligned
from personae.shapes import Bool, Float, UInt8
from personae.types import Array

FEATHER = 1 / 16  # of the crop's side: over which an edit fades into the photo, inwards from the edit mask's border
_SAME = (8, 40)  # of 255: two crops that are so far apart show the same, or something else
_AROUND = 1 / 64  # of the crop's side, over which that is averaged
_SKIN = 0.1  # of an edit mask that must be skin for its colours to be the skin's
_LEAST = 16  # pixels of a border, below which it says nothing of colours


@dataclass(frozen=True, kw_only=True)
class Patch:
    """Where an edit goes. `place`: the face in its crop; `edit_mask` (S, S) bool, the pixels of the photo that were
    painted anew; `cells` (S, S) bool, those whose cell of the latents has any such pixel."""

    place: Aligned
    edit_mask: Bool[Array, "S S"]
    cells: Bool[Array, "S S"]


def paste_patch(
    photo: UInt8[Array, "H W 3"],
    crop: UInt8[Array, "S S 3"],
    patch: Patch,
    *,
    recolour: str,
    mask: Bool[Array, "H W"] | None,
    fine: bool = False,
) -> UInt8[Array, "H W 3"]:
    """A copy of `photo` (H, W, 3) with the edited `crop` (S, S, 3) in its place, inside the patch's edit mask.

    recolour: a row of `RECOLOURS`. mask: (H, W) bool, what else must hold of a pixel that changes. fine: where crop and
    photo agree, the photo's detail stays.
    """
    before = align.crop(photo, patch.place.matrix, patch.place.size)
    change = RECOLOURS[recolour](crop, before, patch)
    # A region narrower than twice the feather would never be all the edit's.
    feather = min(patch.place.size * FEATHER, float(distance_transform_edt(patch.edit_mask).max()) / 2)
    crop = change.on(crop)
    detail = agreement(crop, before) if fine else None
    result = align.paste(photo, crop, patch.place.matrix, mask=patch.edit_mask, feather=feather, detail=detail)
    return inside(result, photo, mask)


def inside(
    changed: UInt8[Array, "H W 3"], photo: UInt8[Array, "H W 3"], mask: Bool[Array, "H W"] | None
) -> UInt8[Array, "H W 3"]:
    """A changed photo (H, W, 3) inside a mask (H, W) bool, the photo as it was outside. None: changed everywhere."""
    return changed if mask is None else np.where(mask[..., None], changed, photo)


def agreement(crop: UInt8[Array, "S S 3"], before: UInt8[Array, "S S 3"]) -> Float[Array, "S S"]:
    """(S, S) 0-1 of crops (S, S, 3): 1 where they show the same, so that the fine detail of one fits the other, too."""
    apart = np.abs(crop.astype(np.float32) - before).mean(-1)
    near, far = _SAME
    return np.asarray(((far - gaussian_filter(apart, _AROUND * len(crop))) / (far - near)).clip(0, 1))


def _none(crop: UInt8[Array, "S S 3"], before: UInt8[Array, "S S 3"], patch: Patch) -> Change:
    """The model's own colours."""
    return Change(size=len(crop))


def _region(crop: UInt8[Array, "S S 3"], before: UInt8[Array, "S S 3"], patch: Patch) -> Change:
    """The skin, the contrast and the side light that the photo has in the edit mask: for what takes the place of the
    same."""
    skin, edit_mask = patch.edit_mask & patch.place.region("skin"), patch.edit_mask
    return skin_to_skin(crop, before, skin if skin.sum() >= max(ENOUGH, _SKIN * edit_mask.sum()) else edit_mask)


def _border(crop: UInt8[Array, "S S 3"], before: UInt8[Array, "S S 3"], patch: Patch) -> Change:
    """A shift by what the model got wrong around the edit mask: it painted there what the photo shows, too, since cells
    are painted whole. The median, so that a contour that moved counts little."""
    around = patch.cells & ~patch.edit_mask & patch.place.coverage
    if around.sum() < _LEAST:
        return _none(crop, before, patch)
    return Change(size=len(crop), added=np.median(before[around].astype(np.float64) - crop[around], axis=0))


RECOLOURS: dict[str, Callable[[Array, Array, Patch], Change]] = {"none": _none, "region": _region, "border": _border}
