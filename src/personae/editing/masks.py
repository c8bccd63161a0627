"""What of a crop is made anew (`FREE`), and what the model is shown of the rest (`REFERENCES`, FaceX's region image).

    free = FREE["face"](scene)                        # (S, S) bool
    image = REFERENCES["hole"](scene, free)           # (S, S, 3) RGB uint8

Every face of a scene lies in the same template, so that what belongs to one face has the same place in all crops.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from personae.conditioning.head_mesh import FaceModel
from personae.conditioning.retarget import changed_region
from personae.errors import BadOption
from personae.reading import face_regions
from personae.reading.aligned import Aligned
from personae.types import Array

GREY, WHITE = 128, 255  # of what the region image leaves out, and of the ring around a head that is carried over


@dataclass(frozen=True, kw_only=True)
class Scene:
    """`canvas`: the face that is edited, in the photo that stays; `faces`: who gives something, by token; `region`: the
    names of regions that the caller asks for; `mask`: (S, S) bool, the caller's own, or None; `other`: whether somebody
    else is to be seen than the canvas shows, or the same older or younger; `still`: the canvas's face in the crop that
    stands it upright, where the canvas's own leans (`editing.tilt`), None: they are the same."""

    canvas: Aligned
    faces: Mapping[str, Aligned]
    region: Sequence[str] = ()
    mask: Array | None = None
    other: bool = False
    still: Aligned | None = None

    def giver(self, token: str) -> Aligned:
        """Who gives a token; the canvas's own face if nobody else does."""
        return self.faces.get(token, self.still or self.canvas)

    def own(self, face: Aligned) -> bool:
        """Whether a face is the canvas's own, in whichever crop."""
        return face.crop is self.canvas.crop or (self.still is not None and face.crop is self.still.crop)


def free_of(row: str, scene: Scene) -> Array:
    """(S, S) bool: what is made anew, by the caller's region and mask if there are any, else by the row of `FREE`.

    Raises `BadOption` for an unknown region, and if nothing is left of what was asked for.
    """
    if not scene.region and scene.mask is None:
        return FREE[row](scene)
    free = np.zeros(scene.canvas.crop.shape[:2], bool) if scene.mask is None else scene.mask
    for name in scene.region:
        free = free | scene.canvas.region(name)
    return free


def _face(scene: Scene) -> Array:
    return scene.canvas.region("face")


def _heads(scene: Scene) -> Array:
    """Where the head is, and where it will be."""
    return np.any([one.region("head") for one in (scene.canvas, scene.giver("pose"), scene.giver("hair"))], axis=0)


def _moved(scene: Scene) -> Array:
    """The heads if one of them turns or gets other hair; what moves, if the face does and nothing else is asked for;
    else the face."""
    canvas = scene.canvas
    if any(scene.giver(token).landmarks is not canvas.landmarks for token in ("pose", "hair")):
        return _heads(scene)
    changed = {token for token, giver in scene.faces.items() if giver is not canvas}
    making = scene.giver("expression")
    if scene.other or changed != {"expression"} or making.crop is not canvas.crop:
        return _face(scene)
    touched = changed_region(canvas, making, FaceModel.bundled(), canvas.size)
    return touched if touched.any() else _face(scene)


def _asked(scene: Scene) -> Array:
    raise BadOption(
        "this task changes what it is told to: give region, one of "
        f"{', '.join((*face_regions.GROUPS, *face_regions.REGIONS))}, or a mask of the photo's size"
    )


def _whole(scene: Scene) -> Array:
    return np.ones(scene.canvas.crop.shape[:2], bool)


FREE: dict[str, Callable[[Scene], Array]] = {
    "face": _face,
    "heads": _heads,
    "moved": _moved,
    "asked": _asked,
    "whole": _whole,
}


def _hole(scene: Scene, free: Array) -> Array:
    """The canvas, its free region grey."""
    return np.where(free[..., None], np.uint8(GREY), scene.canvas.crop)


def _head(scene: Scene, free: Array) -> Array:
    """The canvas around the free region; in it the head of who gives the hair, in shades of grey, so that it says
    structure but no colour; between the two a white ring, which is the model's to fill (FaceX, figure of the paper)."""
    giver = scene.giver("hair")
    grey = np.round(giver.crop.mean(-1, keepdims=True)).astype(np.uint8)
    head = giver.region("head") & giver.coverage
    ring = np.where(free[..., None], np.uint8(WHITE), scene.canvas.crop)
    return np.where(head[..., None], grey, ring)


def _shown(scene: Scene, free: Array) -> Array:
    """The canvas as it is."""
    return scene.canvas.crop


REFERENCES: dict[str, Callable[[Scene, Array], Array]] = {"hole": _hole, "head": _head, "whole": _shown}
