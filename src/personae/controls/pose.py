"""`pose`, `pose_map`, `pose_scale`: how the head turns, drawn as a normal map for the model's ControlNet.

pipe(face, pose=(20, 0, 0))                                # yaw, pitch, roll in degrees
pipe(face, pose={"yaw": 20, "jawOpen": 0.4})               # blendshapes by name beside the angles
pipe(face, pose="photo.jpg", pose_scale=0.8)               # pose and expression of the largest face of a photo
pipe([ann, bob], pose=[(20, 0, 0), (-20, 0, 0)])           # one for each person
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from personae.controls.control import Control
from personae.controls.option import MOST_PEOPLE, numbers, option
from personae.controls.request import Plan, Request, for_each_person, per_person
from personae.errors import BadOption
from personae.io.json_kinds import FILE, Each, Either, Kind, Names, Number, either
from personae.models.limits import GEOMETRY

if TYPE_CHECKING:
    from personae.model import Model
    from personae.reading.photo import PhotoSource
    from personae.types import Pose

_PHOTOS = (".jpg", ".jpeg", ".png", ".webp")
_ANGLE = Number(low=-90, high=90)


def photo_or_numbers(text: str, flag: str) -> Path | list[float]:
    """A photo's path, or numbers separated by commas. Raises `BadOption`, naming the flag."""
    return Path(text) if Path(text).suffix.lower() in _PHOTOS else numbers(text, flag)


def read_pose(text: str, flag: str) -> Path | list[float]:
    """What was typed as a pose: a photo, or yaw, pitch, roll. Raises `BadOption`, naming the flag."""
    return photo_or_numbers(text, f"{flag} (a photo, or yaw,pitch,roll)")


def _recipe() -> Kind:
    from personae.types import BLENDSHAPES  # late: it brings numpy

    names = (*GEOMETRY, *BLENDSHAPES)
    one: Either = either(
        Each(kind=_ANGLE, least=3, most=3),
        Names(kind=_ANGLE, most=len(names), names=names),
    )
    return either(one, Each(kind=one, least=1, most=MOST_PEOPLE), FILE)


@dataclass(frozen=True, kw_only=True)
class PoseControl(Control):
    """A pose for each person, or one for all. Angles lie within the model's own limits (`models.limits`); a photo's are
    clipped to them, with a warning."""

    group: ClassVar[str] = "Pose and expression"
    one_face: ClassVar[bool] = True
    component: ClassVar[str | None] = "controlnet"

    pose: PhotoSource | Pose | Sequence[float] | Mapping[str, float] | Sequence[Pose | Mapping[str, float]] | None = (
        option(
            type="pose",
            unit="degrees",
            each="person",
            by_edit="default",
            recipe=_recipe,
            parse=read_pose,
            help="Of the head: yaw,pitch,roll in degrees, or a photo.",
        )
    )
    pose_map: PhotoSource | None = option(type="photo", help="A normal map of your own instead.")
    pose_scale: float = option(
        Number(low=0, high=2),
        step=0.05,
        default=1.0,
        needs=("pose", "pose_map"),
        help="How strictly to hold the pose, 0-2.",
    )

    def plan(self, model: Model, request: Request) -> Plan | None:
        """Raises `BadOption`, `BadImage`; `NoFaceFound` for a pose photo without one; `WeightsMissing`,
        `WeightsCorrupt`."""
        if not self.explicit:
            return None
        if self.pose is not None and self.pose_map is not None:
            raise BadOption("give a pose or a pose map, not both: the map holds the pose")
        from personae.sampling import controlnet  # late: it brings torch

        network = model.component("controlnet")
        side = controlnet.map_side(network, model.unet)
        images, settings = self._maps(model, request, side)
        hook = controlnet.PoseHook(network=network, maps=controlnet.to_maps(images), scale=self.pose_scale)
        return Plan(hooks=[hook], settings=settings | {"pose_scale": self.pose_scale})

    def _maps(self, model: Model, request: Request, side: int) -> tuple[Any, dict[str, Any]]:
        """Normal maps (side, side, 3) RGB uint8 of the N images, or of all, and the settings that draw them again."""
        from personae.controls import pose_values  # late: it brings numpy and the head's mesh
        from personae.reading.photo import load_photo, record_of

        if self.pose_map is not None:
            photo = load_photo(self.pose_map)
            return pose_values.own_map(photo, side)[None], {"pose_map": record_of(photo)}
        several = per_person(self.pose)
        found = [pose_values.values_of(model, one) for one in for_each_person(self.pose, 1)]
        if not several:
            found *= len(request.faces)
        if len(found) != len(request.faces):
            raise BadOption(f"{len(found)} poses for {len(request.faces)} people: give one of each, or one for all")
        maps = pose_values.drawn_maps(request.faces, found, model.config.crop_template, side)
        plain = [pose_values.plain(values) for values in found]
        return maps[list(request.person_index)], {"pose": plain if several else plain[0]}
