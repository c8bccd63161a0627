"""personae evaluate --suite finding --source ../shared/faces --people 12

Which faces the bundled reader finds, by their size in the picture and on sheets of many people, beside the labelling
detector (YuNet); and whom it takes them for, by the tilt of the head. Held-out people only; figures in docs/quality.md.

    people = [Sitter(pixels=photo, box=box), ...]          # photos of one face each
    found(reader.read, people, width=64, size=(640, 480), rng=rng)             # (N,) bool
    likeness_by_tilt(reader, people[0].pixels, range(0, 360, 15))              # (24,) cosines to the upright reading

Pictures are made of real photos, shrunk and turned, over textures: how many faces they show, where and how large, is
known without a second opinion.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import typer
from PIL import Image

import personae
from personae.console import say
from personae.data.teachers import Teachers
from personae.evaluation.judge import teachers_folder
from personae.evaluation.people import held_out_people
from personae.evaluation.scenes import texture
from personae.evaluation.suite_options import Source, TeachersFolder
from personae.reading.reader import FaceReader
from personae.shapes import UInt8
from personae.types import Array

# The boxes (N, 4) of the faces in a picture (H, W, 3) RGB uint8.
Detects = Callable[[Array], Array]
_GRAIN = 512  # a texture's own side; larger pictures show it enlarged
_SIZES = ((51, (640, 480)), (64, (640, 480)), (64, (1280, 960)), (150, (3000, 2000)))
_SHEETS = ((12, 160, 4), (48, 120, 8), (96, 80, 12))  # people, pixels of a cell, columns


@dataclass(frozen=True, kw_only=True)
class Sitter:
    """A photo of one face: `pixels` (H, W, 3) RGB uint8, `box` (4,) left, top, right, bottom."""

    pixels: Array
    box: Array


def pasted(sitter: Sitter, *, width: float, size: tuple[int, int], rng: np.random.Generator) -> tuple[Array, Array]:
    """A picture of `size` (W, H) that shows the photo, its face `width` pixels wide, somewhere on a texture; and the
    face's box (4,) in it."""
    scale = width / float(sitter.box[2] - sitter.box[0])
    shape = [max(1, round(side * scale)) for side in sitter.pixels.shape[1::-1]]
    small = Image.fromarray(sitter.pixels).resize((shape[0], shape[1]), Image.Resampling.LANCZOS)
    picture = ground(size, rng)
    left, top = (int(rng.integers(0, max(1, room - side + 1))) for room, side in zip(size, shape, strict=True))
    picture.paste(small, (left, top))
    box = (sitter.box + 0.5) * scale - 0.5 + np.array((left, top, left, top))
    return np.asarray(picture), box


def sheet(sitters: Sequence[Sitter], *, cell: int, columns: int) -> UInt8[Array, "H W 3"]:
    """The photos side by side, each in a cell of `cell` pixels."""
    rows = -(-len(sitters) // columns)
    canvas = Image.new("RGB", (columns * cell, rows * cell), (255, 255, 255))
    for i, sitter in enumerate(sitters):
        photo = Image.fromarray(sitter.pixels)
        photo.thumbnail((cell, cell), Image.Resampling.LANCZOS)
        canvas.paste(photo, (i % columns * cell, i // columns * cell))
    return np.asarray(canvas)


def ground(size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """A texture of `size` (W, H)."""
    grain = Image.fromarray(texture(rng, _GRAIN))
    side = max(size)
    return grain.resize((side, side), Image.Resampling.BICUBIC).crop((0, 0, *size))


def found(
    detect: Detects, sitters: Sequence[Sitter], *, width: float, size: tuple[int, int], rng: np.random.Generator
) -> Array:
    """(N,) bool: whether a box of about the right place and size is found of each sitter's face in a picture made as
    `pasted` says."""
    hits = []
    for sitter in sitters:
        picture, box = pasted(sitter, width=width, size=size, rng=rng)
        hits.append(any(_hits(one, box) for one in detect(picture)))
    return np.array(hits)


def _hits(one: Array, box: Array) -> bool:
    """Whether a box lies about where `box` does: their middles half a side apart at most, their widths a factor of two.

    Not by their overlap: detectors frame a face of few pixels each in their own way.
    """
    sides, own = box[2:] - box[:2], one[2:] - one[:2]
    apart = np.abs((one[:2] + one[2:]) / 2 - (box[:2] + box[2:]) / 2)
    return bool((apart < sides / 2).all() and 0.5 < own[0] / sides[0] < 2)


def turned(pixels: UInt8[Array, "H W 3"], degrees: float, rng: np.random.Generator) -> UInt8[Array, "S S 3"]:
    """The photo (H, W, 3), turned clockwise, in the middle of a texture on which its corners have room."""
    side = int(np.ceil(np.hypot(*pixels.shape[:2])))
    picture = ground((side, side), rng)
    layer = Image.new("RGBA", (side, side))
    layer.paste(Image.fromarray(pixels), ((side - pixels.shape[1]) // 2, (side - pixels.shape[0]) // 2))
    layer = layer.rotate(-degrees, Image.Resampling.BICUBIC)
    picture.paste(layer, (0, 0), layer)
    return np.asarray(picture)


def likeness_by_tilt(reader: FaceReader, pixels: Array, degrees: Iterable[float], *, seed: int = 0) -> Array:
    """(A,) cosines of the largest face in the photo (H, W, 3), turned by each of the angles, to the reading of it in
    the same surroundings upright; 0 where none is found."""

    def read(angle: float) -> Array | None:
        (identity,) = reader.identify([turned(pixels, angle, np.random.default_rng(seed))])
        return None if identity is None else identity.vector

    upright, tilted = read(0), [read(angle) for angle in degrees]
    if upright is None:
        return np.zeros(len(tilted))
    return np.array([0.0 if one is None else float(upright @ one) for one in tilted])


def measure(
    reader: FaceReader, detect: Detects, photos: Sequence[UInt8[Array, "_ _ 3"]], *, count: int, seed: int = 0
) -> list[str]:
    """A line for each figure: `reader` beside `detect`, which also says where the face of each of `photos` is.

    count: people for sizes and tilts; sheets show as many as there are.
    """

    def read(pixels: Array) -> Array:
        faces = reader.read(pixels, motion=False, identity=False)
        return np.array([face.detection.box for face in faces]).reshape(-1, 4)

    sitters = [Sitter(pixels=pixels, box=boxes[0]) for pixels in photos if len(boxes := detect(pixels))]
    some, lines = sitters[:count], []
    for width, size in _SIZES:
        counts = [
            found(one, some, width=width, size=size, rng=np.random.default_rng(seed)).sum() for one in (read, detect)
        ]
        lines.append(f"{width} px in {size[0]} x {size[1]}: {counts[0]} of {len(some)}, YuNet {counts[1]}")
    for people, cell, columns in _SHEETS:
        picture = sheet(sitters[:people], cell=cell, columns=columns)
        lines.append(f"sheet of {len(sitters[:people])}: {len(read(picture))}, YuNet {len(detect(picture))}")
    tilts = range(0, 360, 15)
    cosines = np.stack([likeness_by_tilt(reader, sitter.pixels, tilts) for sitter in some])
    for tilt, column in zip(tilts, cosines.T, strict=True):
        lines.append(f"tilt {tilt}: median {np.median(column):.3f}, at least 0.9: {(column >= 0.9).mean():.0%}")
    return lines


def main(
    people: Annotated[int, typer.Option(help="Held-out people for sizes and tilts.")] = 12,
    source: Source = None,
    teachers: TeachersFolder = None,
    seed: Annotated[int, typer.Option(help="Of the people and of the pictures made of them.")] = 0,
) -> None:
    """Count found faces by size, on sheets and by tilt; print a line for each figure."""
    reader = FaceReader.from_folder(f"{personae.__path__[0]}/weights/nano/reader")
    labeller = Teachers(teachers_folder(teachers))

    def detect(pixels: Array) -> Array:
        return np.array([face.box for face in labeller.detect(pixels)]).reshape(-1, 4)

    photos = [person.photo.pixels for person in held_out_people(source, max(96, people), seed=seed)]
    for line in measure(reader, detect, photos, count=people, seed=seed):
        say(line)


if __name__ == "__main__":
    typer.run(main)
