"""What the nodes do, as functions on tensors: they need no ComfyUI, and a test calls them as they stand.

    face = actions.read(pipe, images, consent=True)
    pictures, recipe = actions.generate(pipe, face, seed=0, count=4, values={"speed": "fast"})

Persons go from node to node as `Face`s or identities; pictures as ComfyUI's (B, H, W, C) float 0-1. Errors are
personae's, which ComfyUI shows on the node.
"""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from personae import gather, identity, provenance
from personae.errors import BadOption, NoFaceFound, WeightsMissing
from personae.identity import directions
from personae.model import Model
from personae.models import catalog
from personae.pipeline import FacePipeline, load
from personae.provenance import writer
from personae.provenance.marks import Marks
from personae.serving.comfyui import sockets, tensors
from personae.shapes import Float
from personae.types import Face, Generation, Identity

Person = Face | Identity
NO_FILES: Mapping[str, Path] = MappingProxyType({})
# ComfyUI runs nodes in inference mode, in which nothing can be led by a gradient: neither by a call nor by weights
# that were loaded there.
_with_gradients = torch.inference_mode(False)


@_with_gradients
def open_model(name: str, folder: Path | None, *, accept_licence: bool = False) -> FacePipeline:
    """The model called `name` in ComfyUI's folder of models, or else in personae's catalogue. Raises what
    `personae.load` does."""
    here = None if folder is None else folder / name
    return load(name if here is None or not here.is_dir() else here, accept_licence=accept_licence)


def names_of_models(folder: Path | None) -> list[str]:
    """What a node lets choose from: the catalogue, nano first, then the folders of ComfyUI's own."""
    own = [] if folder is None or not folder.is_dir() else sorted(one.name for one in folder.iterdir() if one.is_dir())
    return [*catalog.MODELS, *(name for name in own if name not in catalog.MODELS)]


def require_consent(consent: bool) -> None:
    """Raise `BadOption` unless whoever runs the workflow says that the people in its photos agreed."""
    if not consent:
        raise BadOption("confirm that the people in these photos agreed to this: set consent")


@_with_gradients
def read(pipe: Model, images: Float[Tensor, "... H W C"], *, face: int = 1, consent: bool = False) -> Person:
    """The person of a photo, its `face`-th largest face; of several photos (a batch) of one person, their mean.

    Raises `BadOption` without consent; `NoFaceFound`, which says in which image; `BadImage`."""
    require_consent(consent)
    found: list[Face] = []
    for number, photo in enumerate(tensors.photos(images), 1):
        faces = pipe.read(photo)
        if len(faces) < face:
            raise NoFaceFound(f"image {number} shows {len(faces)} faces, there is no number {face}: give another")
        found.append(faces[face - 1])
    return found[0] if len(found) == 1 else mean(found)


def vector_of(person: Person) -> Identity:
    """The identity of a person from another node. Raises `BadIdentity` if a face was read without."""
    return gather.Person(name="the face", subject=person).identity


def mean(people: Sequence[Person]) -> Identity:
    """Several photos of one person in one identity."""
    return identity.mean([vector_of(one) for one in people])


def blend(first: Person, second: Person, amount: float) -> Identity:
    """Between two people: 0 is the first, 1 the second."""
    return identity.blend(vector_of(first), vector_of(second), amount)


def shift(pipe: Model, person: Person, amounts: str) -> Identity:
    """Along the model's directions, `"age=1.5,smile=-1"` in standard deviations.

    Raises `BadOption` for a name that the model does not have, `WeightsMissing` if it has no directions."""
    if pipe.folder is None:
        raise WeightsMissing("this model came from no folder, so it has no directions: load one by name")
    return directions.shift(vector_of(person), directions.of_model(pipe.folder), directions.parse(amounts))


@_with_gradients
def generate(
    pipe: Model,
    person: Person,
    *,
    seed: int,
    count: int = 1,
    prompt: str = "",
    values: Mapping[str, Any] = MappingProxyType({}),
    files: Mapping[str, Path] = NO_FILES,
) -> tuple[Tensor, str]:
    """New pictures (count, H, W, 3) of a person, and their recipe as JSON. values: of the sockets; files: what a chosen
    file's name stands for. Raises what the pipeline does."""
    options = sockets.options_from(_with_photos(values), files=files)
    words = {"prompt": prompt} if prompt else {}
    out: Generation = pipe([person], seed=seed, num_images_per_prompt=count, **words, **options)
    return _as_written(writer.files_of(out, people=[person], identity=False, marks=_marks()))


@_with_gradients
def edit(
    pipe: FacePipeline,
    task: str,
    *,
    source: Float[Tensor, "... H W C"] | None = None,
    target: Float[Tensor, "... h w c"] | None = None,
    mask: Float[Tensor, "... _ _"] | None = None,
    regions: str = "",
    shift: str = "",
    face: int = 1,
    seed: int = 0,
    count: int = 1,
    consent: bool = False,
    values: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[Float[Tensor, "N _ _ 3"], str]:
    """A photo in which one face is made anew: (count, H, W, 3) at its own size, and the recipe as JSON.

    source, target: (1, H, W, 3). regions: names separated by commas; shift as in `shift`. values: of the sockets; a
    photo of a pose or an expression is a piece of the edit. Raises what `FacePipeline.edit` does, and `BadOption`
    without consent."""
    require_consent(consent)
    options = sockets.options_from(_with_photos(values), unset=sockets.UNSET_IN_EDITS)
    of_photos = [name for name in sockets.READ_FROM_PHOTOS if isinstance(options.get(name), np.ndarray)]
    tokens = {name: options.pop(name) for name in of_photos}
    out = pipe.edit(
        task,
        source=None if source is None else tensors.photo(source, "source"),
        target=None if target is None else tensors.photo(target, "target"),
        tokens=tokens or None,
        mask=None if mask is None else tensors.mask(mask),
        region=[name.strip() for name in regions.split(",") if name.strip()] or None,
        shift=directions.parse(shift) if shift else None,
        face=face,
        seed=seed,
        num_images=count,
        **options,
    )
    return _as_written(writer.files_of_edit(out, names=False, marks=_marks()))


def detect(images: Tensor) -> tuple[str, str]:
    """Whether pictures (B, H, W, 3) carry the watermark: a line for each, and all that was found as JSON. A tensor has
    lost its file, so no signature and no recipe: what those say, `personae detect` reads from the file."""
    found = []
    for number, photo in enumerate(tensors.photos(images), 1):
        buffer = io.BytesIO()
        Image.fromarray(photo).save(buffer, "PNG")
        mark = provenance.detect(buffer.getvalue())["watermark"]
        found.append({"image": number} | asdict(mark))
    lines = [f"image {one['image']}: watermark {one['state']}" for one in found]
    return "\n".join(lines), json.dumps(found)


def _marks() -> Marks:
    """A tensor has no file that could be signed: its mark is the one in its pixels."""
    return Marks.of_environment(c2pa=False)


def _as_written(files: Iterable[bytes]) -> tuple[Tensor, str]:
    """The pictures as the one writer marks them, with the recipe of the first: ComfyUI's SaveImage knows no writer."""
    pictures = [Image.open(io.BytesIO(content)) for content in files]
    return tensors.images(pictures), pictures[0].info["personae"]


def _with_photos(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tensors.photo(one, name) if isinstance(one, Tensor) else one for name, one in values.items()}
