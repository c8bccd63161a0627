"""personae evaluate --suite likeness_guidance --people 20 -o docs/figures/likeness_guidance.json

What guidance by the model's own recogniser gains and costs: the same held-out people and seeds at every strength,
judged by another recogniser and by the one that guides. A gradient may produce fine grain that raises a recogniser's
score and that nobody sees; therefore the other recogniser also judges the images reduced to half their size.
"""

import time
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from personae.console import note
from personae.controls.likeness import LikenessControl
from personae.evaluation import estimate
from personae.evaluation.estimate import Estimate
from personae.evaluation.judge import Finder, Judge
from personae.evaluation.likeness import cosines
from personae.evaluation.report import FOLDER, Report, assemble, publish
from personae.evaluation.setup import open_setup
from personae.evaluation.subjects import Subject, generate
from personae.evaluation.suite_options import JudgeName, Model, People, ReportFile, Source, Steps
from personae.pipeline import FacePipeline
from personae.shapes import Float, UInt8
from personae.types import Array

INTERVAL = LikenessControl.options()["likeness_interval"].default
STRENGTHS = (0.0, 0.05, 0.1, 0.2)
USUAL = 0.1  # what the guides recommend
_TYPED = ",".join(map(str, STRENGTHS))


def compare(
    pipe: FacePipeline,
    people: Sequence[Subject],
    judge: Judge,
    find: Finder,
    *,
    images_per_person: int = 2,
    steps: int,
    seed: int = 0,
    strengths: Sequence[float] = STRENGTHS,
    interval: tuple[float, float] = INTERVAL,
) -> Report:
    """The report. Image m of person p has seed `seed` + p M + m at every strength; gains are over the first of
    `strengths`."""
    real = judge.look([one.person.photo.pixels for one in people], find)

    def likeness(images: Sequence[Array]) -> Array:
        """(P, M), NaN where no face was found."""
        return cosines(real, judge.look(images, find).reshape(len(people), images_per_person, -1))

    rows: dict[str, dict[str, Estimate]] = {}
    before: tuple[Array, Array] | None = None  # (P,) whole and halved, at the first strength
    generate(pipe, people[:1], 1, seed=seed, options={"num_inference_steps": steps})  # what only a first call costs
    for strength in strengths:
        note(f"strength {strength:g} ...")
        options = {"likeness_guidance": strength, "likeness_interval": interval, "num_inference_steps": steps}
        began = time.process_time()  # other work on the machine does not count
        generated, _ = generate(pipe, people, images_per_person, seed=seed, options=options, progress=False)
        seconds = (time.process_time() - began) / (len(people) * images_per_person)
        images = list(generated.reshape(-1, *generated.shape[2:]))
        whole, half = likeness(images), likeness([halved(image) for image in images])
        now = np.nan_to_num(whole).mean(1), np.nan_to_num(half).mean(1)
        before = before or now
        rows[f"{strength:g}"] = {
            "likeness": estimate.mean(now[0]),
            "gain": estimate.mean(now[0] - before[0]),
            "gain_halved": estimate.mean(now[1] - before[1]),
            "own": estimate.mean(own_likeness(pipe, people, images).reshape(whole.shape).mean(1)),
            "missing": estimate.mean((~np.isfinite(whole)).mean(1)),
            "core_seconds": estimate.mean(np.array([seconds])),
        }
    return assemble(
        kind="likeness_guidance",
        subject=f"model {pipe.name or 'unnamed'}",
        settings={
            "people": len(people),
            "images_per_person": images_per_person,
            "steps": steps,
            "seed": seed,
            "interval": list(interval),
        },
        figures={name: rows[f"{usual(strengths):g}"][name] for name in ("gain", "gain_halved")},
        groups={"likeness_guidance": rows},
        caveats=[
            f"{images_per_person} images of each person, {steps} steps; intervals: over people",
            f"above: strength {usual(strengths):g}; guided from {interval[0]:g} to {interval[1]:g} of the steps",
            judge.caveat,
        ],
    )


def halved(image: UInt8[Array, "S S 3"]) -> UInt8[Array, "S S 3"]:
    """(S, S, 3) uint8 without its finest detail: reduced to half its side and enlarged again."""
    small = Image.fromarray(image).reduce(2)
    return np.asarray(small.resize((image.shape[1], image.shape[0]), Image.Resampling.BICUBIC))


def usual(strengths: Sequence[float]) -> float:
    """The strength whose gain heads the report: the recommended one, or else the strongest."""
    return USUAL if USUAL in strengths else max(strengths)


def own_likeness(
    pipe: FacePipeline, people: Sequence[Subject], images: Sequence[UInt8[Array, "S S 3"]]
) -> Float[Array, " N"]:
    """(P M,) the cosine as the model's own reader, which guides, measures it; 0 where it finds no face."""
    assert pipe.reader is not None
    each = len(images) // len(people)
    wanted = [one for person in pipe.identities([one.face for one in people]) for one in [person] * each]
    found = pipe.reader.identify(images)
    return np.array([one.vector @ who.vector if one else 0.0 for one, who in zip(found, wanted, strict=True)])


def main(
    model: Model = "nano",
    out: ReportFile = FOLDER / "likeness_guidance.json",
    people: People = 20,
    images_per_person: Annotated[int, typer.Option(help="Images of each.")] = 2,
    steps: Steps = None,
    strengths: Annotated[str, typer.Option(help="Of the guidance; the others are compared with the first.")] = _TYPED,
    interval: Annotated[tuple[float, float], typer.Option(help="Shares of the steps.")] = INTERVAL,
    source: Source = None,
    judge: JudgeName = "teacher",
) -> None:
    """Measure every strength and write a report that documents can draw tables from."""
    setup = open_setup(model, people, source, judge)
    report = compare(
        setup.pipe,
        setup.subjects,
        setup.judge,
        setup.find,
        images_per_person=images_per_person,
        steps=steps or setup.pipe.config.steps,
        strengths=[float(strength) for strength in strengths.split(",")],
        interval=interval,
    )
    publish(report, out)


if __name__ == "__main__":
    typer.run(main)
