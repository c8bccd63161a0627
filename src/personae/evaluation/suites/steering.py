"""personae evaluate --suite steering --people 16 -o docs/figures/steering.json

Measured effect of a requested pose, expression, small number of steps or reference photo: the same held-out people and
seeds with and without the request, read back by networks that take no part in generating the images (MediaPipe's
landmarker, the teacher recogniser). Needs the teachers' folder.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import typer

from personae.data.teachers import Teachers
from personae.evaluation import estimate
from personae.evaluation.estimate import Estimate
from personae.evaluation.expression_amount import amount
from personae.evaluation.judge import Finder, Judge, teachers_folder
from personae.evaluation.likeness import cosines
from personae.evaluation.report import FOLDER, Report, assemble, publish
from personae.evaluation.setup import open_setup
from personae.evaluation.subjects import Subject
from personae.evaluation.suite_options import JudgeName, Model, People, ReportFile, Source, TeachersFolder
from personae.pipeline import FacePipeline
from personae.reading import align
from personae.shapes import Float, UInt8
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
    """The people, the judges, and one way to generate and read back an image of each."""

    def __init__(
        self,
        pipe: FacePipeline,
        people: Sequence[Subject],
        judge: Judge,
        find: Finder,
        motion: Callable[[Array], Motion | None],
    ) -> None:
        """motion: measures a face in an image (H, W, 3) RGB uint8; None if there is none."""
        self.pipe, self.people, self.judge, self.find, self.motion = pipe, people, judge, find, motion
        self.real = judge.look([one.person.photo.pixels for one in people], self.find)

    def generate(self, options: Options) -> list[UInt8[Array, "S S 3"]]:
        """One image of each person; person p has seed p."""
        out = self.pipe([one.face for one in self.people], seed=0, measure_likeness=False, **options)
        return [np.asarray(image) for image in out.images]

    def likeness(self, images: Sequence[UInt8[Array, "S S 3"]]) -> Float[Array, " P"]:
        """(P,), 0 where no face is found."""
        return np.nan_to_num(cosines(self.real, self.judge.look(images, self.find)[:, None])[:, 0])

    def motions(self, images: Sequence[UInt8[Array, "S S 3"]]) -> list[Motion]:
        """Of those images in which the landmarker finds a face."""
        return [motion for image in images if (motion := self.motion(image))]

    def pose(self, angles: Sequence[float] | None) -> Row:
        """Mean angles with a requested pose: yaw, pitch, roll in degrees, or None."""
        images = self.generate({} if angles is None else {"pose": angles})
        poses = [motion.pose for motion in self.motions(images)]
        return {
            "yaw": estimate.mean(np.array([pose.yaw for pose in poses])),
            "pitch": estimate.mean(np.array([pose.pitch for pose in poses])),
            "likeness": estimate.mean(self.likeness(images)),
        }

    def expression(self, name: str | None) -> Row:
        """Mean amounts of `EXPRESSIONS`, with one of them requested at 0.8, or None."""
        images = self.generate({} if name is None else {"expression": {name: 0.8}})
        shapes = np.stack([motion.blendshapes for motion in self.motions(images)])
        measured = {"smile": "mouthSmile"}
        return {one: estimate.mean(amount(shapes, measured.get(one, one))) for one in EXPRESSIONS} | {
            "likeness": estimate.mean(self.likeness(images))
        }

    def few(self, options: Options) -> Row:
        """Likeness, and seconds per image after a first call, which loads what the option needs."""
        self.generate(options)
        began = time.perf_counter()
        images = self.generate(options)
        took = (time.perf_counter() - began) / len(images)
        return {"likeness": estimate.mean(self.likeness(images)), "seconds": estimate.mean(np.array([took]))}

    def look(self, scale: float | None) -> Row:
        """Everyone with the next person's photo as reference: how far the image's mean colour is from that photo's."""
        images, apart = [], []
        for row, one in enumerate(self.people):
            other = self.people[(row + 1) % len(self.people)]
            photo = other.person.photo.pixels
            where = align.similarity(other.face.detection.points, self.pipe.config.crop_template)
            options: Options = {} if scale is None else {"reference": photo, "reference_scale": scale}
            image = self.pipe(one.face, seed=row, measure_likeness=False, **options).images[0]
            images.append(np.asarray(image))
            wanted = align.crop(photo, where, len(images[-1]))
            apart.append(np.abs(images[-1].mean((0, 1)) - wanted.mean((0, 1))).mean())
        return {"colour": estimate.mean(np.array(apart)), "likeness": estimate.mean(self.likeness(images))}


def measure(bench: Bench) -> Report:
    """The report: a group for each adapter that the model has."""
    has = {name for name in ("controlnet", "exp_adapter", "lcm", "ref_adapter") if bench.pipe.has_component(name)}
    groups: dict[str, dict[str, Row]] = {}
    if "controlnet" in has:
        groups["pose"] = {"nothing": bench.pose(None)} | {name: bench.pose(angles) for name, angles in POSES.items()}
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
    model: Model = "nano",
    out: ReportFile = FOLDER / "steering.json",
    people: People = 16,
    source: Source = None,
    teachers: TeachersFolder = None,
    judge: JudgeName = "teacher",
) -> None:
    """Measure every control and write a report that documents can draw tables from."""
    setup = open_setup(model, people, source, judge)
    bench = Bench(setup.pipe, setup.subjects, setup.judge, setup.find, Teachers(teachers_folder(teachers)).motion)
    publish(measure(bench), out)


if __name__ == "__main__":
    typer.run(main)
