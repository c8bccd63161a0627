"""personae evaluate --suite editing --pairs 200 --others 40 -o docs/figures/editing.json

Whether edits do what they say and leave the rest: photos of held-out people, edited whole and read back by networks
that have no part in making them (MediaPipe's landmarker, the teacher recogniser at the teacher detector's points).
Needs the teachers' folder and a prepared cache. 680 edits: 0.6 s of one core each, 1.1 s where likeness is guided.

Every criterion is in the functions below; what must hold is in `evaluation/measures.py`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from skimage.metrics import structural_similarity

from personae.data.teachers import Teachers
from personae.evaluation import estimate, likeness
from personae.evaluation.blendshapes import amount
from personae.evaluation.edit_bench import UNKNOWN, Bench, Done, Seen, alike, apart, mean, ratio
from personae.evaluation.estimate import Estimate
from personae.evaluation.judge import teacher_finder, teachers_folder
from personae.evaluation.options import Cache, JudgeName, Model, ReportFile, Steps, TeachersFolder
from personae.evaluation.report import FOLDER, Report, assemble, publish
from personae.evaluation.setup import open_setup
from personae.reading.aligned import Aligned
from personae.types import Array

Row = dict[str, Estimate]
Part = tuple[dict[str, dict[str, Row]], dict[str, Estimate], Array]  # groups of rows, figures, pixels that strayed

HIDDEN = ("mouth", "eyes", "face")
ASKED: dict[str, dict[str, Any]] = {
    "nothing": {},
    "smile": {"expression": {"smile": 0.8}},
    "jawOpen": {"expression": {"jawOpen": 0.8}},
    "yaw": {"pose": {"yaw": 20}},
}
AIMS = {"smile": 0.8, "jawOpen": 0.8, "yaw": 20.0}
# What is watched, in units that are worth the same: what is asked for of each kind.
UNITS = {"smile": 0.8, "jawOpen": 0.8, "eyeBlink": 0.8, "browInnerUp": 0.8, "yaw": 20.0, "pitch": 20.0}
_BINS = 16  # of a channel's histogram


def swap(bench: Bench, count: int) -> Part:
    """The face of p in the photo of the next. Beside it: p's own aligned face pasted there (copy-paste), and p
    generated, told nothing and fused with nothing (identity only)."""
    after = bench.after(count)
    sources, targets = bench.real.rows(np.arange(count)), bench.real.rows(after)
    places, photos = [bench.places[one] for one in after], [bench.photos[one] for one in after]
    done = bench.edit("swap", count)
    copied = bench.put([one.crop for one in bench.places[:count]], places, photos, done.free, recolour="region")
    seen = {
        "swap": bench.look(done.images, places),
        "copy-paste": bench.look(copied, places),
        "identity only": bench.look(bench.plain[:count]),
    }
    rows = {name: _swapped(one, sources, targets) for name, one in seen.items()}
    figures = {f"swap_{name}": rows["swap"][name] for name in ("nearer", "top1", "yaw", "pitch")}
    return {"swap": rows}, figures, done.strayed


def _swapped(seen: Seen, sources: Seen, targets: Seen) -> Row:
    ranks = likeness.ranks(sources.vectors, seen.vectors[:, None])[:, 0]
    own, others = alike(seen, sources), alike(seen, targets)
    return {
        "to_source": estimate.mean(own),
        "to_target": estimate.mean(others),
        "nearer": estimate.proportion(own > others),
        "top1": estimate.proportion(ranks == 0),
        **_motion(seen, targets),
    }


def _motion(seen: Seen, wanted: Seen) -> Row:
    return {name: mean(values) for name, values in apart(seen, wanted).items()} | {
        "found": estimate.proportion(np.isfinite(seen.shapes[:, 0]))
    }


def reenact(bench: Bench, count: int) -> Part:
    """The photo of p, moved as the next one's. Undriven is the photo itself; the figures of motion are shares of its
    errors, pose that of yaw and pitch together."""
    people, drivers = bench.real.rows(np.arange(count)), bench.real.rows(bench.after(count))
    done = bench.edit("reenact", count)
    seen = {
        "reenact": bench.look(done.images, bench.places[:count]),
        "undriven: the photo": people,
        "undriven: generated": bench.look(bench.plain[:count]),
    }
    rows = {
        name: {"to_source": estimate.mean(alike(one, people)), **_motion(one, drivers)} for name, one in seen.items()
    }
    moved, still = apart(seen["reenact"], drivers), apart(people, drivers)
    figures = {
        "reenact_pose": ratio(moved["yaw"] + moved["pitch"], still["yaw"] + still["pitch"]),
        "reenact_blendshapes": ratio(moved["blendshapes"], still["blendshapes"]),
        "reenact_likeness": ratio(alike(seen["reenact"], people), alike(seen["undriven: generated"], people)),
    }
    return {"reenact": rows}, figures, done.strayed


def inpaint(bench: Bench, count: int) -> Part:
    """Regions of p's photo made anew. Beside each: the same region of the photo through the autoencoder and back."""
    people, places = bench.real.rows(np.arange(count)), bench.places[:count]
    rows, figures, strayed = {}, {}, []
    for region in HIDDEN:
        done = bench.edit("inpaint", count, region=region)
        kept = alike(bench.look(done.images, places), people)
        whole = alike(bench.look(bench.encoded(done.free), places), people)
        rows[region] = {"to_source": estimate.mean(kept), "encoded": estimate.mean(whole)}
        figures[f"inpaint_{region}"] = ratio(kept, whole)
        strayed.append(done.strayed)
    return {"inpaint": rows}, figures, np.concatenate(strayed)


def head(bench: Bench, count: int) -> Part:
    """The head of p on the next one. Hair is what lies where the target's did, as far as it was made anew; it is
    compared with p's and the target's own by colour (histograms' overlap), and by structure (SSIM) with the same pixels
    of their crops. The head's shape is its face's width by its height, less what pose and jaw make of it."""
    after = bench.after(count)
    people, targets = bench.real.rows(np.arange(count)), bench.real.rows(after)
    done = bench.edit("head", count)
    seen = bench.look(done.images, [bench.places[one] for one in after])
    found = np.array(
        [
            _hair(done.edits[one].after[0, 0], bench.places[one], bench.places[after[one]], done.free[one])
            for one in range(count)
        ]
    )  # (N, 2, 2): to source and target, by colour and structure
    usual = _usual_outline(bench.real)
    shapes = [
        np.stack([-np.abs(own(seen) - own(one)) for one in (people, targets)], 1)
        for own in (lambda one: one.outline - usual(one), lambda one: one.outline)
    ]
    found = np.concatenate([found, np.stack(shapes, -1)], -1)
    rows = {
        name: {
            "likeness": estimate.mean(alike(seen, one)),
            "colour": mean(found[:, side, 0]),
            "structure": mean(found[:, side, 1]),
            "shape": mean(-found[:, side, 2]),
            "outline": mean(-found[:, side, 3]),
            **_motion(seen, one),
        }
        for side, (name, one) in enumerate({"to the source": people, "to the target": targets}.items())
    }
    figures = {}
    for column, name in enumerate(("colour", "structure", "shape", "outline")):
        both = found[np.isfinite(found[:, :, column]).all(1), :, column]
        figures[f"head_{name}"] = estimate.proportion(both[:, 0] > both[:, 1]) if len(both) else UNKNOWN
    return {"head": rows}, figures, done.strayed


def _usual_outline(real: Seen) -> Callable[[Seen], Array]:
    """The face's width by its height that pose and an open jaw lead one to expect, (N,), by least squares over people's
    photos: half of its variance among them. The result holds its head as the target does."""

    def known(seen: Seen) -> Array:
        yaw, pitch = (seen.angles / 20).T
        jaw = amount(seen.shapes, "jawOpen")
        return np.stack([np.ones_like(yaw), np.abs(yaw), yaw**2, pitch, pitch**2, jaw], 1)

    rows = np.isfinite(real.outline)
    weights = np.linalg.lstsq(known(real)[rows], real.outline[rows], rcond=None)[0]
    return lambda seen: np.asarray(known(seen) @ weights)


def _hair(made: Array, source: Aligned, target: Aligned, free: Array) -> Array:
    """(2, 2): likeness of a crop's hair to that of the source and the target, by colour and structure, 0-1; NaN where
    none can be compared. The result holds its head as the target does, so that its hair lies where the target's did."""
    there, own = (one.region("hair") & one.coverage for one in (target, source))
    anew = there & free
    where = anew & source.coverage
    if not (where.any() and own.any()):
        return np.full((2, 2), np.nan)
    result = []
    for other, hair in ((source.crop, own), (target.crop, anew)):
        overlap = np.minimum(_colours(made[anew]), _colours(other[hair])).sum()
        similar = structural_similarity(made, other, channel_axis=-1, full=True)[1]
        result.append((overlap, similar[where].mean()))
    return np.array(result)


def _colours(pixels: Array) -> Array:
    """(3, `_BINS`): the histogram of each channel of (M, 3) pixels; sums to 1."""
    counts = [np.histogram(channel, _BINS, (0, 256))[0] for channel in pixels.T]
    return np.stack(counts) / (3 * len(pixels))


def attribute(bench: Bench, count: int) -> tuple[Part, Mapping[str, Done]]:
    """One thing asked of p's photo. The asked one's move is towards what was asked, that of the others either way; both
    in what is asked for of their kind (0.8 of a blendshape, 20 degrees), and the figure is the largest of the others'
    means by the asked one's."""
    people, places = bench.real.rows(np.arange(count)), bench.places[:count]
    before = _watched(people)
    done = {name: bench.edit("attribute", count, **asked) for name, asked in ASKED.items()}
    seen = {name: bench.look(one.images, places) for name, one in done.items()}
    encoded = alike(bench.look(bench.encoded([np.ones_like(one) for one in done["nothing"].free]), places), people)
    changes, sizes, figures = {}, {}, {}
    for name, one in seen.items():
        change = {watched: values - before[watched] for watched, values in _watched(one).items()}
        kept = {"to_source": estimate.mean(alike(one, people))}
        changes[name] = kept | {watched: mean(values) for watched, values in change.items()}
        sizes[name] = kept | {watched: mean(np.abs(values)) for watched, values in change.items()}
        if name in AIMS:
            towards = change[name] * np.sign(AIMS[name] - before[name]) / UNITS[name]
            others = {other: np.abs(change[other]) / UNITS[other] for other in UNITS if other != name}
            most = max(others, key=lambda other: np.nan_to_num(mean(others[other]).value))
            figures[f"attribute_{name}"] = ratio(others[most], towards)
    asked = np.mean([alike(seen[name], people) for name in AIMS], 0)
    plain = alike(bench.look(bench.plain[:count]), people)
    figures |= {"attribute_likeness": ratio(asked, encoded), "attribute_plain": ratio(asked, plain)}
    groups = {"attribute asked: change": changes, "attribute asked: change either way": sizes}
    return (groups, figures, np.concatenate([one.strayed for one in done.values()])), done


def _watched(seen: Seen) -> dict[str, Array]:
    """(N,) of each of `UNITS`."""
    shapes = {"smile": "mouthSmile"}
    read = {name: amount(seen.shapes, shapes.get(name, name)) for name in UNITS if name not in ("yaw", "pitch")}
    return read | dict(zip(("yaw", "pitch"), seen.angles.T, strict=True))


def chain(bench: Bench, smiled: Done) -> Part:
    """Two edits in a row, both ways round: p's face swapped into the next one's photo and then told to smile; p told to
    smile (`smiled`) and then given their own face by a swap. Kept is what the first did: likeness to p; the smile."""
    count = len(smiled.images)
    people, places = bench.real.rows(np.arange(count)), bench.places[:count]
    swapped = bench.edit("swap", count)
    there = [bench.places[one] for one in bench.after(count)]
    twice = bench.look(bench.again("attribute", swapped, **ASKED["smile"]), there)
    first, then = bench.look(swapped.images, there), bench.look(bench.again("swap", smiled), places)
    smiles = bench.look(smiled.images, places)
    before = _watched(people)["smile"]
    rows = {
        name: {
            "to_source": estimate.mean(alike(one, people)),
            "smile": mean(_watched(one)["smile"]),
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
        "chain_likeness": ratio(alike(twice, people), alike(first, people)),
        "chain_smile": ratio(_watched(then)["smile"] - before, _watched(smiles)["smile"] - before),
    }
    return {"two edits in a row": rows}, figures, swapped.strayed


def measure(bench: Bench, *, pairs: int, others: int) -> Report:
    """The report. pairs: of swap; others: edits of everything else."""
    parts = []
    for part, count in ((swap, pairs), (reenact, others), (inpaint, others), (head, others)):
        typer.echo(f"{part.__name__} ...", err=True)
        parts.append(part(bench, count))
    typer.echo("attribute, two in a row ...", err=True)
    told, done = attribute(bench, others)
    parts += [told, chain(bench, done["smile"])]
    strayed = np.concatenate([part[2] for part in parts])
    total = Estimate(value=float(strayed.sum()), low=np.nan, high=np.nan, n=len(strayed))
    figures = {name: one for part in parts for name, one in part[1].items()} | {"strayed": total}
    groups = {label: rows for part in parts for label, rows in part[0].items()}
    return assemble(
        kind="editing",
        subject=f"model {bench.pipe.name or 'unnamed'}",
        settings={"pairs": pairs, "others": others, **bench.options},
        figures=figures,
        groups=groups,
        caveats=[
            "one edit of each person or pair; likeness is 0 where no face is found, motion's means leave such out",
            "poses and blendshapes by MediaPipe's landmarker, which also labelled photos and pictures for training",
            "regions are drawn from landmarks by the model's own reader; hair is geometry, and nobody's label",
            bench.judge.caveat,
        ],
    )


def main(
    model: Model = "nano",
    out: ReportFile = FOLDER / "editing.json",
    pairs: Annotated[int, typer.Option(help="Of swap.")] = 200,
    others: Annotated[int, typer.Option(help="Edits of everything else that is asked.")] = 40,
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
