"""The one place that writes images, and the one that reads back how they were made.

    paths = output.save(generation, "out", people=[face], stems=["me"])   # out/me-seed7.png ...
    output.read_recipe(paths[0])["seed"]                                 # 7
    image, drift = output.replay(paths[0])                               # made again; drift.mean in grey levels
    paths = output.save_edit(pipe.edit("swap", ...), "out", stem="me-swap")

Every file carries its recipe as JSON (PNG: the iTXt chunk `personae`; JPEG and WebP: EXIF UserComment) and an XMP
packet whose IPTC DigitalSourceType says that a model made it. Files appear whole or not at all: written beside
their place under another name, then renamed.
"""

import base64
import binascii
import io
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, PngImagePlugin

from personae import __version__, catalog
from personae.errors import BadIdentity, BadImage, BadOption, BadOutput, unknown_name
from personae.io import atomic
from personae.reading.colours import for_format
from personae.reading.photo import load_photo, pixels_sha256
from personae.types import Edit, Face, Generation, Identity, Photo

if TYPE_CHECKING:
    from personae.pipeline import FacePipeline

EDIT = "edit"  # a recipe's task, if it is an edit's
FORMATS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}
_EXIF_IFD, _USER_COMMENT, _SOFTWARE = 0x8769, 0x9286, 0x0131
_ASCII = b"ASCII\0\0\0"  # EXIF's name for the character set of a UserComment
_SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_BY_A_MODEL = ("trainedAlgorithmicMedia", "AI generated")
_IN_PART = ("compositeWithTrainedAlgorithmicMedia", "Edited by AI")  # a photo of which a model made a part
_XMP = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmp:CreatorTool="personae {__version__}"
 Iptc4xmpExt:DigitalSourceType="{_SOURCE_TYPES}%s">
<dc:description><rdf:Alt><rdf:li xml:lang="x-default">%s</rdf:li></rdf:Alt></dc:description>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How far a replayed image is from the saved one, in grey levels 0-255; `same_model`: whether the weights are
    those that made it."""

    mean: float
    max: int
    same_model: bool


def prepare(folder: str | Path) -> Path:
    """Make an output folder and prove that it can be written to, before any work is spent. Raises `BadOutput`."""
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=target).close()
    except OSError as error:
        raise BadOutput(
            f"cannot write to folder {target}: {error.strerror or error}; choose another with -o"
        ) from error
    return target


def write(path: str | Path, content: bytes, *, force: bool = False) -> Path:
    """Write a file whole or not at all. Raises `BadOutput` if it is there already (unless `force`) or cannot be
    written; whatever goes wrong, nothing half-written stays behind."""
    return atomic.write(path, content, replace=force)


def encode(image: Image.Image, format: str, recipe: dict[str, Any]) -> bytes:  # noqa: A002
    """The bytes of an image file with its recipe inside, and its colour profile (`info["icc_profile"]`). `format`: one
    of `FORMATS`; a PNG keeps the image's mode, a WebP alpha, a JPEG shows what is transparent before white."""
    if format not in FORMATS:
        raise unknown_name("image format", format, FORMATS)
    text, buffer = json.dumps(recipe, sort_keys=True), io.BytesIO()
    image = for_format(image, format)
    profile = image.info.get("icc_profile")
    xmp = _XMP % (_IN_PART if recipe.get("task") == EDIT else _BY_A_MODEL)
    if format == "png":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("personae", text)
        info.add_itxt("XML:com.adobe.xmp", xmp)
        image.save(buffer, "PNG", pnginfo=info, icc_profile=profile)
    else:
        exif = Image.Exif()
        exif[_SOFTWARE] = f"personae {__version__}"
        exif.get_ifd(_EXIF_IFD)[_USER_COMMENT] = _ASCII + text.encode("ascii")
        image.save(buffer, FORMATS[format], quality=95, exif=exif, xmp=xmp.encode(), icc_profile=profile)
    return buffer.getvalue()


def recipe_of(
    generation: Generation,
    index: int,
    person: Face | Identity,
    *,
    others: Sequence[Face | Identity] = (),
    identity: bool = True,
) -> dict[str, Any]:
    """How image `index` of a generation was made: enough to make it again. `others`: who is in it beside `person`.

    With `identity` the vector itself is inside (biometric data: whoever holds the file can generate this person);
    without it a replay needs the photo, which the recipe names by sha256 only.
    """
    from personae.steering import settings_of  # late: it brings torch

    vectors = [_stored(one) for one in (person, *others)]
    inputs = generation.recipe["inputs"]
    recipe = _common_recipe(generation, index) | {
        "input": _input(person) if isinstance(person, Face) else None,
        # Of those in this image alone: who else was in the call is nobody's business.
        "inputs": inputs if others else [inputs[generation.people[index]]],
        "settings": settings_of(generation.recipe["settings"], generation.people[index]),
    }
    if generation.tries is not None:
        recipe["tries"] = generation.tries[index]
    if identity and all(vectors):
        recipe["identity"], *more = vectors
        if more:
            recipe["others"] = more
    return recipe


def _common_recipe(made: Generation | Edit, index: int) -> dict[str, Any]:
    """What the recipe of image `index` says, whatever made it."""
    measured = made.likeness[index] if made.likeness else None
    model = made.recipe["model"]
    return made.recipe | {
        "model": model | {"name": Path(model["name"] or "unnamed").name},  # a folder's place is its owner's business
        "ai_generated": True,
        "software": f"personae {__version__}",
        "seed": made.seeds[index],
        "likeness": None if measured is None or np.isnan(measured) else round(float(measured), 4),
    }


def _stored(person: Face | Identity) -> dict[str, str] | None:
    who = person.identity if isinstance(person, Face) else person
    if who is None:
        return None
    return {"space": who.space, "vector": base64.b64encode(who.vector.astype("<f4").tobytes()).decode()}


def _input(face: Face) -> dict[str, Any]:
    """Which photo, and which face in it: by hash and box, never by name."""
    return {
        "sha256": face.photo.sha256 if face.photo else None,
        "box": [round(float(edge)) for edge in face.detection.box],
    }


def paths_of(
    folder: Path,
    people: Sequence[int],
    seeds: Sequence[int],
    *,
    stems: Sequence[str],
    format: str = "png",  # noqa: A002
) -> list[Path]:
    """Where the images of a call go: image i is `stems[people[i]]` and its seed."""
    return [folder / f"{stems[person]}-seed{seed}.{format}" for person, seed in zip(people, seeds, strict=True)]


def save(
    generation: Generation,
    folder: str | Path,
    *,
    people: Sequence[Face | Identity],
    stems: Sequence[str] | None = None,
    name: str | None = None,
    format: str = "png",  # noqa: A002
    identity: bool = True,
    force: bool = False,
) -> list[Path]:
    """Write every image of a generation into `folder`, each with its recipe; returns their paths in order.

    people: who the generation was asked for, `generation.people[i]` indexes it; stems: how each one's files begin;
    name: of the only image's file instead.
    Nothing is written if one of the files is already there (`BadOutput`), unless `force`.
    """
    target = prepare(folder)
    names = stems or (["personae"] if len(people) == 1 else [f"person{i}" for i in range(len(people))])
    paths = paths_of(target, generation.people, generation.seeds, stems=names, format=format)
    contents = files_of(generation, people=people, format=format, identity=identity)
    return _write_each(paths if name is None else [target / name], contents, len(generation.images), force)


def files_of(
    generation: Generation,
    *,
    people: Sequence[Face | Identity],
    format: str = "png",  # noqa: A002
    identity: bool = True,
) -> Iterator[bytes]:
    """The bytes of every image's file, as `save` writes them."""
    others = people[1:] if "regions" in generation.recipe["settings"] else ()
    for index, image in enumerate(generation.images):
        recipe = recipe_of(generation, index, people[generation.people[index]], others=others, identity=identity)
        yield encode(image, format, recipe)


def save_edit(
    edit: Edit,
    folder: str | Path,
    *,
    stem: str = "edit",
    name: str | None = None,
    format: str = "png",  # noqa: A002
    force: bool = False,
) -> list[Path]:
    """Write every image of an edit into `folder`, each with its recipe; returns their paths in order. name: as `save`.

    The recipe names the photos it was made from, by path and sha256, and holds those of earlier edits of the photo, but
    nobody's identity: a replay needs the photos. Only a PNG keeps what was not edited byte for byte. Nothing is written
    if one of the files is already there (`BadOutput`), unless `force`.
    """
    target = prepare(folder)
    paths = paths_of(target, [0] * len(edit.images), edit.seeds, stems=[stem], format=format)
    contents = files_of_edit(edit, format=format)
    return _write_each(paths if name is None else [target / name], contents, len(edit.images), force)


def files_of_edit(edit: Edit, *, format: str = "png") -> Iterator[bytes]:  # noqa: A002
    """The bytes of every image's file, as `save_edit` writes them."""
    for index, image in enumerate(edit.images):
        yield encode(image, format, _common_recipe(edit, index))


def _write_each(paths: list[Path], contents: Iterable[bytes], count: int, force: bool) -> list[Path]:
    """Write `count` files, none if one is there already; one that cannot be written says which were."""
    if len(paths) != count:
        raise BadOption(f"{paths[0]} names one file, and there are {count} images: leave the name out")
    refuse_overwriting(paths, force)
    for number, (path, content) in enumerate(zip(paths, contents, strict=True)):
        try:
            write(path, content, force=force)
        except BadOutput as error:
            if number == 0:
                raise
            raise BadOutput(f"{error}; written before it: {', '.join(map(str, paths[:number]))}") from error
    return paths


def refuse_overwriting(paths: Sequence[Path], force: bool) -> None:
    """Raise `BadOutput` if any of the files exists and `force` is not given: before the work, not after it."""
    there = [path for path in paths if path.exists()]
    if there and not force:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise BadOutput(f"{there[0]}{more} already there: choose another -o or --seed, or pass --force to replace")


def _recipe_text(image: Image.Image) -> str | None:
    if isinstance(image, PngImagePlugin.PngImageFile):
        return image.text.get("personae")
    comment = image.getexif().get_ifd(_EXIF_IFD).get(_USER_COMMENT)
    return comment[len(_ASCII) :].decode("ascii") if isinstance(comment, bytes) and comment.startswith(_ASCII) else None


def read_recipe(path: str | Path) -> dict[str, Any]:
    """The recipe inside an image file. Raises `BadImage` if it is no image or carries none."""
    recipe = find_recipe(path)
    if recipe is None:
        raise BadImage(f"{path} carries no recipe: it was not written by personae, or a program stripped it")
    return recipe


def find_recipe(path: str | Path) -> dict[str, Any] | None:
    """The recipe inside an image file, None if it carries none. Raises `BadImage` if it is no image, or damaged."""
    try:
        with Image.open(path, formats=list(FORMATS.values())) as image:
            text = _recipe_text(image)
    except FileNotFoundError as error:
        raise BadImage(f"no such file: {path}") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadImage(f"{path} is not an image that can be read: {error}") from error
    if text is None:
        return None
    try:
        recipe = json.loads(text)
    except ValueError as error:
        raise BadImage(f"the recipe in {path} is damaged: {error}") from error
    if not isinstance(recipe, dict) or not {"seed", "model", "settings"} <= set(recipe):
        raise BadImage(f"the recipe in {path} is damaged: it lacks the model, its settings or the seed")
    return recipe


def recipe_identity(recipe: dict[str, Any]) -> Identity | None:
    """The person a recipe holds, or None if it was written without."""
    return None if recipe.get("identity") is None else _restored(recipe["identity"])


def _restored(stored: Any) -> Identity:
    try:
        vector = np.frombuffer(base64.b64decode(stored["vector"], validate=True), "<f4")
        return Identity(vector=vector, space=str(stored["space"]))
    except (TypeError, KeyError, ValueError, binascii.Error) as error:
        raise BadIdentity(f"the identity in this recipe is damaged: {error}") from error


def replay(
    path: str | Path,
    *,
    pipe: "FacePipeline | None" = None,
    photo: str | Path | None = None,
    photos: Mapping[str, str | Path] | None = None,
) -> tuple[Image.Image, Drift]:
    """Make a saved image again from the recipe inside it, and say how far the two are apart.

    pipe: the model to use; None: the one that the recipe names, if it is a named one. photo: the person, if the
    recipe holds no identity, or a pose, whose map has the shape of the face in the photo; its sha256 must be the
    recipe's. photos: of an edit, by what it calls them ("source", "target", a token, "mask"), those that are no longer
    where the recipe says. A JPEG or WebP drifts by its own compression.
    """
    recipe = read_recipe(path)
    if recipe.get("noise") != "seed":
        raise BadOption(f"{path} was made from latents given by the caller, which no recipe holds")
    if pipe is None:
        pipe = _named_model(recipe)
    made: Generation | Edit
    if recipe.get("task") == EDIT:
        made = _edited_again(pipe, recipe, dict(photos or {}))
    else:
        made = _generated_again(pipe, recipe, path, photo)
    with Image.open(path) as saved:
        before = load_photo(saved).pixels
    after = load_photo(made.images[0]).pixels
    if before.shape != after.shape:
        raise BadImage(f"{path} was resized: it is {before.shape[:2]} px, its recipe makes {after.shape[:2]}")
    # Of two bytes, without the memory of wider numbers for a large photo.
    apart, same = np.maximum(before, after) - np.minimum(before, after), made.recipe["model"]["sha256"]
    drift = Drift(mean=float(apart.mean()), max=int(apart.max()), same_model=same == recipe["model"]["sha256"])
    return made.images[0], drift


def _generated_again(
    pipe: "FacePipeline", recipe: dict[str, Any], path: str | Path, photo: str | Path | None
) -> Generation:
    person = (recipe_identity(recipe) if photo is None else None) or _person_of_photo(pipe, photo, recipe)
    people = [person, *(_restored(one) for one in recipe.get("others", []))]
    if len(people) < len(recipe["settings"].get("regions", [])):
        raise BadOption(f"{path} shows several people and was written without their identities: it cannot be replayed")
    return pipe(people, seed=recipe["seed"], measure_likeness=False, **recipe["settings"])


def _edited_again(pipe: "FacePipeline", recipe: dict[str, Any], photos: dict[str, str | Path]) -> Edit:
    """Raises `BadOption` for a photo that is not there, or not the one the recipe names."""
    asked, inputs = dict(recipe["edit"]), recipe["inputs"]
    given = {name: _input_photo(name, facts, photos.pop(name, None)) for name, facts in inputs.items()}
    if photos:
        raise unknown_name("input of this edit", min(photos), inputs)
    mask = given.pop("mask", None)
    faces: dict[str, Any] = {}
    for name, one in given.items():
        boxes = inputs[name]["boxes"]
        # The very face, which need not be the largest; or, of several, the photo.
        faces[name] = one if len(boxes) > 1 else _nearest(pipe.read(one), boxes[0], name)
    roles = {name: faces.pop(name) for name in ("source", "target") if name in faces}
    return pipe.edit(
        asked.pop("task"),
        **roles,
        tokens=faces,
        mask=mask,
        all_faces=any(len(facts.get("boxes", [])) > 1 for facts in inputs.values()),
        seed=recipe["seed"],
        measure_likeness=False,
        **asked,
        **recipe["settings"],
    )


def _input_photo(name: str, facts: dict[str, Any], given: str | Path | None) -> Photo:
    lacking = f"give the {name} photo that this edit was made from (photos={{{name!r}: ...}})"
    try:
        photo = load_photo(facts["photo"] if given is None else given)
    except BadImage as error:
        raise BadOption(f"{error}: {lacking}") from error
    known = facts["sha256"] or facts["photo"].removeprefix("sha256:")
    if known not in (photo.sha256, pixels_sha256(photo)):
        raise BadOption(f"{given or facts['photo']} is another photo (its sha256 is another): {lacking}")
    return photo


def _nearest(faces: Sequence[Face], box: Sequence[float], name: str) -> Face:
    if not faces:
        raise BadOption(f"this model finds no face in the {name} photo: replay with the model that made the edit")
    return min(faces, key=lambda face: float(np.abs(face.detection.box - np.asarray(box)).sum()))


def _named_model(recipe: dict[str, Any]) -> "FacePipeline":
    """The catalog's model that a recipe names. Never a path: a recipe is a stranger's text."""
    name = recipe["model"]["name"]
    if name not in catalog.MODELS:
        raise BadOption(f"this image was made by a model folder called {name!r}: give its path with --model")
    from personae.pipeline import load  # late: it brings torch

    return load(name)


def _person_of_photo(pipe: "FacePipeline", photo: str | Path | None, recipe: dict[str, Any]) -> Face:
    made_from = recipe.get("input")
    if made_from is None or photo is None:
        raise BadOption("this recipe was written without the identity: give the photo it was made from with --photo")
    faces = pipe.read(photo)
    if not faces or faces[0].photo is None or faces[0].photo.sha256 != made_from["sha256"]:
        raise BadOption(f"{photo} is not the photo this image was made from (its sha256 is another)")
    return _nearest(faces, made_from["box"], "person's")
