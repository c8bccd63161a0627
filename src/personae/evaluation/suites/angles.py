"""personae evaluate --suite angles --people 8 -o angles.json

How far a model can turn a head: held-out people are generated, or their photos edited, at one angle after another, and
read back by networks that take no part in making the pictures: is a face found, how alike is it, how far has it turned.
A model's `limits.json` is written from these figures and from the pictures (`--sheet`): look at them.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

from personae.console import note
from personae.data.teachers import Teachers, framed
from personae.evaluation.judge import Finder, teacher_finder, teachers_folder
from personae.evaluation.report import FOLDER
from personae.evaluation.setup import Setup, open_setup
from personae.evaluation.suite_options import Cache, Model, People, ReportFile, TeachersFolder
from personae.io import atomic
from personae.models import catalog, limits
from personae.provenance import writer
from personae.shapes import Float, UInt8
from personae.types import Array, Motion

ANGLES = {"yaw": (-75, -60, -45, -30, 30, 45, 60, 75), "pitch": (-60, -45, -30, -20, 20, 30, 45, 60),
          "roll": (-45, -30, -20, -10, 10, 20, 30, 45)}  # fmt: skip
AXES = tuple(ANGLES)
_SIDE = 128  # pixels of a picture on the sheet


@dataclass(frozen=True, kw_only=True)
class Bench:
    """The people, and the networks that read their pictures. `edits`: whether photos are edited, or people
    generated."""

    setup: Setup
    find: Finder
    motion: Callable[[UInt8[Array, "H W 3"]], Motion | None]
    edits: bool

    def pictures(self, axis: str, angle: float) -> list[Array]:
        """One of everybody, (H, W, 3), at `angle` degrees."""
        options: dict[str, Any] = {"pose": {axis: angle}, "seed": 0, "measure_likeness": False}
        pipe, faces = self.setup.pipe, [one.face for one in self.setup.subjects]
        if not self.edits:
            return [np.asarray(image) for image in pipe(faces, **options).images]
        done = [pipe.edit("attribute", target=face, **options).images[0] for face in faces]
        return [np.asarray(image.convert("RGB").resize((256, 256))) for image in done]

    def row(self, real: Float[Array, "P D"], images: list[UInt8[Array, "H W 3"]], axis: str) -> dict[str, float]:
        """likeness: the mean cosine to the photos' vectors `real` (P, D); found: the share in which the landmarker
        finds a face; held: the median angle that it measures."""
        vectors = self.setup.judge.look(images, self.find)
        alike = np.nan_to_num((vectors * real).sum(1)) if vectors.shape == real.shape else np.zeros(len(real))
        poses = [found.pose for image in images if (found := self.motion(framed(image)))]
        angles = [getattr(pose, axis) for pose in poses] or [0.0]
        return {
            "likeness": round(float(alike.mean()), 3),
            "found": len(poses) / len(images),
            "held": round(float(np.median(angles)), 1),
        }


def measure(bench: Bench) -> tuple[dict[str, dict[str, dict[str, float]]], UInt8[Array, "H W 3"]]:
    """The figures by axis and angle, with those at no angle as `ahead`; and a picture with a row for each of them."""
    real = bench.setup.judge.look([one.person.photo.pixels for one in bench.setup.subjects], bench.find)
    rows: dict[str, dict[str, dict[str, float]]] = {name: {} for name in ("ahead", *AXES)}
    strips = []
    turns = [("ahead", "yaw", 0)] + [(axis, axis, angle) for axis, angles in ANGLES.items() for angle in angles]
    for name, axis, angle in turns:
        images = bench.pictures(axis, angle)
        rows[name][str(angle)] = bench.row(real, images, axis)
        note(f"{axis} {angle}: {rows[name][str(angle)]}")
        strips.append(np.concatenate([np.asarray(Image.fromarray(one).resize((_SIDE, _SIDE))) for one in images], 1))
    return rows, np.concatenate(strips)


@contextmanager
def unlimited(model: Path) -> Iterator[Path]:
    """A model folder without its table of angles, which would refuse most of what is measured here."""
    with TemporaryDirectory() as folder:
        copied = Path(folder) / model.name
        shutil.copytree(model, copied, ignore=shutil.ignore_patterns(limits.FILE, catalog.MANIFEST))
        yield copied


def main(
    model: Model = "nano",
    out: ReportFile = FOLDER / "angles.json",
    people: People = 8,
    edits: Annotated[bool, typer.Option(help="Edit people's photos instead of generating the people.")] = False,
    sheet: Annotated[Path | None, typer.Option(help="A PNG to write, with all pictures.")] = None,
    source: Cache = Path("cache/faces"),
    teachers: TeachersFolder = None,
) -> None:
    """Measure likeness and the angle that is reached, from angle to angle."""
    folder = teachers_folder(teachers)
    with unlimited(catalog.resolve(model)) as copied:
        setup = open_setup(str(copied), people, source, "teacher", motion=True)
        bench = Bench(setup=setup, find=teacher_finder(folder), motion=Teachers(folder).motion, edits=edits)
        rows, picture = measure(bench)
    out.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_json(out, rows)
    if sheet is not None:
        name = setup.pipe.name or "unnamed"
        writer.write(
            sheet, writer.encode_sheet(Image.fromarray(picture), sheet.suffix[1:], model=Path(name).name), force=True
        )


if __name__ == "__main__":
    typer.run(main)
