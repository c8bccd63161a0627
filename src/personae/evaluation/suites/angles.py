"""personae evaluate --suite angles --people 8 -o angles.json

How far a model can turn a head: held-out people generated, or their photos edited, at angle after angle, each read
back by networks that have no part in making them: is a face found, how alike is it, how far has it turned. What a
model's `limits.json` allows follows from that and from the pictures (`--sheet`): look at them.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

from personae.data.teachers import Teachers, framed
from personae.evaluation.judge import teacher_finder
from personae.evaluation.report import FOLDER
from personae.evaluation.setup import open_setup
from personae.types import Array

ANGLES = {"yaw": (-75, -60, -45, -30, 30, 45, 60, 75), "pitch": (-60, -45, -30, -20, 20, 30, 45, 60),
          "roll": (-45, -30, -20, -10, 10, 20, 30, 45)}  # fmt: skip
AXES = tuple(ANGLES)


def main(
    out: Annotated[Path, typer.Option("-o", "--out", help="The JSON to write.")] = FOLDER / "angles.json",
    model: Annotated[str, typer.Argument(help="A named model or a model folder.")] = "nano",
    people: Annotated[int, typer.Option(help="Held-out people.")] = 8,
    edits: Annotated[bool, typer.Option(help="Edit their photos, instead of generating them.")] = False,
    sheet: Annotated[Path | None, typer.Option(help="A picture of all pictures.")] = None,
    source: Annotated[Path, typer.Option(help="A prepared cache.")] = Path("cache/faces"),
    teachers: Annotated[Path, typer.Option(help="The labellers' folder.")] = Path("../shared/teachers"),
) -> None:
    """Measure, print, write."""
    setup = open_setup(model, people, source, "teacher", motion=True)
    pipe, judge = setup.pipe, setup.judge
    faces, find, motion = [one.face for one in setup.subjects], teacher_finder(teachers), Teachers(teachers).motion
    real = judge.look([one.person.photo.pixels for one in setup.subjects], find)

    def generated(axis: str, angle: float) -> list[Array]:
        made = pipe(faces, pose={axis: angle}, seed=0, measure_likeness=False)
        return [np.asarray(image) for image in made.images]

    def edited(axis: str, angle: float) -> list[Array]:
        asked: dict[str, Any] = {"pose": {axis: angle}, "seed": 0, "measure_likeness": False}
        done = [pipe.edit("attribute", target=face, **asked) for face in faces]
        return [np.asarray(one.images[0].convert("RGB").resize((256, 256))) for one in done]

    make: Callable[[str, float], list[Array]] = edited if edits else generated

    def measured(axis: str, angle: float) -> tuple[dict[str, float], Array]:
        images = make(axis, angle)
        seen = judge.look(images, find)
        alike = np.nan_to_num((seen * real).sum(1)) if seen.shape == real.shape else np.zeros(len(real))
        held = [found.pose for image in images if (found := motion(framed(image)))]
        angles = np.array([[getattr(one, name) for name in AXES] for one in held] or [[0.0] * 3])
        row = {
            "likeness": round(float(alike.mean()), 3),
            "found": len(held) / len(images),
            "held": round(float(np.median(angles[:, AXES.index(axis)])), 1),
        }
        typer.echo(f"{axis} {angle}: {row}", err=True)
        return row, np.concatenate([np.asarray(Image.fromarray(one).resize((128, 128))) for one in images], 1)

    ahead, picture = measured("yaw", 0)
    rows, pictures = {"ahead": {"0": ahead}}, [picture]
    for axis, angles in ANGLES.items():
        rows[axis] = {}
        for angle in angles:
            rows[axis][str(angle)], picture = measured(axis, angle)
            pictures.append(picture)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(rows, indent=1) + "\n")
    if sheet is not None:
        Image.fromarray(np.concatenate(pictures)).save(sheet)


if __name__ == "__main__":
    typer.run(main)
