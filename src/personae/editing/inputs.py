"""The photos of an edit, read: faces found, each photo under the name that the task knows it by.

photos = read_inputs(pipe, task, source="ann.jpg", target="group.jpg", tokens={})
face = photos["target"].face(2)           # the second largest
in_crop(pipe, face).crop                  # (S, S, 3), as the model's own images show faces
"""

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from personae.conditioning.facex.representation import TOKENS
from personae.editing.tasks import Task
from personae.errors import BadOption, NoFaceFound, WeightsMissing, unknown_name
from personae.model import Model
from personae.provenance import recipe as recipes
from personae.reading import align
from personae.reading.aligned import Aligned, aligned
from personae.reading.metadata import mime_of
from personae.reading.photo import PhotoSource, load_photo, record_of
from personae.sampling.known_pictures import white
from personae.sampling.latent_grid import own_side
from personae.shapes import Bool
from personae.types import Array, Edit, Face, Identity, Ingredient, Photo

EditSource = PhotoSource | Face | Edit


@dataclass(frozen=True, kw_only=True)
class EditInput:
    """One photo of an edit.

    role: what the task calls it: "source", "target" or a token. faces: those found in it, largest first. earlier: the
    recipes of what made it, oldest first, without identities.
    """

    role: str
    photo: Photo
    faces: Sequence[Face]
    earlier: Sequence[dict[str, Any]] = ()

    def face(self, number: int) -> Face:
        """The face of a number, 1 the largest. Raises `BadOption` if there are fewer."""
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= len(self.faces):
            count = len(self.faces)
            raise BadOption(
                f"{_name_of(self.role, self.photo)} shows {count} face{'s' * (count != 1)}, numbered from 1, the "
                f"largest; there is no face {number!r}"
            )
        return self.faces[number - 1]

    def ingredient(self, *, canvas: bool) -> Ingredient:
        """What a signature says of it. canvas: whether the result is put into it."""
        encoded = self.photo.encoded
        mime = None if encoded is None else mime_of(encoded)
        return Ingredient(role=self.role, canvas=canvas, mime=mime, encoded=encoded)

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


def read_inputs(
    pipe: Model,
    task: Task,
    source: EditSource | None,
    target: EditSource | None,
    tokens: Mapping[str, EditSource],
) -> dict[str, EditInput]:
    """Every photo of an edit, by role; the photo of a single token by the token's name.

    Raises `BadOption` for an unknown token, a missing photo and one that the task does not take; else as `read_input`.
    """
    for token in tokens:
        if token not in TOKENS:
            raise unknown_name("token", token, TOKENS)
    photos = {role: one for role, one in (("source", source), ("target", target)) if one is not None}
    for role in task.roles:
        if role not in photos:
            raise BadOption(f"{task.name} takes {' and '.join(task.roles)}, and there is no {role}: give {role}=")
    for role in photos:
        if role not in task.roles:
            raise BadOption(f"{task.name} takes no {role}, only {' and '.join(task.roles)}: leave {role} out")
    return {role: read_input(pipe, role, one) for role, one in (photos | dict(tokens)).items()}


def read_input(pipe: Model, role: str, source: EditSource) -> EditInput:
    """The faces of a photo; or a face that was read before; or an edit, of which the first image counts.

    Raises `BadImage`; `NoFaceFound`, naming the photo; `BadOption` for a face without its photo; `WeightsMissing` for a
    model without a reader.
    """
    earlier: Sequence[dict[str, Any]] = ()
    if isinstance(source, Edit):
        # What signed the photo of that edit goes on through this one.
        photo = replace(load_photo(source.images[0]), encoded=_canvas_of(source))
        earlier = recipes.history([*source.recipe.get("earlier", []), _own(source)])
    elif isinstance(source, Face):
        if source.photo is None:
            raise BadOption(f"the {role} is a face without its photo: give the photo")
        photo = source.photo
    else:
        photo = load_photo(source)
    if photo.source is not None and Path(photo.source).is_file():
        earlier = recipes.past(photo.source)
    if isinstance(source, Face):
        return EditInput(role=role, photo=photo, faces=[source], earlier=earlier)
    if pipe.reader is None:
        raise WeightsMissing("an edit reads photos, and this model came without a reader: load it with reader=...")
    faces = pipe.read(photo)
    if not faces:
        raise NoFaceFound(f"no face was found in {_name_of(role, photo)}: give a photo in which one can be seen")
    return EditInput(role=role, photo=photo, faces=faces, earlier=earlier)


def _canvas_of(edit: Edit) -> bytes | None:
    """The signed file that an edit was put into, None: that one was not signed."""
    return next((one.encoded for one in edit.ingredients if one.canvas), None)


def _own(edit: Edit) -> dict[str, Any]:
    """The recipe of an edit's first image, as its file would hold it but for what files add."""
    return {name: value for name, value in edit.recipe.items() if name != "earlier"} | {"seed": edit.seeds[0]}


def _name_of(role: str, photo: Photo) -> str:
    return f"the {role} photo" + (f" {photo.source}" if photo.source else "")


# ---------------------------------------------------------------------- faces in the model's crop


def in_crop(pipe: Model, face: Face) -> Aligned:
    """A face in the crop that the model's own images are, parsed if the model has a parser. Raises as `aligned`."""
    place = aligned(face, pipe.config.crop_template, side(pipe))
    if not pipe.has_component("parser"):
        return place
    return replace(place, parts=pipe.component("parser").parts([place.crop])[0])


def side(pipe: Model) -> int:
    """Pixels along a side of the model's images."""
    return own_side(pipe.vae, pipe.unet)


def identity_of(pipe: Model, face: Aligned) -> Identity:
    """Whose face it is. Raises `SpaceMismatch` if another reader than the model's has read it."""
    face.identity.require(pipe.config.identity_space)
    return face.identity


# ---------------------------------------------------------------------- the caller's mask


def load_mask(source: PhotoSource) -> Photo:
    """A mask as a picture, decoded; an array (H, W) of bool, or of 0 and 1, as one that is white where it is set.
    Raises `BadImage`."""
    if isinstance(source, np.ndarray) and source.ndim == 2 and source.max(initial=0) <= 1:
        source = source.astype(bool).astype(np.uint8) * 255
    return load_photo(source)


def read_mask(source: PhotoSource, photo: Photo) -> Bool[Array, "H W"]:
    """(H, W) bool, of the photo's size: where the picture is white. Raises `BadImage`, and `BadOption` for a picture of
    another size or one without white."""
    mask = white(source)
    height, width = photo.pixels.shape[:2]
    if mask.shape != (height, width):
        raise BadOption(
            f"the mask must be as large as the photo, {width} x {height} pixels, got {mask.shape[1]} x "
            f"{mask.shape[0]}: white is what is made anew"
        )
    if not mask.any():
        raise BadOption("the mask is black: white is what is made anew, so nothing would change")
    return mask


def mask_in_crop(mask: Bool[Array, "H W"] | None, place: Aligned) -> Bool[Array, "S S"] | None:
    """(S, S) bool: the crop's pixels that the mask (H, W) touches. Warns of what lies outside the crop."""
    if mask is None:
        return None
    touched = align.crop(mask.astype(np.uint8) * 255, place.matrix, place.size) > 0
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    box = np.array([(x, y) for x in columns[[0, -1]] for y in rows[[0, -1]]], np.float64)
    corners = align.apply(place.matrix, box)
    if corners.min() < -1 or corners.max() > place.size:
        warnings.warn("part of the mask lies outside the square around the face: it stays as it is", stacklevel=4)
    return np.asarray(touched)
