"""What of a crop is painted anew (`EDIT_MASKS`), and the picture that FaceX is shown of the rest (`REFERENCES`).

    edit_mask = edit_mask_of("face", scene)              # (S, S) bool
    image = REFERENCES["hole"](scene, edit_mask)         # (S, S, 3) RGB uint8, FaceX's region image

Every face of a scene lies in the same template, so that what belongs to one face has the same place in all crops.
"""

from collections.abc import Callable

import numpy as np

from personae.conditioning.head_mesh import FaceModel
from personae.conditioning.retarget import changed_region
from personae.editing.scene import Scene
from personae.errors import BadOption
from personae.reading import align, face_regions
from personae.shapes import Bool, UInt8
from personae.types import Array

GREY, WHITE = 128, 255  # of what the region image leaves out, and of the ring around a head from another photo


def edit_mask_of(row: str, scene: Scene) -> Bool[Array, "S S"]:
    """(S, S) bool: what is painted anew: the caller's regions and mask if there are any, all of them, else a row of
    `EDIT_MASKS`.

    Raises `BadOption` for an unknown region, and for the row "asked" without region and mask.
    """
    if not scene.region and scene.mask is None:
        return EDIT_MASKS[row](scene)
    regions = _regions(scene)
    return regions if scene.mask is None else regions | scene.mask


def area_of(mask: Bool[Array, "H W"] | None, scene: Scene) -> Bool[Array, "H W"] | None:
    """(H, W) bool: the pixels that an edit with a mask (H, W) bool of the photo's size may change, to the pixel: the
    mask's, and those of the caller's regions. None: there is no mask, and the edit mask alone says it."""
    if mask is None or not scene.region:
        return mask
    (left, top, right, bottom), inside = align.lying(_regions(scene), scene.place.matrix, mask.shape)
    area = mask.copy()
    area[top:bottom, left:right] |= inside
    return area


def _regions(scene: Scene) -> Bool[Array, "S S"]:
    """(S, S) bool: the regions that the caller names."""
    named = np.zeros(scene.place.crop.shape[:2], bool)
    for name in scene.region:
        named |= scene.place.region(name)
    return named


def _face(scene: Scene) -> Bool[Array, "S S"]:
    return scene.place.region("face")


def _heads(scene: Scene) -> Bool[Array, "S S"]:
    """Where the head is, and where it will be."""
    faces = (scene.place, scene.source_face("pose"), scene.source_face("hair"))
    return np.any([face.region("head") for face in faces], axis=0)


def _moved(scene: Scene) -> Bool[Array, "S S"]:
    """The heads if the head turns or gets other hair; if the expression is all that changes, what it moves; else the
    face."""
    if any(scene.source(token) != scene.canvas for token in ("pose", "hair")):
        return _heads(scene)
    changed = {token for token, ref in scene.sources.items() if ref != scene.canvas}
    if scene.shifted or changed != {"expression"} or not scene.is_own(scene.source("expression")):
        return _face(scene)
    place = scene.place
    touched = changed_region(place, scene.source_face("expression"), FaceModel.bundled(), place.size)
    return touched if touched.any() else _face(scene)


def _callers(scene: Scene) -> Bool[Array, "S S"]:
    raise BadOption(
        "this task needs to know what to paint anew: give region, one of "
        f"{', '.join((*face_regions.GROUPS, *face_regions.REGIONS))}, or a mask of the photo's size"
    )


def _whole(scene: Scene) -> Bool[Array, "S S"]:
    return np.ones(scene.place.crop.shape[:2], bool)


EDIT_MASKS: dict[str, Callable[[Scene], Array]] = {
    "face": _face,
    "heads": _heads,
    "moved": _moved,
    "asked": _callers,
    "whole": _whole,
}


def _hole(scene: Scene, edit_mask: Bool[Array, "S S"]) -> UInt8[Array, "S S 3"]:
    """The canvas, grey inside the edit mask."""
    return np.where(edit_mask[..., None], np.uint8(GREY), scene.place.crop)


def _head(scene: Scene, edit_mask: Bool[Array, "S S"]) -> UInt8[Array, "S S 3"]:
    """The canvas outside the edit mask; in it the head that the hair comes from, in shades of grey, so that it shows
    structure but no colour; between the two a white ring, which is the model's to fill (FaceX, figure of the paper)."""
    source = scene.source_face("hair")
    grey = np.round(source.crop.mean(-1, keepdims=True)).astype(np.uint8)
    head = source.region("head") & source.coverage
    ring = np.where(edit_mask[..., None], np.uint8(WHITE), scene.place.crop)
    return np.where(head[..., None], grey, ring)


def _canvas(scene: Scene, edit_mask: Bool[Array, "S S"]) -> UInt8[Array, "S S 3"]:
    """The canvas as it is."""
    return scene.place.crop


REFERENCES: dict[str, Callable[[Scene, Array], Array]] = {"hole": _hole, "head": _head, "whole": _canvas}
