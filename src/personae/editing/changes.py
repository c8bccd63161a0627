"""What the caller wants changed about a person: the region, the identity, the pose and the expression.

changes = Changes(pose={"yaw": 20}, expression={"smile": 0.8})
scene = retargeted(scene, changes)          # the sources of pose and expression, moved as the caller wants
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from personae.conditioning import blendshapes as expressions
from personae.conditioning.head_mesh import FaceModel
from personae.conditioning.retarget import retarget
from personae.editing.scene import Scene
from personae.errors import BadOption, unknown_name
from personae.models.limits import GEOMETRY
from personae.shapes import Bool
from personae.types import Array, Pose


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What the caller wants of one edit, beside photos.

    region: names of regions (`reading.face_regions`). mask: (H, W) bool, of the photo's size. tokens: those that come
    from photos of their own. shift: of the identity, standard deviations by name. pose: some of yaw, pitch, roll in
    degrees, by name, or all three. expression: amounts by name, 0-1.
    """

    region: Sequence[str] = ()
    mask: Bool[Array, "H W"] | None = None
    tokens: Sequence[str] = ()
    shift: Mapping[str, float] | None = None
    pose: Any = None
    expression: Mapping[str, float] | None = None

    @property
    def angles(self) -> dict[str, float]:
        """The angles of `pose` that the caller names, in degrees. Raises `BadOption`."""
        return {} if self.pose is None else named_angles(self.pose)

    def recorded(self) -> dict[str, Any]:
        """As a recipe holds them: those that there are."""
        values = {
            "region": list(self.region),
            "shift": dict(self.shift or {}),
            "pose": None if self.pose is None else self.angles,
            "expression": None if self.expression is None else dict(self.expression),
        }
        return {name: value for name, value in values.items() if value}


def retargeted(scene: Scene, changes: Changes) -> Scene:
    """The scene with pose and expression as the caller wants them: the face that each comes from (the canvas's own, if
    no other) is moved; angles and blendshapes that are not named stay as they are.

    Raises `BadOption` for unknown names and impossible amounts.
    """
    if changes.pose is not None:
        face = scene.source_face("pose")
        pose = Pose(**(dataclasses.asdict(face.pose) | changes.angles))
        ref = replace(scene.source("pose"), change="pose")
        scene = scene.with_source("pose", ref, retarget(face, FaceModel.bundled(), pose=pose))
    if changes.expression is not None:
        if not isinstance(changes.expression, Mapping):
            raise BadOption(
                f"an expression is amounts by name, got {changes.expression!r}: to take it from a photo, pass "
                "tokens={'expression': PHOTO}"
            )
        face = scene.source_face("expression")
        blendshapes = expressions.with_sliders(face.blendshapes, changes.expression)
        ref = replace(scene.source("expression"), change="expression")
        scene = scene.with_source("expression", ref, retarget(face, FaceModel.bundled(), blendshapes=blendshapes))
    return scene


def named_angles(pose: Any) -> dict[str, float]:
    """Yaw, pitch and roll by name, degrees, those that are given. Raises `BadOption`."""
    if isinstance(pose, Pose):
        pose = dataclasses.asdict(pose)
    if not isinstance(pose, Mapping):
        if not isinstance(pose, Sequence) or isinstance(pose, str | bytes) or len(pose) != len(GEOMETRY):
            raise BadOption(
                f"a pose is yaw, pitch, roll in degrees, got {pose!r}: to take it from a photo, pass "
                "tokens={'pose': PHOTO}"
            )
        pose = dict(zip(GEOMETRY, pose, strict=True))
    for name, value in pose.items():
        if name not in GEOMETRY:
            raise unknown_name("angle of a pose", str(name), GEOMETRY)
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= GEOMETRY[name]:
            raise BadOption(f"{name} of a pose lies within {GEOMETRY[name]:g} degrees, got {value!r}")
    return {name: float(value) for name, value in pose.items()}
