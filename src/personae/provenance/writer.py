"""The one place that writes images.

    paths = writer.save(generation, "out", people=[face], stems=["me"])      # out/me-seed7.png ...
    paths = writer.save_edit(pipe.edit("swap", ...), "out", stem="me-swap")  # out/me-swap-seed7.png ...

The order of an image's way out (`encode`): its recipe -> a watermark in its pixels, with the recipe's hash -> the file,
with the recipe as JSON (PNG: the iTXt chunk `personae`; JPEG and WebP: EXIF UserComment) and an XMP packet whose IPTC
DigitalSourceType says that a model made it -> a signature around all of it (C2PA). `Marks` says which of these are off;
the recipe records it. Files appear whole or not at all: written beside their place under another name, then renamed.
What recipes are: `personae.provenance.recipe`. How an image is made again from one: `personae.replay`.
"""

import io
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from personae.controls.image_settings import settings_of
from personae.errors import BadOption, BadOutput, unknown_name
from personae.io import atomic
from personae.provenance import pixel_mark, signing
from personae.provenance.manifest import BY_A_MODEL, IN_PART, SOURCE_TYPES
from personae.provenance.marks import WATERMARK, Marks
from personae.provenance.message import message_of
from personae.provenance.recipe import EDIT, FORMAT, as_stored, as_text, nameless, parsed
from personae.reading.colours import for_format
from personae.reading.metadata import ASCII, EXIF_IFD, USER_COMMENT
from personae.types import Array, Edit, Face, Generation, Identity, Ingredient
from personae.version import __version__

FORMATS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}
_LONGEST_SIDE = {"png": 2**31 - 1, "jpg": 65_535, "webp": 16_383}  # pixels
SHEET = "sheet"  # what the recipe of several pictures in one calls its task
_SOFTWARE = 0x0131
_BY_A_MODEL = (BY_A_MODEL, "AI generated")
_IN_PART = (IN_PART, "Edited by AI")  # a photo of which a model made a part
_XMP = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmp:CreatorTool="personae {__version__}"
 Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPES}%s">
<dc:description><rdf:Alt><rdf:li xml:lang="x-default">%s</rdf:li></rdf:Alt></dc:description>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""


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


def encode(
    image: Image.Image,
    format: str,  # noqa: A002
    recipe: Mapping[str, Any],
    *,
    marks: Marks | None = None,
    area: Array | None = None,
    ingredients: Sequence[Ingredient] = (),
    quality: int = 95,
) -> bytes:
    """The bytes of an image file with its marks, its recipe inside, and its colour profile (`info["icc_profile"]`); of
    a recipe that has no room there, it warns (`recipe.as_text`).

    Arguments:
        format: one of `FORMATS`; a PNG keeps the image's mode, a WebP alpha, a JPEG shows what is transparent before
            white.
        marks: which marks it gets; None: `Marks.of_environment()`. Those that it does get, the recipe records.
        area: (H, W) bool, the pixels that an edit changed, which alone are watermarked; None: all.
        ingredients: what it was made of, for the signature.
        quality: of a JPEG or WebP, 1-100.

    Raises `BadOption` for another format, `BadOutput` for a picture that is too large for it, or cannot be signed.
    """
    require_room(format, image.size)
    image = for_format(image, format)
    marks, credentials = signing.ready(marks or Marks.of_environment(), format)
    if (reason := pixel_mark.why_not(image, area)) is not None:
        marks = marks.without(WATERMARK, reason)
    text = as_text({**recipe, "marks": marks.recorded()}, format)
    if marks.watermark:
        image = pixel_mark.with_mark(image, message_of(parsed(text)), area)
    source_type = _BY_A_MODEL if recipe.get("task") not in (EDIT, SHEET) else _IN_PART
    content = _file(image, format, text, source_type, quality)
    return content if credentials is None else signing.sign(content, format, parsed(text), ingredients, credentials)


def encode_sheet(image: Image.Image, format: str, *, model: str, quality: int = 82) -> bytes:  # noqa: A002
    """The bytes of a sheet of several pictures, some of which a model of that name made: all of it is watermarked and
    labelled. It is not signed: it is no picture that somebody made, and made again it is to be the same file."""
    recipe = {"task": SHEET, "model": {"name": model}, "ai_generated": True, "software": f"personae {__version__}"}
    return encode(image, format, recipe, marks=Marks.of_environment(c2pa=False), quality=quality)


def _file(
    image: Image.Image,
    format: str,  # noqa: A002
    text: str,
    source_type: tuple[str, str],
    quality: int,
) -> bytes:
    """The bytes of an image's file with its recipe's text."""
    buffer, profile, xmp = io.BytesIO(), image.info.get("icc_profile"), _XMP % source_type
    if format == "png":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("personae", text)
        info.add_itxt("XML:com.adobe.xmp", xmp)
        image.save(buffer, "PNG", pnginfo=info, icc_profile=profile)
    else:
        exif = Image.Exif()
        exif[_SOFTWARE] = f"personae {__version__}"
        exif.get_ifd(EXIF_IFD)[USER_COMMENT] = ASCII + text.encode("ascii")
        image.save(buffer, FORMATS[format], quality=quality, exif=exif, xmp=xmp.encode(), icc_profile=profile)
    return buffer.getvalue()


def require_room(format: str, size: tuple[int, int] | None) -> None:  # noqa: A002
    """Raise `BadOutput` unless a format holds pictures of a size (width, height): before the work, not after it. None:
    not known yet. Raises `BadOption` for an unknown format."""
    if format not in FORMATS:
        raise unknown_name("image format", format, FORMATS)
    longest = _LONGEST_SIDE[format]
    if size is not None and max(size) > longest:
        raise BadOutput(
            f"a {format} file holds at most {longest} pixels a side, the picture has {size[0]} x {size[1]}: write a PNG"
        )


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
    without it a replay needs the photo, which the recipe names by sha256 only, as it then does all other files.
    """
    vectors = [_stored(one) for one in (person, *others)]
    inputs, settings = generation.recipe["inputs"], generation.recipe["settings"]
    if not others:
        settings = settings_of(settings, generation.people[index], index, len(generation.images))
    recipe = _common_recipe(generation, index) | {
        "input": _input(person) if isinstance(person, Face) else None,
        # Of those in this image alone: who else was in the call is nobody's business.
        "inputs": inputs if others else [inputs[generation.people[index]]],
        "settings": settings,
    }
    if generation.tries is not None:
        recipe["tries"] = generation.tries[index]
    if identity and all(vectors):
        recipe["identity"], *more = vectors
        if more:
            recipe["others"] = more
    return recipe if identity else nameless(recipe)


def _common_recipe(result: Generation | Edit, index: int) -> dict[str, Any]:
    """What the recipe of image `index` says, whatever made it."""
    measured = result.likeness[index] if result.likeness else None
    model = result.recipe["model"]
    return result.recipe | {
        "format": FORMAT,
        "model": model | {"name": Path(model["name"] or "unnamed").name},  # a folder's place is its owner's business
        "ai_generated": True,
        "software": f"personae {__version__}",
        "seed": result.seeds[index],
        "likeness": None if measured is None or np.isnan(measured) else round(float(measured), 4),
    }


def _stored(person: Face | Identity) -> dict[str, str] | None:
    identity = person.identity if isinstance(person, Face) else person
    return None if identity is None else as_stored(identity)


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
    marks: Marks | None = None,
    force: bool = False,
) -> list[Path]:
    """Write every image of a generation into `folder`, each with its recipe; returns their paths in order.

    people: who the generation was asked for, `generation.people[i]` indexes it; stems: how each one's files begin;
    name: of the only image's file instead; marks: as `encode`.
    Nothing is written if one of the files is already there (`BadOutput`), unless `force`.
    """
    target = prepare(folder)
    names = stems or (["personae"] if len(people) == 1 else [f"person{i}" for i in range(len(people))])
    paths = paths_of(target, generation.people, generation.seeds, stems=names, format=format)
    contents = files_of(generation, people=people, format=format, identity=identity, marks=marks)
    return _write_each(paths if name is None else [target / name], contents, len(generation.images), force)


def files_of(
    generation: Generation,
    *,
    people: Sequence[Face | Identity],
    format: str = "png",  # noqa: A002
    identity: bool = True,
    marks: Marks | None = None,
) -> Iterator[bytes]:
    """The bytes of every image's file, as `save` writes them."""
    others = people[1:] if "regions" in generation.recipe["settings"] else ()
    for index, image in enumerate(generation.images):
        recipe = recipe_of(generation, index, people[generation.people[index]], others=others, identity=identity)
        yield encode(image, format, recipe, marks=marks)


def save_edit(
    edit: Edit,
    folder: str | Path,
    *,
    stem: str = "edit",
    name: str | None = None,
    format: str = "png",  # noqa: A002
    names: bool = True,
    marks: Marks | None = None,
    force: bool = False,
) -> list[Path]:
    """Write every image of an edit into `folder`, each with its recipe; returns their paths in order. name and
    marks: as `save`.

    The recipe names the photos it was made from, by sha256 and, unless `names` is False, by their files' names without
    the folder, and holds those of earlier edits of the photo, but nobody's identity: a replay needs the photos. Only a
    PNG keeps what was not edited byte for byte. Nothing is written if one of the files is already there (`BadOutput`),
    unless `force`.
    """
    target = prepare(folder)
    paths = paths_of(target, [0] * len(edit.images), edit.seeds, stems=[stem], format=format)
    contents = files_of_edit(edit, format=format, names=names, marks=marks)
    return _write_each(paths if name is None else [target / name], contents, len(edit.images), force)


def files_of_edit(
    edit: Edit,
    *,
    format: str = "png",  # noqa: A002
    names: bool = True,
    marks: Marks | None = None,
) -> Iterator[bytes]:
    """The bytes of every image's file, as `save_edit` writes them."""
    for index, image in enumerate(edit.images):
        recipe = _common_recipe(edit, index)
        recipe = recipe if names else nameless(recipe)
        yield encode(image, format, recipe, marks=marks, area=edit.mask, ingredients=edit.ingredients)


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
