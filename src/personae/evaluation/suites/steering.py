"""personae evaluate --suite steering --people 16 -o docs/figures/steering.json

What asking nano for a pose, an expression, few steps or the look of a photo does: the same held-out people and seeds,
asked and not asked, read back by networks that have no part in making the images (MediaPipe's landmarker, the teacher
recogniser). Needs the teachers' folder.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from personae.data.teachers import Teachers
from personae.evaluation import estimate
from personae.evaluation.blendshapes import amount
from personae.evaluation.estimate import Estimate
from personae.evaluation.judge import Finder, Judge
from personae.evaluation.likeness import cosines
from personae.evaluation.report import FOLDER, Report, assemble, publish
from personae.evaluation.setup import open_setup
from personae.evaluation.subjects import Subject
from personae.pipeline import FacePipeline
from personae.reading import align
from personae.types import Array, Motion

Options = Mapping[str, Any]
Row = dict[str, Estimate]
POSES = {"yaw 25": (25, 0, 0), "yaw -25": (-25, 0, 0), "pitch 15": (0, 15, 0), "pitch -15": (0, -15, 0)}
EXPRESSIONS = ("smile", "jawOpen", "eyeBlink", "browInnerUp")
FEW: dict[str, Options] = {
    "the model's own steps, guided": {},
    "4 steps, unguided": {"num_inference_steps": 4, "guidance_scale": 1.0},
    "fast=4": {"fast": 4},
}
LOOKS: dict[str, float | None] = {"no reference": None, "reference, 0.4": 0.4, "reference, 0.8": 0.8}


class Bench:
    """The people, the judges, and one way to make and read back an image of each."""

    def __init__(
        self,
        pipe: FacePipeline,
        people: Sequence[Subject],
        judge: Judge,
        find: Finder,
        motion: Callable[[Array], Motion | None],
    ) -> None:
        """motion: reads a face off an image (H, W, 3) RGB uint8; None: there is none."""
        self.pipe, self.people, self.judge, self.find, self.motion = pipe, people, judge, find, motion
        self.real = judge.look([one.person.photo.pixels for one in people], self.find)

    def make(self, options: Options) -> list[Array]:
        """One image of each person; person p has seed p."""
        made = self.pipe([one.face for one in self.people], seed=0, measure_likeness=False, **options)
        return [np.asarray(image) for image in made.images]

    def likeness(self, images: Sequence[Array]) -> Array:
        """(P,), 0 where no face is found."""
        return np.nan_to_num(cosines(self.real, self.judge.look(images, self.find)[:, None])[:, 0])

    def motions(self, images: Sequence[Array]) -> list[Motion]:
        """Of those images in which the landmarker sees a face."""
        return [motion for image in images if (motion := self.motion(image))]

    def pose(self, asked: Sequence[float] | None) -> Row:
        """Where heads point."""
        images = self.make({} if asked is None else {"pose": asked})
        seen = [motion.pose for motion in self.motions(images)]
        return {
            "yaw": estimate.mean(np.array([pose.yaw for pose in seen])),
            "pitch": estimate.mean(np.array([pose.pitch for pose in seen])),
            "likeness": estimate.mean(self.likeness(images)),
        }

    def expression(self, asked: str | None) -> Row:
        """What faces do, of what is watched."""
        images = self.make({} if asked is None else {"expression": {asked: 0.8}})
        seen = np.stack([motion.blendshapes for motion in self.motions(images)])
        watched = {"smile": "mouthSmile"}
        return {name: estimate.mean(amount(seen, watched.get(name, name))) for name in EXPRESSIONS} | {
            "likeness": estimate.mean(self.likeness(images))
        }

    def few(self, options: Options) -> Row:
        """After a first call, which loads what the option needs."""
        self.make(options)
        began = time.perf_counter()
        images = self.make(options)
        took = (time.perf_counter() - began) / len(images)
        return {"likeness": estimate.mean(self.likeness(images)), "seconds": estimate.mean(np.array([took]))}

    def look(self, scale: float | None) -> Row:
        """Everyone with the look of the next one's photo: how far the image's mean colour is from that photo's."""
        images, apart = [], []
        for row, one in enumerate(self.people):
            other = self.people[(row + 1) % len(self.people)]
            photo = other.person.photo.pixels
            where = align.similarity(other.face.detection.points, self.pipe.config.crop_template)
            options: Options = {} if scale is None else {"reference": photo, "reference_scale": scale}
            made = self.pipe(one.face, seed=row, measure_likeness=False, **options).images[0]
            images.append(np.asarray(made))
            wanted = align.crop(photo, where, len(images[-1]))
            apart.append(np.abs(images[-1].mean((0, 1)) - wanted.mean((0, 1))).mean())
        return {"colour": estimate.mean(np.array(apart)), "likeness": estimate.mean(self.likeness(images))}


def measure(bench: Bench) -> Report:
    """The report, with what the model's folder has adapters for."""
    has = {name for name in ("controlnet", "exp_adapter", "lcm", "ref_adapter") if bench.pipe.has_component(name)}
    groups: dict[str, dict[str, Row]] = {}
    if "controlnet" in has:
        groups["pose"] = {"nothing": bench.pose(None)} | {name: bench.pose(asked) for name, asked in POSES.items()}
    if "exp_adapter" in has:
        groups["expression"] = {"nothing": bench.expression(None)}
        groups["expression"] |= {f"{name} 0.8": bench.expression(name) for name in EXPRESSIONS}
    if "lcm" in has:
        groups["few steps"] = {name: bench.few(options) for name, options in FEW.items()}
    if "ref_adapter" in has:
        groups["look"] = {name: bench.look(scale) for name, scale in LOOKS.items()}
    return assemble(
        kind="steering",
        subject=f"model {bench.pipe.name or 'unnamed'}",
        settings={"people": len(bench.people)},
        figures={},
        groups=groups,
        caveats=[
            "one image of each person, the same seeds in every row; intervals: over people",
            "poses and expressions by MediaPipe's landmarker, which also labelled photos and pictures for training",
            bench.judge.caveat,
        ],
    )


def main(
    model: Annotated[str, typer.Argument(help="A named model or a model folder.")] = "nano",
    out: Annotated[Path, typer.Option("-o", "--out", help="The JSON to write.")] = FOLDER / "steering.json",
    people: Annotated[int, typer.Option(help="Held-out people.")] = 16,
    source: Annotated[Path | None, typer.Option(help="Prepared cache or photo tars.")] = None,
    teachers: Annotated[Path, typer.Option(help="The labellers' folder.")] = Path("../shared/teachers"),
    judge: Annotated[str, typer.Option(help="The recogniser that judges, as for `personae evaluate`.")] = "teacher",
) -> None:
    """Measure every way to steer and write a report that documents can draw tables from."""
    setup = open_setup(model, people, source, judge)
    bench = Bench(setup.pipe, setup.subjects, setup.judge, setup.find, Teachers(teachers).motion)
    publish(measure(bench), out)


if __name__ == "__main__":
    typer.run(main)
