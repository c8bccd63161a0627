"""personae evaluate nano --people 200 -o runs/nano-report

Generate held-out people and judge the pictures: `report.json`, `report.md` and `sheet.png` in one folder.

    report = evaluate(personae.load("nano"), people=200, images_per_person=4, out="runs/nano-report")
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from personae.errors import BadData, BadOption, WeightsMissing, unknown_name
from personae.evaluation import appearance, contact_sheet, diversity, likeness, machine, realism
from personae.evaluation import subjects as stage
from personae.evaluation.estimate import Estimate
from personae.evaluation.judge import Finder, Judge, judge_spec, reader_finder, teacher_finder
from personae.evaluation.people import GROUPS, held_out_people
from personae.evaluation.report import save
from personae.evaluation.subjects import Subject
from personae.pipeline import FacePipeline
from personae.reading.reader import FaceReader
from personae.types import Array, Motion

FINDERS = ("reader", "teacher")
Figures = dict[str, Estimate]


def evaluate(
    pipe: FacePipeline,
    *,
    people: int = 200,
    images_per_person: int = 4,
    judge: str = "teacher",
    finder: str = "teacher",
    backbone: str = "reader",
    source: str | Path | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    steps: int | None = None,
    guidance_scale: float | None = None,
    batch_people: int = 8,
    sheet_people: int = 24,
    progress: bool = True,
) -> dict[str, Any]:
    """A generation report: `figures` by the names of `measures.GENERATION`, each with interval and n, and `groups`.

    judge: see `judge.judge_spec`; "none" leaves likeness out. finder: who finds the five points for the judge, the
    model's own "reader" or the "teacher" detector. backbone: what distances are measured in, `realism.BACKBONES`.
    source: held-out photos, a prepared cache or raw tars. Image m of person p has seed `seed` + p M + m.

    Raises `BadOption`, `BadData`, `WeightsMissing`, `BadOutput`.
    """
    reader, marker, find = _check(pipe, images_per_person, judge, finder)
    template = pipe.config.crop_template
    features = realism.backbone(backbone, reader, template, marker)

    everyone = held_out_people(source)
    chosen = stage.pick(everyone, people, seed)
    subjects = stage.read(pipe, chosen, progress=progress)
    if len(subjects) < 2:
        raise BadData(f"the reader found a face in {len(subjects)} of {people} photos: there is nothing to compare")
    images, _ = stage.generate(
        pipe,
        subjects,
        images_per_person,
        seed=seed,
        options={"num_inference_steps": steps, "guidance_scale": guidance_scale},
        batch_people=batch_people,
        progress=progress,
    )
    size = images.shape[2]
    crops = stage.crops(subjects, template, size)

    figures: Figures = {}
    groups: dict[str, Any] = {}
    cosines, unjudged = None, list[str]()
    if marker is not None:
        real, ceiling, made = _looked_at(marker, find, subjects, crops, images, progress)
        figures, groups, cosines, unjudged = _likeness(real, ceiling, made, subjects, seed)

    aside = {one.key for one in chosen}
    others = stage.read(pipe, [one for one in everyone if one.key not in aside], motion=False, progress=progress)
    seen = _features(features, images)
    if len(others) > 1:
        reference = features.features(list(stage.crops(others, template, size)))
        figures |= realism.measure(seen, reference, features.features(list(crops)), seed=seed)
    figures |= appearance.measure(images.reshape(-1, *images.shape[2:]), crops, seed=seed)
    figures |= _diversity(reader, subjects, images, seen, seed, progress)

    report = {
        "kind": "generation",
        "subject": f"model {pipe.name or 'unnamed'}",
        "machine": machine.describe(),
        "settings": {
            "people": people,
            "images_per_person": images_per_person,
            "seed": seed,
            "num_inference_steps": pipe.config.steps if steps is None else steps,
            "guidance_scale": pipe.config.guidance_scale if guidance_scale is None else guidance_scale,
            "scheduler": type(pipe.scheduler).__name__,
            "model_sha256": pipe.sha256,
            "judge": None if marker is None else asdict(marker.spec) | {"sha256": marker.sha256, "finder": finder},
            "backbone": features.name,
            "reference_people": len(others),
        },
        "figures": {name: figure.as_json() for name, figure in figures.items()},
        "groups": groups,
        "caveats": _caveats(marker, finder, features, len(chosen) - len(subjects), len(unjudged)),
        "unread": sorted(aside - {one.person.key for one in subjects}),
        "unjudged": unjudged,
        "people": _per_person(subjects, cosines, seed, images_per_person),
    }
    if out is not None:
        folder = save(report, out)
        rows = _rows(subjects, crops, images, cosines)[:sheet_people]
        contact_sheet.draw(rows).save(folder / "sheet.png", optimize=True)
    return report


def _check(
    pipe: FacePipeline, images_per_person: int, judge: str, finder: str
) -> tuple[FaceReader, Judge | None, Finder]:
    """Everything that can be wrong is said before anything is generated."""
    if images_per_person < 2:
        raise BadOption(f"diversity needs at least two images per person, got {images_per_person}")
    if finder not in FINDERS:
        raise unknown_name("finder", finder, FINDERS)
    if pipe.reader is None:
        raise WeightsMissing("this model has no reader, and photos must be read: load it with reader=...")
    marker = None if judge == "none" else Judge(judge_spec(judge))
    if marker is not None:
        marker.require_unrelated(pipe.config.identity_space)
    return pipe.reader, marker, reader_finder(pipe.reader) if finder == "reader" else teacher_finder()


def _looked_at(
    judge: Judge, find: Finder, subjects: Sequence[Subject], crops: Array, images: Array, progress: bool
) -> tuple[Array, Array, Array]:
    """What the judge sees in photos (P, D), in the photos' own crops (P, D) and in images (P, M, D)."""
    real = judge.look([one.person.photo.pixels for one in subjects], find)
    ceiling = judge.look(list(crops), find)
    made = [judge.look(list(four), find) for four in track(images, "judging", disable=not progress, transient=True)]
    # A look that found no face at all cannot know the judge's width: it is told by those that did.
    width = max(part.shape[1] for part in (real, ceiling, *made))
    real, ceiling, *made = (
        part if part.shape[1] == width else np.full((len(part), width), np.nan, np.float32)
        for part in (real, ceiling, *made)
    )
    return real, ceiling, np.stack(made)


def _likeness(
    real: Array, ceiling: Array, made: Array, subjects: Sequence[Subject], seed: int
) -> tuple[Figures, dict[str, Any], Array, list[str]]:
    """(figures, groups, cosines (P, M), keys of people whose own photo the judge could not use)."""
    known = np.isfinite(real).all(1)
    unjudged = [one.person.key for one, ok in zip(subjects, known, strict=True) if not ok]
    if known.sum() < 2:
        raise BadData(
            f"the judge's finder saw a face in {known.sum()} of {len(known)} real photos: choose another finder"
        )
    kept = [one for one, ok in zip(subjects, known, strict=True) if ok]
    figures = likeness.measure(real[known], made[known], seed=seed)
    figures["likeness_ceiling"] = likeness.measure(real[known], ceiling[known][:, None], seed=seed)["likeness"]
    if "strangers_generated" in figures:
        figures["strangers_gap"] = likeness.gap(real[known], made[known], seed=seed)
    groups = {}
    for label in GROUPS:
        if all(label in one.person.groups for one in kept):
            names = [one.person.groups[label] for one in kept]
            table = likeness.by_group(real[known], made[known], names, seed=seed)
            groups[label] = {name: {k: e.as_json() for k, e in row.items()} for name, row in table.items()}
    return figures, groups, likeness.cosines(real, made), unjudged


def _features(backbone: realism.Backbone, images: Array) -> Array:
    """(P, M, F) of images (P, M, S, S, 3)."""
    flat = backbone.features(list(images.reshape(-1, *images.shape[2:])))
    return flat.reshape(*images.shape[:2], -1)


def _diversity(
    reader: FaceReader, subjects: Sequence[Subject], images: Array, seen: Array, seed: int, progress: bool
) -> Figures:
    real = [one.face.motion for one in subjects if one.face.motion is not None]
    moves = [
        [_motion(reader, image) for image in four]
        for four in track(images, "measuring diversity", disable=not progress, transient=True)
    ]
    return diversity.measure(images, moves, seen, real, seed=seed)


def _motion(reader: FaceReader, image: Array) -> Motion | None:
    faces = reader.read(image, identity=False)
    return faces[0].motion if faces else None


def _caveats(judge: Judge | None, finder: str, backbone: realism.Backbone, unread: int, unjudged: int) -> list[str]:
    said = [f"distances are measured on: {backbone.name}; {backbone.caveat}"]
    if judge is not None:
        said.append(f"likeness, rank-1 and strangers are judged by {judge.spec.name}, points found by the {finder}")
        if judge.caveat:
            said.append(f"{judge.spec.name}: {judge.caveat}")
    if unread:
        said.append(f"{unread} people were left out: the model's reader found no face in their photo (`unread`)")
    if unjudged:
        said.append(f"{unjudged} people were not judged: the {finder} found no face in their photo (`unjudged`)")
    return said


def _per_person(subjects: Sequence[Subject], cosines: Array | None, seed: int, count: int) -> list[dict[str, Any]]:
    """Enough to make any single image again, and to look at the worst first."""
    rows = []
    for p, one in enumerate(subjects):
        row: dict[str, Any] = {"key": one.person.key, "seeds": [seed + p * count + m for m in range(count)]}
        if cosines is not None:
            row["likeness"] = [round(float(x), 4) if np.isfinite(x) else None for x in cosines[p]]
        rows.append(row)
    return rows


def _rows(subjects: Sequence[Subject], crops: Array, images: Array, cosines: Array | None) -> list[contact_sheet.Row]:
    return [
        contact_sheet.Row(
            real=crops[p],
            generated=list(images[p]),
            likeness=None if cosines is None else cosines[p].tolist(),
            caption=one.person.key,
        )
        for p, one in enumerate(subjects)
    ]
