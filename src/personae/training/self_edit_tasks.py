"""Edits of a person's own photo that FaceX practises: another pose of the head, another expression.

free = ask(rng, lessons, own, marks, batch["target"], template="portrait")

No photo shows the result; the readers judge it. The goal is partly somebody else's, and partly what users request,
whether or not anybody in the photos does it: of open mouths there are few.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from personae.conditioning import blendshapes as expression
from personae.conditioning.facex.representation import DEGREES, GRID, pose_numbers
from personae.conditioning.head_mesh import FaceModel
from personae.conditioning.pose_map import render
from personae.conditioning.retarget import changed_region, landmarks
from personae.reading import face_regions
from personae.reading.aligned import resized
from personae.shapes import Bool, Float, Int, Shaped
from personae.training.methods.facex.lessons import LESSONS, NAMES
from personae.types import Array, Motion, Pose

_KINDS = {"turned": 0.3, "other's expression": 0.25, "named expression": 0.45}  # how often each is drawn
_FIRST = ("smile", "jawOpen")  # what is drawn most: half of the named
_REST = (
    *(name for name in expression.FRIENDLY if name not in ("neutral", *_FIRST)),
    *("eyeBlink", "browInnerUp", "browDown", "mouthFunnel"),
)
_NONE = 0.2  # the share of the named that are to vanish
_LEAST = 0.3  # amount of the others
_ONE_ANGLE = {"yaw": 35.0, "pitch": 20.0}  # degrees, at most; half of the turned change one alone
_WHOLE = 0.5  # the share of own photos whose whole face is made anew, where any part may be
_FACE = [face_regions.REGIONS.index(name) for name in face_regions.GROUPS["face"]]


@dataclass(frozen=True, kw_only=True)
class Change:
    """`pose`; `expression` (52,); `marks` (K, 3), the landmarks after it, crop pixels; `free` (G, G) bool, what it
    touches."""

    pose: Pose
    expression: Array
    marks: Array
    free: Array

    def mesh(self, size: int, goal: int) -> Array:
        """(goal, goal, 3) uint8 normal map of the face after it; size: of the crop that `marks` lie in."""
        return render(resized(self.marks, size, goal), FaceModel.bundled().triangles, goal)


def ask(
    rng: np.random.Generator,
    lessons: Int[Array, " M"],
    own: Bool[Array, " M"],
    marks: Float[Array, "M K 3"],
    measures: dict[str, Shaped[Array, "M ..."]],
    *,
    template: str,
) -> Bool[Array, "M G G"]:
    """(M, G, G) bool: the free region of rows whose task leaves it to its user, see `facex.lessons`.

    lessons: (M,). own: (M,) bool, rows that edit their own photo; the goal is written into
    `measures`, what was read off their faces. marks: (M, K, 3), these faces' landmarks in crops of `template`.
    """
    free, size = _boxes(rng, len(lessons)), measures["crops"].shape[1]
    tasks = [LESSONS[NAMES[lesson]].task for lesson in lessons]
    for row in np.flatnonzero([task.edit_mask == "moved" for task in tasks] | (own & (rng.random(len(own)) < _WHOLE))):
        free[row] = measures["regions"][row][_FACE].sum(0) >= 0.5
    for row in np.flatnonzero(own & [task.name == "attribute" for task in tasks]):
        face, lender = (motion(measures, one, marks[row]) for one in (int(row), int(rng.integers(row + 1))))
        free[row] = write_change(measures, int(row), drawn(rng, face, lender, template=template, size=size))
    return free


def write_change(measures: dict[str, Shaped[Array, "M ..."]], row: int, change: Change) -> Bool[Array, "G G"]:
    """Write a change into what was read off a row's face; (G, G) bool, what it touches."""
    measures["pose"][row], measures["expression"][row] = pose_numbers(change.pose), change.expression
    measures["meshes"][row] = change.mesh(measures["crops"].shape[1], measures["meshes"].shape[1])
    return change.free


def _boxes(rng: np.random.Generator, count: int) -> Array:
    """(count, G, G) bool: what somebody may ask to have made anew."""
    low = rng.random((2, count, 1)) * 0.6
    high = low + 0.25 + 0.35 * rng.random(low.shape)
    line = (np.arange(GRID) + 0.5) / GRID
    across, down = ((line > a) & (line < b) for a, b in zip(low, high, strict=True))
    return np.asarray(across[:, None, :] & down[:, :, None])


def motion(measures: Mapping[str, Shaped[Array, "M ..."]], row: int, marks: Float[Array, "K 3"]) -> Motion:
    """Of a row's face, whose landmarks (K, 3) in its crop are `marks`."""
    yaw, pitch, roll = (float(angle) for angle in measures["pose"][row] * DEGREES)
    return Motion(
        landmarks=marks, pose=Pose(yaw=yaw, pitch=pitch, roll=roll), blendshapes=measures["expression"][row].copy()
    )


def drawn(rng: np.random.Generator, face: Motion, other: Motion, *, template: str, size: int) -> Change:
    """One edit of `face`, whose landmarks lie in a `size` crop of `template`; `other` lends pose or expression,
    its landmarks do not matter."""
    pose, blendshapes = face.pose, face.blendshapes
    kind = rng.choice(list(_KINDS), p=list(_KINDS.values()))
    if kind == "turned":
        pose = _turned(rng, pose, other.pose)
    elif kind == "other's expression":
        blendshapes = other.blendshapes.astype(np.float32)
        blendshapes[expression.GAZE] = face.blendshapes[expression.GAZE]
    else:
        blendshapes = _named(rng, blendshapes)
    return change_to(face, pose, blendshapes, template=template, size=size)


def change_to(face: Motion, pose: Pose, blendshapes: Array, *, template: str, size: int) -> Change:
    """The change of `face` to `pose` and blendshapes `making` (52,)."""
    model = FaceModel.bundled()
    marks = landmarks(face, model, pose, blendshapes, template, size)
    before, after = (resized(one, size, GRID) for one in (face.landmarks, marks))
    if pose != face.pose:
        free = face_regions.head(before, GRID) | face_regions.head(after, GRID)
    else:
        free = changed_region(
            Motion(landmarks=before, pose=pose, blendshapes=face.blendshapes),
            Motion(landmarks=after, pose=pose, blendshapes=blendshapes),
            model,
            GRID,
        )
    return Change(
        pose=pose, expression=blendshapes, marks=marks, free=free if free.any() else face_regions.face(before, GRID)
    )


def _turned(rng: np.random.Generator, pose: Pose, other: Pose) -> Pose:
    if rng.random() < 0.5:
        return other
    name = str(rng.choice(list(_ONE_ANGLE)))
    angles = {"yaw": pose.yaw, "pitch": pose.pitch, "roll": pose.roll}
    return Pose(**angles | {name: float(rng.uniform(-_ONE_ANGLE[name], _ONE_ANGLE[name]))})


def _named(rng: np.random.Generator, blendshapes: Array) -> Array:
    name = str(rng.choice(_FIRST if rng.random() < 0.5 else _REST))
    amount = 0.0 if rng.random() < _NONE else float(rng.uniform(_LEAST, 1))
    return expression.with_sliders(blendshapes, {name: amount})
