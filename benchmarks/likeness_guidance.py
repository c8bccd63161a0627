"""python benchmarks/likeness_guidance.py --model nano --people 20 -o docs/figures/likeness_guidance.json

What guidance by the model's own recogniser gives and costs: the same held-out people and seeds at every strength,
judged by another recogniser, and by the one that guides.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from modes import generate

import personae
from personae.evaluation import estimate, machine, subjects, tables
from personae.evaluation.estimate import Estimate
from personae.evaluation.judge import Finder, Judge, judge_spec, reader_finder
from personae.evaluation.likeness import cosines
from personae.evaluation.people import held_out_people
from personae.evaluation.subjects import Subject
from personae.pipeline import FacePipeline
from personae.steers.likeness import INTERVAL
from personae.types import Array

STRENGTHS = (0.0, 0.05, 0.1, 0.2)
USUAL = 0.1  # what the documents advise


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
) -> dict[str, Any]:
    """The report. Image m of person p has seed `seed` + p M + m at every strength; the first of these is what the
    others are compared with."""
    real = judge.look([one.person.photo.pixels for one in people], find)
    rows: dict[str, dict[str, Estimate]] = {}
    before: Array | None = None  # (P,) likeness at the first strength
    for strength in strengths:
        typer.echo(f"strength {strength:g} ...", err=True)
        steering: Mapping[str, Any] = {"likeness_guidance": strength, "likeness_interval": interval}
        images, took = generate(pipe, people, images_per_person, steps=steps, seed=seed, steering=steering)
        flat = list(images.reshape(-1, *images.shape[2:]))
        seen = cosines(real, judge.look(flat, find).reshape(*images.shape[:2], -1))
        likeness = np.nan_to_num(seen).mean(1)
        before = likeness if before is None else before
        rows[f"{strength:g}"] = {
            "likeness": estimate.mean(likeness),
            "gain": estimate.mean(likeness - before),
            "own": estimate.mean(own_likeness(pipe, people, flat).reshape(images.shape[:2]).mean(1)),
            "missing": estimate.mean((~np.isfinite(seen)).mean(1)),
            "seconds": estimate.mean(took),
        }
    return {
        "kind": "likeness_guidance",
        "subject": f"model {pipe.name or 'unnamed'}",
        "machine": machine.describe(),
        "settings": {
            "people": len(people),
            "images_per_person": images_per_person,
            "steps": steps,
            "seed": seed,
            "interval": list(interval),
        },
        "figures": {"gain": rows[f"{usual(strengths):g}"]["gain"].as_json()},
        "groups": {
            "likeness_guidance": {
                name: {key: figure.as_json() for key, figure in row.items()} for name, row in rows.items()
            }
        },
        "caveats": [
            f"{images_per_person} images of each person, {steps} steps; intervals: over people, of seconds over calls",
            f"guided between the shares {interval[0]:g} and {interval[1]:g} of the steps",
            *([judge.caveat] if judge.caveat else []),
        ],
    }


def usual(strengths: Sequence[float]) -> float:
    """The strength whose gain the report is headed by: the advised one, or else the strongest."""
    return USUAL if USUAL in strengths else max(strengths)


def own_likeness(pipe: FacePipeline, people: Sequence[Subject], images: Sequence[Array]) -> Array:
    """(P M,) the cosine as the model's own reader, which guides, measures it; 0 where it finds no face."""
    assert pipe.reader is not None
    each = len(images) // len(people)
    wanted = [one for person in pipe.identities([one.face for one in people]) for one in [person] * each]
    found = pipe.reader.identify(images)
    return np.array([one.vector @ who.vector if one else 0.0 for one, who in zip(found, wanted, strict=True)])


def main(
    model: Annotated[str, typer.Option(help="Name or folder.")] = "nano",
    out: Annotated[Path, typer.Option("-o", "--out", help="The JSON to write.")] = Path(
        "docs/figures/likeness_guidance.json"
    ),
    people: Annotated[int, typer.Option(help="Held-out people.")] = 20,
    images_per_person: Annotated[int, typer.Option(help="Images of each.")] = 2,
    steps: Annotated[int | None, typer.Option(help="Of the sampler; the model's own if left out.")] = None,
    strengths: Annotated[str, typer.Option(help="Of the guidance, the first to compare with.")] = ",".join(
        f"{strength:g}" for strength in STRENGTHS
    ),
    interval: Annotated[tuple[float, float], typer.Option(help="Shares of the steps.")] = INTERVAL,
    source: Annotated[Path | None, typer.Option(help="Prepared cache or photo tars.")] = None,
    judge: Annotated[str, typer.Option(help="The recogniser that judges, as for `personae evaluate`.")] = "teacher",
) -> None:
    """Measure every strength and write a report that `personae.evaluation.tables` can draw."""
    pipe = personae.load(model)
    pipe.set_progress_bar_config(disable=True)
    if pipe.reader is None:
        raise SystemExit(f"{model} has no reader, so nobody can be read: name a model with one")
    marker = Judge(judge_spec(judge))
    marker.require_unrelated(pipe.config.identity_space)
    read = subjects.read(pipe, held_out_people(source, people), motion=False)
    report = compare(
        pipe,
        read,
        marker,
        reader_finder(pipe.reader),
        images_per_person=images_per_person,
        steps=steps or pipe.config.steps,
        strengths=[float(strength) for strength in strengths.split(",")],
        interval=interval,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    typer.echo(tables.markdown(report))


if __name__ == "__main__":
    typer.run(main)
