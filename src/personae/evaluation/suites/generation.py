"""personae evaluate nano --people 200 -o runs/nano-report

Generate held-out people and judge the pictures: `report.json`, `report.md` and `sheet.png` in one folder.

    report = evaluate(personae.load("nano"), people=200, images_per_person=4, out="runs/nano-report")

Legend: P people, M images of each, S side of an image in pixels, D width of the judge's vectors.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from personae.errors import BadData, BadOption, WeightsMissing, unknown_name
from personae.evaluation import appearance, contact_sheet, diversity, estimate, likeness, realism
from personae.evaluation import subjects as stage
from personae.evaluation.dlib_judge import SAME_PERSON, DlibJudge
from personae.evaluation.estimate import Estimate
from personae.evaluation.judge import Finder, Judge, judge_spec, reader_finder, teacher_finder, teachers_at_hand
from personae.evaluation.opinions import Compared, Opinion, by_dlib
from personae.evaluation.people import GROUPS, Person, held_out_people
from personae.evaluation.report import Report, assemble, save
from personae.evaluation.subjects import Subject
from personae.pipeline import FacePipeline
from personae.provenance import writer
from personae.reading.reader import FaceReader
from personae.sampling import codec
from personae.shapes import Float
from personae.types import Array, Motion

FINDERS = ("reader", "teacher")
UNRELATED = "dlib"
Figures = dict[str, Estimate]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The people of a report: their photos as crops (P, S, S, 3) and their images (P, M, S, S, 3), RGB uint8. Image m
    of person p has seed `seed` + p M + m."""

    subjects: Sequence[Subject]
    crops: Array
    images: Array
    seed: int


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What judges say of a sample; all empty without one. `cosines` and `distances` (P, M), if a judge measures such;
    `unjudged`: keys of people in whose own photo the judges' finder finds no face."""

    figures: Figures = field(default_factory=dict)
    groups: Mapping[str, Mapping[str, Figures]] = field(default_factory=dict)
    cosines: Float[Array, "P M"] | None = None
    distances: Float[Array, "P M"] | None = None
    unjudged: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Who reads and who judges: the unrelated judge by distance, another by cosine; both, one of them, or none."""

    reader: FaceReader
    unrelated: Opinion | None
    judge: Judge | None
    find: Finder
    finder: str


def evaluate(
    pipe: FacePipeline,
    *,
    people: int = 200,
    images_per_person: int = 4,
    judge: str = UNRELATED,
    judge_weights: str | Path | None = None,
    finder: str | None = None,
    backbone: str = "reader",
    source: str | Path | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    steps: int | None = None,
    guidance_scale: float | None = None,
    batch_people: int = 8,
    sheet_people: int = 24,
    progress: bool = True,
) -> Report:
    """A generation report: `figures` by the names of `measures.GENERATION`, each with interval and n, and `groups`.

    judge: "dlib", which has no part in any model, and beside it the teacher recogniser, marked as one that taught, if
    that is at hand; or another, see `judge.judge_spec`; "none" leaves likeness out. judge_weights: dlib's, an archive
    (`dlib_judge`). finder: who finds the five points for the judges, the model's own "reader" or the "teacher"
    detector; None: the teacher's if it is at hand. backbone: what distances of pictures are measured in,
    `realism.BACKBONES`. source: held-out photos, a prepared cache or raw tars. Image m of person p has seed
    `seed` + p M + m.

    Raises `BadOption`, `BadData`, `WeightsMissing`, `BadOutput`.
    """
    bench = _check(pipe, images_per_person, judge, judge_weights, finder)
    template, cell = pipe.config.crop_template, codec.pixels_per_cell(pipe.vae)
    features = realism.backbone(backbone, bench.reader, template, bench.judge)
    everyone = held_out_people(source)
    chosen = stage.pick(everyone, people, seed)
    options = {"num_inference_steps": steps, "guidance_scale": guidance_scale}
    sample = _generated(pipe, chosen, images_per_person, seed, options, batch_people, progress)
    judged = _by_all(bench, sample, progress)
    others = _others(pipe, everyone, chosen, progress)
    keys = {one.person.key for one in sample.subjects}
    unread = sorted(one.key for one in chosen if one.key not in keys)
    report = assemble(
        kind="generation",
        subject=f"model {pipe.name or 'unnamed'}",
        settings={
            "people": people,
            "images_per_person": images_per_person,
            "seed": seed,
            "num_inference_steps": pipe.config.steps if steps is None else steps,
            "guidance_scale": pipe.config.guidance_scale if guidance_scale is None else guidance_scale,
            "scheduler": type(pipe.scheduler).__name__,
            "model_sha256": pipe.sha256,
            "unrelated": bench.unrelated and bench.unrelated.name,
            "judge": bench.judge and asdict(bench.judge.spec) | {"sha256": bench.judge.sha256},
            "finder": bench.finder,
            "backbone": features.name,
            "reference_people": len(others),
        },
        figures=judged.figures | _unjudged_figures(bench.reader, features, template, cell, sample, others, progress),
        groups=judged.groups,
        caveats=_caveats(bench, features, len(unread), len(judged.unjudged)),
    )
    report |= {"unread": unread, "unjudged": list(judged.unjudged), "people": _per_person(sample, judged)}
    if out is not None:
        rows = _rows(sample, judged.cosines)[:sheet_people]
        page = writer.encode_sheet(contact_sheet.draw(rows), "png", model=Path(pipe.name or "unnamed").name)
        writer.write(save(report, out) / "sheet.png", page, force=True)
    return report


def _check(
    pipe: FacePipeline, images_per_person: int, judge: str, judge_weights: str | Path | None, finder: str | None
) -> Bench:
    """The model's reader, the judges and their finder; whatever is wrong is raised before anything is generated."""
    if images_per_person < 2:
        raise BadOption(f"diversity needs at least two images per person, got {images_per_person}")
    taught = teachers_at_hand()
    if finder is None:
        finder = "teacher" if taught else "reader"
    if judge_weights is not None and judge != UNRELATED:
        raise BadOption(f"weights of a judge are those of {UNRELATED}, but the judge is {judge}: leave them out")
    if finder not in FINDERS:
        raise unknown_name("finder", finder, FINDERS)
    if pipe.reader is None:
        raise WeightsMissing("this model has no reader, and photos must be read: load it with reader=...")
    find = reader_finder(pipe.reader) if finder == "reader" else teacher_finder()
    bench = Bench(reader=pipe.reader, unrelated=None, judge=None, find=_once(find), finder=finder)
    if judge == "none":
        return bench
    space = pipe.config.identity_space
    if judge == UNRELATED:
        beside = Judge(judge_spec("teacher")) if taught else None
        if beside is not None and beside.conditions(space):
            beside = None
        try:
            return replace(bench, unrelated=by_dlib(DlibJudge.fetch(weights=judge_weights)), judge=beside)
        except WeightsMissing as error:
            raise WeightsMissing(f"{error}; or name another with --judge") from error
    opinion = Judge(judge_spec(judge))
    opinion.require_unrelated(space)
    return replace(bench, judge=opinion)


def _once(find: Finder) -> Finder:
    """A finder that looks at each picture once, however many judges ask; the pictures must stay where they are."""
    known: dict[tuple[Any, ...], Array | None] = {}

    def look(image: Array) -> Array | None:
        key = image.__array_interface__["data"][0], image.shape
        if key not in known:
            known[key] = find(image)
        return known[key]

    return look


def _generated(
    pipe: FacePipeline,
    chosen: Sequence[Person],
    images_per_person: int,
    seed: int,
    options: Mapping[str, Any],
    batch_people: int,
    progress: bool,
) -> Sample:
    """Images of those in whose photo the reader finds a face."""
    subjects = stage.read(pipe, chosen, progress=progress)
    if len(subjects) < 2:
        raise BadData(
            f"the reader found a face in {len(subjects)} of {len(chosen)} photos: there is nothing to compare"
        )
    images, _ = stage.generate(
        pipe, subjects, images_per_person, seed=seed, options=options, batch_people=batch_people, progress=progress
    )
    crops = stage.crops(subjects, pipe.config.crop_template, images.shape[2])
    return Sample(subjects=subjects, crops=crops, images=images, seed=seed)


def _others(
    pipe: FacePipeline, everyone: Sequence[Person], chosen: Sequence[Person], progress: bool
) -> Sequence[Subject]:
    """Those who are not in the sample: the reference of distances."""
    keys = {one.key for one in chosen}
    return stage.read(pipe, [one for one in everyone if one.key not in keys], motion=False, progress=progress)


def _by_all(bench: Bench, sample: Sample, progress: bool) -> Judged:
    """The figures of all judges, and of groups, side by side."""
    verdicts = [Judged() if bench.judge is None else _judged(bench.judge, bench.find, sample, progress)]
    if bench.unrelated is not None:
        verdicts.insert(0, _apart(bench.unrelated, bench.find, sample, progress))
    groups: dict[str, dict[str, Figures]] = {}
    for one in verdicts:
        for label, rows in one.groups.items():
            for name, figures in rows.items():
                groups.setdefault(label, {}).setdefault(name, {}).update(figures)
    return Judged(
        figures={name: figure for one in verdicts for name, figure in one.figures.items()},
        groups=groups,
        cosines=verdicts[-1].cosines,
        distances=verdicts[0].distances,
        unjudged=verdicts[0].unjudged,
    )


def _apart(opinion: Opinion, find: Finder, sample: Sample, progress: bool) -> Judged:
    """By a judge of distances."""
    real, ceiling, generated = _vectors(opinion.look, find, sample, progress)
    usable, seed = _usable(real), sample.seed
    found = Compared.of(opinion, generated[usable], real[usable], -SAME_PERSON)
    own = Compared.of(opinion, ceiling[usable][:, None], real[usable], -SAME_PERSON)
    missing = (~np.isfinite(generated[usable]).all(2)).mean(1)
    everybody = found.figures(seed=seed)
    figures = {
        "distance": everybody["alike"],
        "distance_ceiling": estimate.mean_of_finite(own.alike, seed),
        "distance_rank1": everybody["rank1"],
        "distance_within": everybody["within"],
        "missing": estimate.mean(missing, seed),
    }
    compared = [one for one, ok in zip(sample.subjects, usable, strict=True) if ok]
    groups: dict[str, dict[str, Figures]] = {}
    for label in GROUPS:
        if all(label in one.person.groups for one in compared):
            whose = np.array([one.person.groups[label] for one in compared])
            groups[label] = {}
            for name in sorted(set(whose.tolist())):
                some = found.figures(whose == name, seed)
                absent = estimate.mean(missing[whose == name], seed)  # first: its n counts everybody of the group
                groups[label][name] = {
                    "missing": absent, "distance": some["alike"], "distance_rank1": some["rank1"]
                }  # fmt: skip
    return Judged(
        figures=figures,
        groups=groups,
        distances=np.linalg.norm(generated.astype(np.float64) - real[:, None], axis=2),
        unjudged=[one.person.key for one, ok in zip(sample.subjects, usable, strict=True) if not ok],
    )


def _usable(real: Array) -> Array:
    """(P,) bool: in whose photo a face was found. Raises `BadData` if that leaves nothing to compare."""
    usable = np.isfinite(real).all(1)
    if usable.sum() < 2:
        raise BadData(
            f"the judge's finder found a face in {usable.sum()} of {len(usable)} real photos: choose another finder"
        )
    return np.asarray(usable)


def _judged(judge: Judge, find: Finder, sample: Sample, progress: bool) -> Judged:
    real, ceiling, generated = _vectors(judge.look, find, sample, progress)
    usable = _usable(real)
    compared = [one for one, ok in zip(sample.subjects, usable, strict=True) if ok]
    real_part, part, seed = real[usable], generated[usable], sample.seed
    figures = likeness.measure(real_part, part, seed=seed)
    figures["likeness_ceiling"] = likeness.measure(real_part, ceiling[usable][:, None], seed=seed)["likeness"]
    if "strangers_generated" in figures:
        figures["strangers_gap"] = likeness.gap(real_part, part, seed=seed)
    groups = {
        label: likeness.by_group(real_part, part, [one.person.groups[label] for one in compared], seed=seed)
        for label in GROUPS
        if all(label in one.person.groups for one in compared)
    }
    unjudged = [one.person.key for one, ok in zip(sample.subjects, usable, strict=True) if not ok]
    return Judged(figures=figures, groups=groups, cosines=likeness.cosines(real, generated), unjudged=unjudged)


def _vectors(
    look: Callable[[Sequence[Array], Finder], Array], find: Finder, sample: Sample, progress: bool
) -> tuple[Array, Array, Array]:
    """A judge's vectors of photos (P, D), of the photos' own crops (P, D) and of images (P, M, D)."""
    real = look([one.person.photo.pixels for one in sample.subjects], find)
    ceiling = look(list(sample.crops), find)
    images = track(sample.images, "judging", disable=not progress, transient=True)
    generated = [look(list(one), find) for one in images]
    # Without any face the judge's width is unknown and 1 is returned; it is taken from those with a face.
    width = max(part.shape[1] for part in (real, ceiling, *generated))
    real, ceiling, *generated = (
        part if part.shape[1] == width else np.full((len(part), width), np.nan, np.float32)
        for part in (real, ceiling, *generated)
    )
    return real, ceiling, np.stack(generated)


def _unjudged_figures(
    reader: FaceReader,
    backbone: realism.Backbone,
    template: str,
    cell: int,
    sample: Sample,
    others: Sequence[Subject],
    progress: bool,
) -> Figures:
    """Realism, appearance and diversity, which need no judge of likeness."""
    images, figures = sample.images, Figures()
    flat = backbone.features(list(images.reshape(-1, *images.shape[2:])))
    features = flat.reshape(*images.shape[:2], -1)  # (P, M, F)
    if len(others) > 1:
        reference = backbone.features(list(stage.crops(others, template, images.shape[2])))
        floor = backbone.features(list(sample.crops))
        figures |= realism.measure(features, reference, floor, seed=sample.seed)
    figures |= appearance.measure(images.reshape(-1, *images.shape[2:]), sample.crops, period=cell, seed=sample.seed)
    real = [one.face.motion for one in sample.subjects if one.face.motion is not None]
    bar = track(images, "measuring diversity", disable=not progress, transient=True)
    motions = [[_motion(reader, image) for image in person] for person in bar]
    return figures | diversity.measure(images, motions, features, real, seed=sample.seed)


def _motion(reader: FaceReader, image: Array) -> Motion | None:
    faces = reader.read(image, identity=False)
    return faces[0].motion if faces else None


def _caveats(bench: Bench, backbone: realism.Backbone, unread: int, unjudged: int) -> list[str]:
    judge, finder = bench.judge, bench.finder
    caveats = [f"Fréchet and kernel distances are measured on: {backbone.name}; {backbone.caveat}"]
    if bench.unrelated is not None:
        caveats.append(f"distances to photos are {bench.unrelated.name}; points found by the {finder}")
    if judge is not None:
        caveats.append(f"likeness, rank-1 and strangers are judged by {judge.spec.name}, points found by the {finder}")
        if judge.caveat:
            caveats.append(f"{judge.spec.name}: {judge.caveat}")
    if unread:
        caveats.append(f"{unread} people were left out: the model's reader found no face in their photo (`unread`)")
    if unjudged:
        caveats.append(f"{unjudged} people were not judged: the {finder} found no face in their photo (`unjudged`)")
    return caveats


def _per_person(sample: Sample, judged: Judged) -> list[dict[str, Any]]:
    """Key, seeds and likeness or distance of everyone: enough to generate any image again, and to look at the worst
    first."""
    rows, count = [], sample.images.shape[1]
    for p, one in enumerate(sample.subjects):
        row: dict[str, Any] = {"key": one.person.key, "seeds": [sample.seed + p * count + m for m in range(count)]}
        for name, values in (("likeness", judged.cosines), ("distance", judged.distances)):
            if values is not None:
                row[name] = [round(float(x), 4) if np.isfinite(x) else None for x in values[p]]
        rows.append(row)
    return rows


def _rows(sample: Sample, cosines: Array | None) -> list[contact_sheet.Row]:
    return [
        contact_sheet.Row(
            real=sample.crops[p],
            generated=list(sample.images[p]),
            likeness=None if cosines is None else cosines[p].tolist(),
            caption=one.person.key,
        )
        for p, one in enumerate(sample.subjects)
    ]
