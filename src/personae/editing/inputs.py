"""Who is given for an edit: photos read, faces picked, each with the name that the task knows it by.

shown = read(pipe, "target", "group.jpg")
place = shown.face(2)                     # the second largest
in_crop(pipe, place).crop                 # (S, S, 3), as the model's own images show faces
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from personae.errors import BadOption, NoFaceFound, WeightsMissing
from personae.model import Model
from personae.provenance import recipe as recipes
from personae.reading.aligned import Aligned, aligned
from personae.reading.photo import PhotoSource, load_photo, record_of
from personae.sampling import codec
from personae.types import Edit, Face, Identity, Photo

Given = PhotoSource | Face | Edit


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One photo of an edit: `role`, what the task calls it; its `faces`, largest first; `earlier`, the recipes of what
    made it, oldest first, without identities."""

    role: str
    photo: Photo
    faces: Sequence[Face]
    earlier: Sequence[dict[str, Any]] = ()

    def face(self, number: int) -> Face:
        """The face of a number, 1 the largest. Raises `BadOption` if there are fewer."""
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= len(self.faces):
            count = len(self.faces)
            raise BadOption(
                f"{_called(self.role, self.photo)} shows {count} face{'s' * (count != 1)}, numbered from 1, the "
                f"largest; there is no face {number!r}"
            )
        return self.faces[number - 1]

    def record(self, numbers: Sequence[int]) -> dict[str, Any]:
        """What a recipe says of it: where it came from, and which faces of it took part."""
        return {
            **record_of(self.photo),
            "faces": list(numbers),
            "boxes": [[round(float(edge)) for edge in self.face(number).detection.box] for number in numbers],
            "identity_sha256": [
                hashlib.sha256(one.vector.tobytes()).hexdigest()
                for one in (self.face(number).identity for number in numbers)
                if one is not None
            ],
        }


def read(pipe: Model, role: str, given: Given) -> Shown:
    """The faces of what was given: a photo; a face that was read before; an edit, of which the first image counts.

    Raises `BadImage`; `NoFaceFound`, naming the photo; `BadOption` for a face without its photo; `WeightsMissing` for a
    model without a reader.
    """
    earlier: Sequence[dict[str, Any]] = ()
    if isinstance(given, Edit):
        photo, earlier = load_photo(given.images[0]), recipes.history([*given.recipe.get("earlier", []), _own(given)])
    elif isinstance(given, Face):
        if given.photo is None:
            raise BadOption(f"the {role} is a face without its photo: give the photo")
        photo = given.photo
    else:
        photo = load_photo(given)
    if photo.source is not None and Path(photo.source).is_file():
        earlier = recipes.past(photo.source)
    if isinstance(given, Face):
        return Shown(role=role, photo=photo, faces=[given], earlier=earlier)
    if pipe.reader is None:
        raise WeightsMissing("an edit reads photos, and this model came without a reader: load it with reader=...")
    faces = pipe.read(photo)
    if not faces:
        raise NoFaceFound(f"no face was found in {_called(role, photo)}: give a photo in which one can be seen")
    return Shown(role=role, photo=photo, faces=faces, earlier=earlier)


def in_crop(pipe: Model, face: Face) -> Aligned:
    """A face in the crop that the model's own images are, parsed if the model has a parser. Raises as `aligned`."""
    place = aligned(face, pipe.config.crop_template, side(pipe))
    if not pipe.has_component("parser"):
        return place
    return replace(place, parts=pipe.component("parser").parts([place.crop])[0])


def side(pipe: Model) -> int:
    """Pixels along a side of the model's images."""
    return int(pipe.unet.config.sample_size) * codec.pixels_per_cell(pipe.vae)


def identity_of(pipe: Model, face: Aligned) -> Identity:
    """Whom a face shows. Raises `SpaceMismatch` if another reader than the model's has read it."""
    face.identity.require(pipe.config.identity_space)
    return face.identity


def _own(edit: Edit) -> dict[str, Any]:
    """The recipe of an edit's first image, as its file would hold it but for what files add."""
    return {name: value for name, value in edit.recipe.items() if name != "earlier"} | {"seed": edit.seeds[0]}


def _called(role: str, photo: Photo) -> str:
    return f"the {role} photo" + (f" {photo.source}" if photo.source else "")
