"""correlations(table, people, others) -> {"age": {"correlation": ..., "auc": ..., "readable": ..., "n": ...}, ...}
measure_shifts(pipe, table, subjects, probe) -> what a shift does to the faces that a model makes

How well does an identity hold an attribute, and does a shift along its direction change the faces made from it?
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.progress import track
from scipy.stats import rankdata  # type: ignore[import-untyped]

from personae import identity
from personae.data.labelled_people import ATTRIBUTES, LabelledPeople, labels_of, smile_in
from personae.errors import BadData, WeightsMissing
from personae.evaluation import estimate
from personae.evaluation.estimate import Estimate
from personae.evaluation.judge import Finder, Judge
from personae.identity import Direction
from personae.pipeline import FacePipeline
from personae.shapes import Bool, Num
from personae.types import BLENDSHAPES, Array, Identity

CONTROL = "random"  # a direction that means nothing, for comparison


def correlations(
    table: Mapping[str, Direction], trained_on: LabelledPeople, held_out: LabelledPeople
) -> dict[str, dict[str, Any]]:
    """Per attribute, on held-out people: `correlation` of the coordinate along the direction with the label (with
    95 % interval `low`, `high`), `auc` of it for having the attribute, and `readable`: the correlation that the best
    linear reading of the whole identity reaches, which is what the identity holds at all."""
    probe = Probe.fit(trained_on.vectors, labels_of(trained_on))
    read = probe.read(held_out.vectors)
    found = {}
    for column, (name, attribute) in enumerate(ATTRIBUTES.items()):
        label = attribute.label(held_out)
        known = np.isfinite(label)
        along = held_out.vectors[known] @ table[name].vector
        figure = estimate.correlation(along, label[known])
        found[name] = {
            "less": attribute.less,
            "more": attribute.more,
            **figure.as_json(),
            "auc": round(auc(along, label[known] >= attribute.has), 4),
            "readable": round(estimate.correlation(read[known, column], label[known]).value, 4),
        }
        found[name]["correlation"] = found[name].pop("value")
    return found


def auc(scores: Num[Array, " N"], has: Bool[Array, " N"]) -> float:
    """The chance that somebody who `has` (N,) bool it scores higher than somebody who has not; NaN if all are one."""
    yes, no = int(has.sum()), int((~has).sum())
    if not yes or not no:
        return float("nan")
    return float((rankdata(scores)[has].sum() - yes * (yes + 1) / 2) / (yes * no))


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A linear reading of labels off vectors: `weights` (D + 1, A), the last row a constant."""

    weights: Array

    @classmethod
    def fit(cls, vectors: Array, labels: Array) -> "Probe":
        """Least squares of (N, A) labels, NaN where unknown, on (N, D) vectors."""
        known = np.isfinite(labels).all(axis=1)
        if known.sum() <= vectors.shape[1]:
            raise BadData(f"a reading of {vectors.shape[1]} numbers needs more people than that, got {known.sum()}")
        return cls(weights=np.linalg.lstsq(_with_constant(vectors[known]), labels[known], rcond=None)[0])

    def read(self, vectors: Array) -> Array:
        """(N, A) labels of (N, D)."""
        return _with_constant(vectors) @ self.weights


def _with_constant(vectors: Array) -> Array:
    return np.column_stack([vectors.astype(np.float64), np.ones(len(vectors))])


@dataclass(frozen=True, kw_only=True)
class ShiftEffect:
    """What shifting people by `amount` along `direction` did: per attribute the mean change of what is read from the
    faces made, and the mean likeness (by the judge) to the faces made without the shift from the same seeds."""

    direction: str
    amount: float
    change: dict[str, Estimate]
    likeness: Estimate


def measure_shifts(
    pipe: FacePipeline,
    table: Mapping[str, Direction],
    people: Sequence[Identity],
    *,
    judge: Judge,
    finder: Finder,
    probe: Probe,
    amounts: Sequence[float] = (-2, 2),
    seed: int = 0,
    progress: bool = True,
) -> list[ShiftEffect]:
    """Faces of everyone, shifted along each direction and along one at random, read back.

    Age and gender presentation are read by `probe` from the vectors of `judge`, another recogniser than the one that
    conditions; the smile from measured blendshapes. An image in which either finds no face is left out.
    """
    rng = np.random.default_rng(seed)
    spread = float(np.mean([one.spread for one in table.values()]))
    control = Direction(vector=rng.standard_normal(people[0].vector.size), spread=spread, space=people[0].space)
    before, vectors = _measured(pipe, people, judge, finder, probe, seed)
    found = []
    trials = [(name, one, amount) for name, one in (*table.items(), (CONTROL, control)) for amount in amounts]
    for name, direction, amount in track(trials, "shifting people", disable=not progress, transient=True):
        shifted = [identity.shift(person, direction, amount) for person in people]
        after, shifted_vectors = _measured(pipe, shifted, judge, finder, probe, seed)
        both = np.isfinite(before).all(axis=1) & np.isfinite(after).all(axis=1)
        if not both.any():
            raise BadData("no face was found in any of the images made: there is nothing to compare")
        change = after[both] - before[both]
        found.append(
            ShiftEffect(
                direction=name,
                amount=amount,
                change={name: estimate.mean(column, seed) for name, column in zip(ATTRIBUTES, change.T, strict=True)},
                likeness=estimate.mean((vectors[both] * shifted_vectors[both]).sum(axis=1), seed),
            )
        )
    return found


def _measured(
    pipe: FacePipeline, people: Sequence[Identity], judge: Judge, finder: Finder, probe: Probe, seed: int
) -> tuple[Array, Array]:
    """What is read from one image of each: the attributes (N, A) and the judge's vectors (N, D); NaN without a face."""
    out = pipe(people, seed=seed, measure_likeness=False)
    images = [np.asarray(image.convert("RGB")) for image in out.images]
    vectors = judge.look(images, finder)
    if np.isnan(vectors).all():
        raise BadData("no face was found in any of the images made: there is nothing to compare")
    labels = probe.read(vectors)
    labels[:, list(ATTRIBUTES).index("smile")] = smile_in(_blendshapes(pipe, images, finder))
    return labels, vectors


def _blendshapes(pipe: FacePipeline, images: Sequence[Array], finder: Finder) -> Array:
    """(N, 52) of the main face of each image, NaN where there is none."""
    motion = pipe.reader.motion if pipe.reader else None
    if motion is None:
        raise WeightsMissing("this model has no reader of expressions: load it with reader=...")
    rows = np.full((len(images), len(BLENDSHAPES)), np.nan)
    for row, image in zip(rows, images, strict=True):
        points = finder(image)
        if points is not None:
            row[:] = motion.read(image, points).blendshapes
    return rows
