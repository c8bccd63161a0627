"""An edited crop put back into its photo: in which colours (`RECOLOURS`), and nothing but what was free.

    photo = pasted(photo, made, Patch(place=place, free=free, cells=cells), recolour="border", mask=None)

Legend: S side of the crop, H and W of the photo.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter  # type: ignore[import-untyped]

from personae.editing.recolour import ENOUGH, Change, skin_to_skin
from personae.reading import align
from personae.reading.aligned import Aligned
from personae.types import Array

FEATHER = 1 / 16  # of the crop's side: over which an edit fades into the photo, inwards from the free region's border
_SAME = (8, 40)  # of 255: two crops that are so far apart show the same, or something else
_AROUND = 1 / 64  # of the crop's side, over which that is averaged
_SKIN = 0.1  # of a free region that must be skin for its colours to be the skin's
_LEAST = 16  # pixels of a border, below which it says nothing of colours


@dataclass(frozen=True, kw_only=True)
class Patch:
    """Where an edit goes. `place`: the face in its crop; `free` (S, S) bool, the pixels of the photo that were made
    anew; `cells` (S, S) bool, those in whose cell of the latents any pixel was."""

    place: Aligned
    free: Array
    cells: Array


def pasted(photo: Array, made: Array, patch: Patch, *, recolour: str, mask: Array | None, fine: bool = False) -> Array:
    """A copy of `photo` (H, W, 3) with the free part of `made` (S, S, 3) in its place. recolour: a row of `RECOLOURS`.
    mask: (H, W) bool, what else must hold of a pixel that changes. fine: where both agree, the photo's detail stays."""
    shown = align.crop(photo, patch.place.matrix, patch.place.size)
    change = RECOLOURS[recolour](made, shown, patch)
    # A region narrower than twice the feather would never be all the edit's.
    feather = min(patch.place.size * FEATHER, float(distance_transform_edt(patch.free).max()) / 2)
    made = change.on(made)
    detail = agreement(made, shown) if fine else None
    result = align.paste(photo, made, patch.place.matrix, mask=patch.free, feather=feather, detail=detail)
    return kept(result, photo, mask)


def kept(changed: Array, photo: Array, mask: Array | None) -> Array:
    """A changed photo (H, W, 3), with what a mask (H, W) bool leaves out as it was."""
    return changed if mask is None else np.where(mask[..., None], changed, photo)


def agreement(made: Array, shown: Array) -> Array:
    """(S, S) 0-1 of crops (S, S, 3): 1 where they show the same, so that what one shows finely fits the other, too."""
    apart = np.abs(made.astype(np.float32) - shown).mean(-1)
    near, far = _SAME
    return np.asarray(((far - gaussian_filter(apart, _AROUND * len(made))) / (far - near)).clip(0, 1))


def _none(made: Array, shown: Array, patch: Patch) -> Change:
    """The model's own colours."""
    return Change(size=len(made))


def _region(made: Array, shown: Array, patch: Patch) -> Change:
    """The skin, the contrast and the side light that the photo has in the free region: for what takes the place of the
    same."""
    skin = patch.free & patch.place.region("skin")
    return skin_to_skin(made, shown, skin if skin.sum() >= max(ENOUGH, _SKIN * patch.free.sum()) else patch.free)


def _border(made: Array, shown: Array, patch: Patch) -> Change:
    """A shift by what the model got wrong around the free region: there it made what the photo shows, too, since cells
    are made whole. The median, so that a contour that moved counts little."""
    around = patch.cells & ~patch.free & patch.place.coverage
    if around.sum() < _LEAST:
        return _none(made, shown, patch)
    return Change(size=len(made), added=np.median(shown[around].astype(np.float64) - made[around], axis=0))


RECOLOURS: dict[str, Callable[[Array, Array, Patch], Change]] = {"none": _none, "region": _region, "border": _border}
