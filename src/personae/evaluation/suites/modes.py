"""personae evaluate --suite modes --people 100 -o docs/figures/modes.json

What each speed mode costs: the same held-out people and seeds in every mode and with each of its parts alone, judged by
a recogniser that takes no part in generating the images.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import typer

from personae.console import note
from personae.evaluation import estimate
from personae.evaluation.estimate import Estimate
from personae.evaluation.judge import Finder, Judge
from personae.evaluation.likeness import cosines
from personae.evaluation.report import FOLDER, Report, assemble, publish
from personae.evaluation.setup import open_setup
from personae.evaluation.subjects import Subject, generate
from personae.evaluation.suite_options import JudgeName, Model, People, ReportFile, Source
from personae.pipeline import FacePipeline
from personae.shapes import Float, UInt8
from personae.types import Array

# The others are compared with the first. The parts alone show which of them costs what.
SPEEDS: dict[str, dict[str, Any]] = {
    "exact": {"speed": "exact"},
    "guidance on 40 % of the steps": {"guidance_interval": (0.2, 0.6)},
    "deep features every 2nd step": {"cache_interval": 2},
    "deep features every 3rd step": {"cache_interval": 3},
    "deep features every 5th step": {"cache_interval": 5},
    "balanced": {"speed": "balanced"},
    "fast": {"speed": "fast"},
}
TINY_DECODER = {"tiny decoder": {"decoder": "tiny"}}  # for a model that has one


def compare(
    pipe: FacePipeline,
    people: Sequence[Subject],
    judge: Judge,
    find: Finder,
    *,
    images_per_person: int = 2,
    steps: int = 25,
    seed: int = 0,
    speeds: Mapping[str, Mapping[str, Any]] = SPEEDS,
) -> Report:
    """The report. Image m of person p has seed `seed` + p M + m at every speed; images have `steps` sampling steps."""
    real = judge.look([one.person.photo.pixels for one in people], find)
    rows: dict[str, dict[str, Estimate]] = {}
    exact: tuple[Array, Array] | None = None  # images (P, M, S, S, 3) and the judge's vectors (P, M, D)
    for name, options in speeds.items():
        note(f"{name} ...")
        images, seconds = generate(
            pipe,
            people,
            images_per_person,
            seed=seed,
            options={"num_inference_steps": steps, **options},
            progress=False,
        )
        vectors = judge.look(list(images.reshape(-1, *images.shape[2:])), find).reshape(*images.shape[:2], -1)
        exact = exact or (images, vectors)
        rows[name] = costs(real, *exact, images, vectors) | {"seconds": estimate.mean(seconds)}
    losses = {f"{name}_loss": rows[name]["loss"] for name in ("balanced", "fast")}
    return assemble(
        kind="modes",
        subject=f"model {pipe.name or 'unnamed'}",
        settings={"people": len(people), "images_per_person": images_per_person, "steps": steps, "seed": seed},
        figures=losses,
        groups={"speed": rows},
        caveats=[
            f"{images_per_person} images of each person, {steps} steps; intervals: over people, of seconds over calls",
            judge.caveat,
        ],
    )


def costs(
    real: Float[Array, "P D"],
    exact: UInt8[Array, "P M S S 3"],
    exact_vectors: Float[Array, "P M _"],
    images: UInt8[Array, "P M S S 3"],
    vectors: Float[Array, "P M _"],
) -> dict[str, Estimate]:
    """Figures of `images` (P, M, S, S, 3), whose judged `vectors` are (P, M, D), beside the `exact` ones of the same
    seeds. real: (P, D) vectors of people's photos.

    likeness: 0 where no face was found, as everywhere; loss: of likeness, person by person; pixels and same: distance
    and cosine to the exact image, the latter where a face is found in both.
    """
    own, before = (np.nan_to_num(cosines(real, some)).mean(1) for some in (vectors, exact_vectors))
    apart = (images.astype(np.float64) - exact) / 255
    both = (
        np.einsum("pmd,pmd->pm", vectors, exact_vectors)
        if vectors.shape == exact_vectors.shape
        else np.full(vectors.shape[:2], np.nan)
    )
    together = both[np.isfinite(both).any(1)]
    return {
        "likeness": estimate.mean(own),
        "loss": estimate.mean(before - own),
        "pixels": estimate.mean(np.sqrt((apart**2).mean((2, 3, 4))).mean(1)),
        "same": estimate.mean(np.nanmean(together, 1)) if len(together) else estimate.UNKNOWN,
    }


def main(
    model: Model = "nano",
    out: ReportFile = FOLDER / "modes.json",
    people: People = 100,
    images_per_person: Annotated[int, typer.Option(help="Images of each.")] = 2,
    steps: Annotated[int, typer.Option(help="Of the ordinary sampler.")] = 25,
    source: Source = None,
    judge: JudgeName = "teacher",
) -> None:
    """Measure every speed and write a report that documents can draw tables from."""
    setup = open_setup(model, people, source, judge)
    report = compare(
        setup.pipe,
        setup.subjects,
        setup.judge,
        setup.find,
        images_per_person=images_per_person,
        steps=steps,
        speeds=SPEEDS | (TINY_DECODER if setup.pipe.has_component("taesd") else {}),
    )
    publish(report, out)


if __name__ == "__main__":
    typer.run(main)
