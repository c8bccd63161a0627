"""personae evaluate --suite editing --pairs 200 --others 40 -o docs/figures/editing.json

Whether edits do what was requested and leave the rest alone: photos of held-out people, edited whole and read back by
networks that take no part in editing them (MediaPipe's landmarker, the teacher recogniser at the teacher detector's
points). Needs the teachers' folder and a prepared cache. 680 edits: 0.6 s of one core each, 1.1 s where likeness is
guided.

Every criterion is one of the functions below; the bars are in `evaluation/measures.py`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from skimage.metrics import structural_similarity

from personae.console import note
from personae.data.teachers import Teachers
from personae.evaluation import estimate, likeness
from personae.evaluation.edit_bench import Bench, Edits, Readings, likeness_to, motion_errors
from personae.evaluation.estimate import Estimate
from personae.evaluation.expression_amount import amount
from personae.evaluation.judge import teacher_finder, teachers_folder
from personae.evaluation.report import FOLDER, Report, assemble, publish
from personae.evaluation.setup import open_setup
from personae.evaluation.suite_options import Cache, JudgeName, Model, ReportFile, Steps, TeachersFolder
from personae.reading.aligned import Aligned
from personae.types import Array

Row = dict[str, Estimate]
Part = tuple[dict[str, dict[str, Row]], dict[str, Estimate], Array]  # groups of rows, figures, pixels that strayed

REGIONS = ("mouth", "eyes", "face")
REQUESTS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "smile": {"expression": {"smile": 0.8}},
    "jawOpen": {"expression": {"jawOpen": 0.8}},
    "yaw": {"pose": {"yaw": 20}},
}
AIMS = {"smile": 0.8, "jawOpen": 0.8, "yaw": 20.0}
# What is measured, each in a unit of its own: the requested amount of its kind.
UNITS = {"smile": 0.8, "jawOpen": 0.8, "eyeBlink": 0.8, "browInnerUp": 0.8, "yaw": 20.0, "pitch": 20.0}
_BINS = 16  # of a channel's histogram


def swap(bench: Bench, count: int) -> Part:
    """The face of p in the photo of the next person. For comparison: p's own aligned face pasted there (copy-paste),
    and p generated from the identity alone (identity only)."""
    others = bench.next_person(count)
    sources, targets = bench.photo_readings.rows(np.arange(count)), bench.photo_readings.rows(others)
    places, photos = [bench.places[one] for one in others], [bench.photos[one] for one in others]
    done = bench.edit("swap", count)
    copied = bench.paste([one.crop for one in bench.places[:count]], places, photos, done.masks, recolour="region")
    readings = {
        "swap": bench.read(done.images, places),
        "copy-paste": bench.read(copied, places),
        "identity only": bench.read(bench.generated[:count]),
    }
    rows = {name: _swapped(one, sources, targets) for name, one in readings.items()}
    figures = {f"swap_{name}": rows["swap"][name] for name in ("nearer", "top1", "yaw", "pitch")}
    return {"swap": rows}, figures, done.strayed


def _swapped(readings: Readings, sources: Readings, targets: Readings) -> Row:
    ranks = likeness.ranks(sources.vectors, readings.vectors[:, None])[:, 0]
    own, others = likeness_to(readings, sources), likeness_to(readings, targets)
    return {
        "to_source": estimate.mean(own),
        "to_target": estimate.mean(others),
        "nearer": estimate.proportion(own > others),
        "top1": estimate.proportion(ranks == 0),
        **_motion(readings, targets),
    }


def _motion(readings: Readings, wanted: Readings) -> Row:
    return {name: estimate.mean_of_finite(values) for name, values in motion_errors(readings, wanted).items()} | {
        "found": estimate.proportion(np.isfinite(readings.shapes[:, 0]))
    }


def reenact(bench: Bench, count: int) -> Part:
    """The photo of p with the pose and expression of the next person's photo, the driver. Undriven is the photo itself.
    The figures of motion are errors as shares of the undriven photo's; pose is yaw and pitch together."""
    people, drivers = bench.photo_readings.rows(np.arange(count)), bench.photo_readings.rows(bench.next_person(count))
    done = bench.edit("reenact", count)
    readings = {
        "reenact": bench.read(done.images, bench.places[:count]),
        "undriven: the photo": people,
        "undriven: generated": bench.read(bench.generated[:count]),
    }
    rows = {
        name: {"to_source": estimate.mean(likeness_to(one, people)), **_motion(one, drivers)}
        for name, one in readings.items()
    }
    moved, still = motion_errors(readings["reenact"], drivers), motion_errors(people, drivers)
    figures = {
        "reenact_pose": estimate.ratio(moved["yaw"] + moved["pitch"], still["yaw"] + still["pitch"]),
        "reenact_blendshapes": estimate.ratio(moved["blendshapes"], still["blendshapes"]),
        "reenact_likeness": estimate.ratio(
            likeness_to(readings["reenact"], people), likeness_to(readings["undriven: generated"], people)
        ),
    }
    return {"reenact": rows}, figures, done.strayed


def inpaint(bench: Bench, count: int) -> Part:
    """Regions of p's photo generated again. For comparison: the same region encoded and decoded by the autoencoder."""
    people, places = bench.photo_readings.rows(np.arange(count)), bench.places[:count]
    rows, figures, strayed = {}, {}, []
    for region in REGIONS:
        done = bench.edit("inpaint", count, region=region)
        edited = likeness_to(bench.read(done.images, places), people)
        encoded = likeness_to(bench.read(bench.re_encoded(done.masks), places), people)
        rows[region] = {"to_source": estimate.mean(edited), "encoded": estimate.mean(encoded)}
        figures[f"inpaint_{region}"] = estimate.ratio(edited, encoded)
        strayed.append(done.strayed)
    return {"inpaint": rows}, figures, np.concatenate(strayed)


def head(bench: Bench, count: int) -> Part:
    """The head of p on the photo of the next person. Hair is compared where the target's hair was, as far as it was
    generated: with p's and with the target's own, by colour (overlap of histograms) and by structure (SSIM with the
    same pixels of their crops). *outline* is the face's width by its height, and *shape* what is left of it after the
    usual effect of pose and jaw is subtracted."""
    others = bench.next_person(count)
    people, targets = bench.photo_readings.rows(np.arange(count)), bench.photo_readings.rows(others)
    done = bench.edit("head", count)
    readings = bench.read(done.images, [bench.places[one] for one in others])
    found = np.array(
        [
            _hair(done.edits[one].after[0, 0], bench.places[one], bench.places[others[one]], done.masks[one])
            for one in range(count)
        ]
    )  # (N, 2, 2): to source and target, by colour and structure
    usual = _usual_outline(bench.photo_readings)
    shapes = [
        np.stack([-np.abs(own(readings) - own(one)) for one in (people, targets)], 1)
        for own in (lambda one: one.outline - usual(one), lambda one: one.outline)
    ]
    found = np.concatenate([found, np.stack(shapes, -1)], -1)
    rows = {
        name: {
            "likeness": estimate.mean(likeness_to(readings, one)),
            "colour": estimate.mean_of_finite(found[:, side, 0]),
            "structure": estimate.mean_of_finite(found[:, side, 1]),
            "shape": estimate.mean_of_finite(-found[:, side, 2]),
            "outline": estimate.mean_of_finite(-found[:, side, 3]),
            **_motion(readings, one),
        }
        for side, (name, one) in enumerate({"to the source": people, "to the target": targets}.items())
    }
    figures = {}
    for column, name in enumerate(("colour", "structure", "shape", "outline")):
        both = found[np.isfinite(found[:, :, column]).all(1), :, column]
        figures[f"head_{name}"] = estimate.proportion(both[:, 0] > both[:, 1]) if len(both) else estimate.UNKNOWN
    return {"head": rows}, figures, done.strayed


def _usual_outline(real: Readings) -> Callable[[Readings], Array]:
    """A function that predicts the face's width by its height (N,) from pose and jaw, fit by least squares to people's
    photos, where it explains half of the variance. (The result of a head swap has the target's pose.)"""

    def predictors(readings: Readings) -> Array:
        yaw, pitch = (readings.angles / 20).T
        jaw = amount(readings.shapes, "jawOpen")
        return np.stack([np.ones_like(yaw), np.abs(yaw), yaw**2, pitch, pitch**2, jaw], 1)

    rows = np.isfinite(real.outline)
    weights = np.linalg.lstsq(predictors(real)[rows], real.outline[rows], rcond=None)[0]
    return lambda readings: np.asarray(predictors(readings) @ weights)


def _hair(crop: Array, source: Aligned, target: Aligned, mask: Array) -> Array:
    """(2, 2): similarity of the hair in an edited `crop` (S, S, 3) to the source's and the target's, by colour and by
    structure, 0-1; NaN where there is none to compare. The result has the target's pose, so that its hair is where the
    target's was. mask (S, S) bool: what was generated."""
    there, own = (one.region("hair") & one.coverage for one in (target, source))
    generated = there & mask
    where = generated & source.coverage
    if not (where.any() and own.any()):
        return np.full((2, 2), np.nan)
    result = []
    for other, hair in ((source.crop, own), (target.crop, generated)):
        overlap = np.minimum(_colours(crop[generated]), _colours(other[hair])).sum()
        similar = structural_similarity(crop, other, channel_axis=-1, full=True)[1]
        result.append((overlap, similar[where].mean()))
    return np.array(result)


def _colours(pixels: Array) -> Array:
    """(3, `_BINS`): the histogram of each channel of (M, 3) pixels; sums to 1."""
    counts = [np.histogram(channel, _BINS, (0, 256))[0] for channel in pixels.T]
    return np.stack(counts) / (3 * len(pixels))


def attribute(bench: Bench, count: int) -> tuple[Part, Mapping[str, Edits]]:
    """One change requested of p's photo, and its side effects. The requested change counts in the requested direction,
    side effects in either, each in its unit of `UNITS`. The figure is the largest mean side effect as a share of the
    mean requested change."""
    people, places = bench.photo_readings.rows(np.arange(count)), bench.places[:count]
    before = _measured(people)
    edits = {name: bench.edit("attribute", count, **request) for name, request in REQUESTS.items()}
    readings = {name: bench.read(one.images, places) for name, one in edits.items()}
    encoded = likeness_to(
        bench.read(bench.re_encoded([np.ones_like(one) for one in edits["nothing"].masks]), places), people
    )
    changes, sizes, figures = {}, {}, {}
    for name, one in readings.items():
        change = {what: values - before[what] for what, values in _measured(one).items()}
        alike = {"to_source": estimate.mean(likeness_to(one, people))}
        changes[name] = alike | {what: estimate.mean_of_finite(values) for what, values in change.items()}
        sizes[name] = alike | {what: estimate.mean_of_finite(np.abs(values)) for what, values in change.items()}
        if name in AIMS:
            towards = change[name] * np.sign(AIMS[name] - before[name]) / UNITS[name]
            others = {other: np.abs(change[other]) / UNITS[other] for other in UNITS if other != name}
            most = max(others, key=lambda other: np.nan_to_num(estimate.mean_of_finite(others[other]).value))
            figures[f"attribute_{name}"] = estimate.ratio(others[most], towards)
    requested = np.mean([likeness_to(readings[name], people) for name in AIMS], 0)
    generated = likeness_to(bench.read(bench.generated[:count]), people)
    figures |= {
        "attribute_likeness": estimate.ratio(requested, encoded),
        "attribute_plain": estimate.ratio(requested, generated),
    }
    groups = {"attribute asked: change": changes, "attribute asked: change either way": sizes}
    return (groups, figures, np.concatenate([one.strayed for one in edits.values()])), edits


def _measured(readings: Readings) -> dict[str, Array]:
    """(N,) of each of `UNITS`."""
    shapes = {"smile": "mouthSmile"}
    read = {name: amount(readings.shapes, shapes.get(name, name)) for name in UNITS if name not in ("yaw", "pitch")}
    return read | dict(zip(("yaw", "pitch"), readings.angles.T, strict=True))


def chain(bench: Bench, smiled: Edits) -> Part:
    """Two edits in a row, in both orders: p's face swapped into the next person's photo, then a smile; and a smile
    (`smiled`), then a swap with p's own face. The figures compare the effect of the first edit (likeness to p, the
    smile) after and before the second."""
    count = len(smiled.images)
    people, places = bench.photo_readings.rows(np.arange(count)), bench.places[:count]
    swapped = bench.edit("swap", count)
    there = [bench.places[one] for one in bench.next_person(count)]
    twice = bench.read(bench.edit_again("attribute", swapped, **REQUESTS["smile"]), there)
    first, then = bench.read(swapped.images, there), bench.read(bench.edit_again("swap", smiled), places)
    smiles = bench.read(smiled.images, places)
    before = _measured(people)["smile"]
    rows = {
        name: {
            "to_source": estimate.mean(likeness_to(one, people)),
            "smile": estimate.mean_of_finite(_measured(one)["smile"]),
            "found": estimate.proportion(np.isfinite(one.shapes[:, 0])),
        }
        for name, one in {
            "the photo": people,
            "swap": first,
            "swap, then smile": twice,
            "smile": smiles,
            "smile, then swap": then,
        }.items()
    }
    figures = {
        "chain_likeness": estimate.ratio(likeness_to(twice, people), likeness_to(first, people)),
        "chain_smile": estimate.ratio(_measured(then)["smile"] - before, _measured(smiles)["smile"] - before),
    }
    return {"two edits in a row": rows}, figures, swapped.strayed


def measure(bench: Bench, *, pairs: int, others: int) -> Report:
    """The report. pairs: of swap; others: edits of everything else."""
    parts = []
    for part, count in ((swap, pairs), (reenact, others), (inpaint, others), (head, others)):
        note(f"{part.__name__} ...")
        parts.append(part(bench, count))
    note("attribute, two in a row ...")
    attributes, edits = attribute(bench, others)
    parts += [attributes, chain(bench, edits["smile"])]
    strayed = np.concatenate([part[2] for part in parts])
    total = estimate.plain(float(strayed.sum()), len(strayed))
    figures = {name: one for part in parts for name, one in part[1].items()} | {"strayed": total}
    groups = {label: rows for part in parts for label, rows in part[0].items()}
    return assemble(
        kind="editing",
        subject=f"model {bench.pipe.name or 'unnamed'}",
        settings={"pairs": pairs, "others": others, **bench.options},
        figures=figures,
        groups=groups,
        caveats=[
            "one edit of each person or pair; where no face is found, likeness is 0 and motion leaves the image out",
            "poses and blendshapes by MediaPipe's landmarker, which also labelled photos and pictures for training",
            "regions, hair included, are drawn from landmarks by the model's own reader; nobody labelled them",
            bench.judge.caveat,
        ],
    )


def main(
    model: Model = "nano",
    out: ReportFile = FOLDER / "editing.json",
    pairs: Annotated[int, typer.Option(help="How many swaps.")] = 200,
    others: Annotated[int, typer.Option(help="How many edits of every other kind.")] = 40,
    steps: Steps = None,
    source: Cache = Path("cache/faces"),
    teachers: TeachersFolder = None,
    judge: JudgeName = "teacher",
) -> None:
    """Measure every edit and write a report that documents can draw tables from."""
    setup = open_setup(model, max(pairs, others), source, judge, motion=True)
    count = len(setup.subjects)
    bench = Bench(
        pipe=setup.pipe,
        people=setup.subjects,
        judge=setup.judge,
        find=teacher_finder(teachers),
        motion=Teachers(teachers_folder(teachers)).motion,
        options={} if steps is None else {"num_inference_steps": steps},
    )
    publish(measure(bench, pairs=min(pairs, count), others=min(others, count)), out)


if __name__ == "__main__":
    typer.run(main)
