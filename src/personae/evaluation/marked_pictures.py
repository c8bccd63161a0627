"""Pictures to mark and to leave unmarked: photos in many sizes, sheets of them, a model's own images, its edits."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from personae.errors import NoFaceFound
from personae.evaluation.reencoding import compressed, cropped
from personae.evaluation.scenes import texture
from personae.gather import strangers
from personae.pipeline import FacePipeline
from personae.provenance import pixel_mark
from personae.shapes import Bool, UInt8
from personae.types import Array

_PHOTO = 224  # pixels of a photo on a sheet
_PLAIN = 256  # of the shorter side, up to which no picture is a sheet


def photo_of(photos: Sequence[UInt8[Array, "H W 3"]], number: int, size: int) -> Image.Image:
    """Picture `number` whose shorter side has `size` pixels: a photo, or from 384 px on every other time a sheet of
    photos; some are not square."""
    rng = np.random.default_rng(number)
    if size > _PLAIN and number % 2:
        across = -(-size // _PHOTO)
        image = Image.new("RGB", (across * _PHOTO,) * 2)
        for cell, one in enumerate(rng.integers(len(photos), size=across**2)):
            place = (cell % across * _PHOTO, cell // across * _PHOTO)
            image.paste(Image.fromarray(photos[one]).resize((_PHOTO, _PHOTO)), place)
        image = image.crop((0, 0, size, size))
    else:
        image = Image.fromarray(photos[number % len(photos)]).resize((size, size), Image.Resampling.LANCZOS)
    longer = round(size * (1 if number % 3 else rng.uniform(1, 1.5)))
    return image.resize((longer, size) if number % 2 else (size, longer), Image.Resampling.BICUBIC)


def generated(pipe: FacePipeline, count: int) -> Iterator[tuple[Image.Image, Any]]:
    """The model's images of people who do not exist, each with the identity that was requested."""
    people = strangers(pipe.folder, count, seed=0) if count and pipe.folder else []
    for seed, person in enumerate(people):
        yield pipe([person], seed=seed, measure_likeness=False).images[0], person


def edited(
    pipe: FacePipeline, photos: Sequence[UInt8[Array, "H W 3"]], count: int
) -> Iterator[tuple[Image.Image, Bool[Array, "H W"], Any]]:
    """Photos of 448 px into which somebody else was put, each with the part (H, W) that the model changed and the
    identity that was requested; those whose part is too small for a mark, or who show no face, are left out."""
    for seed, (image, person) in enumerate(generated(pipe, count)):
        source, target = (one.resize((2 * _PHOTO,) * 2) for one in (image, Image.fromarray(photos[seed % len(photos)])))
        try:
            edit = pipe.edit("swap", source=np.asarray(source), target=np.asarray(target), seed=seed)
        except NoFaceFound:
            continue
        if pixel_mark.why_not(edit.images[0], edit.mask) is None:
            yield edit.images[0].convert("RGB"), edit.mask, person


def unmarked(
    photos: Sequence[UInt8[Array, "H W 3"]], first: int, count: int
) -> Iterator[tuple[str, UInt8[Array, "H W 3"]]]:
    """`count` pictures without a mark, from number `first` on, of three kinds: photos as they are, crops and compressed
    crops of them, and textures drawn from nothing."""
    for number in range(first, first + count):
        rng = np.random.default_rng([1, number])
        if number < len(photos):
            yield "photos", photos[number]
        elif number % 2:
            image = Image.fromarray(photos[int(rng.integers(len(photos)))])
            image = cropped(image, float(rng.uniform(0.58, 1)), rng)
            if rng.random() < 0.5:
                image = compressed(image, "JPEG", int(rng.integers(40, 95)))
            yield "crops", np.asarray(image)
        else:
            yield "textures", texture(rng, int(rng.integers(128, 320)))
