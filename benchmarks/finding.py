"""python benchmarks/finding.py --source ../shared/faces --teachers ../shared/teachers -n 12

Faces by their size in the picture, sheets of people, and identity by the tilt of the head, by the bundled reader and,
for faces found, by the labellers' detector (YuNet). Held-out people only; figures in docs/quality.md.
"""

import argparse
import sys

import numpy as np

import personae
from personae.data.teachers import Teachers
from personae.evaluation.finding import Sitter, found, likeness_by_tilt, sheet
from personae.evaluation.people import held_out_people
from personae.reading.reader import FaceReader
from personae.types import Array

_SIZES = ((51, (640, 480)), (64, (640, 480)), (64, (1280, 960)), (150, (3000, 2000)))
_SHEETS = ((12, 160, 4), (48, 120, 8), (96, 80, 12))  # people, pixels of a cell, columns


def say(line: str) -> None:
    """One line, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """See the module."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--source")
    options.add_argument("--teachers", default="../shared/teachers")
    options.add_argument("-n", type=int, default=12, help="people for sizes and tilts")
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()

    reader = FaceReader.from_folder(f"{personae.__path__[0]}/weights/nano/reader")
    teachers = Teachers(given.teachers)

    def ours(pixels: Array) -> Array:
        faces = reader.read(pixels, motion=False, identity=False)
        return np.array([face.detection.box for face in faces]).reshape(-1, 4)

    def theirs(pixels: Array) -> Array:
        return np.array([face.box for face in teachers.detect(pixels)]).reshape(-1, 4)

    photos = [person.photo.pixels for person in held_out_people(given.source, max(96, given.n), seed=given.seed)]
    sitters = [Sitter(pixels=pixels, box=boxes[0]) for pixels in photos if len(boxes := theirs(pixels))]
    for width, size in _SIZES:
        counts = [
            found(detect, sitters[: given.n], width=width, size=size, rng=np.random.default_rng(given.seed)).sum()
            for detect in (ours, theirs)
        ]
        say(f"{width} px in {size[0]} x {size[1]}: {counts[0]} of {given.n}, YuNet {counts[1]}")
    for count, cell, columns in _SHEETS:
        picture = sheet(sitters[:count], cell=cell, columns=columns)
        say(f"sheet of {count}: {len(ours(picture))}, YuNet {len(theirs(picture))}")
    tilts = range(0, 360, 15)
    cosines = np.stack([likeness_by_tilt(reader, sitter.pixels, tilts) for sitter in sitters[: given.n]])
    for tilt, column in zip(tilts, cosines.T, strict=True):
        say(f"tilt {tilt}: median {np.median(column):.3f}, at least 0.9: {(column >= 0.9).mean():.0%}")


if __name__ == "__main__":
    main()
