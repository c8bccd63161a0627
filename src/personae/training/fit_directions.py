"""personae identity fit-directions --model nano --cache cache/faces -o directions.safetensors

Fit the directions of `data.labelled_people.ATTRIBUTES` in a reader's identity space, judge them on held-out people,
and write them with what was found.
"""

from pathlib import Path
from typing import Any

import numpy as np

from personae.data.labelled_people import ATTRIBUTES, LabelledPeople, labels_of
from personae.errors import BadData
from personae.evaluation import shift_effects
from personae.identity import Direction, directions
from personae.reading.reader import FaceReader

_FEWEST = 50  # people with every label


def fit(people: LabelledPeople, space: str) -> dict[str, Direction]:
    """One direction per attribute, by multiple regression of the identities on all labels at once.

    So each is what goes with its own label among people whose other labels are alike: old men and old women differ
    from young ones along `age`, though more of the old may be men. It is the pattern that a label leaves, not the
    filter that reads it best (Haufe et al. 2014): to move along a filter would leave the cloud of people.
    Raises `BadData` if too few people are labelled, or all are alike.
    """
    labels = labels_of(people)
    labelled = np.isfinite(labels).all(axis=1)
    if labelled.sum() < _FEWEST:
        raise BadData(f"directions need at least {_FEWEST} people with {', '.join(ATTRIBUTES)}, got {labelled.sum()}")
    vectors, labels = people.vectors[labelled].astype(np.float64), labels[labelled]
    spread = labels.std(axis=0)
    if alike := [name for name, varies in zip(ATTRIBUTES, spread, strict=True) if varies < 1e-6]:
        raise BadData(f"all {len(labels)} people are alike in {', '.join(alike)}: nothing can be learned from them")
    design = np.column_stack([np.ones(len(labels)), (labels - labels.mean(axis=0)) / spread])
    patterns = np.linalg.lstsq(design, vectors, rcond=None)[0][1:]
    units = patterns / np.linalg.norm(patterns, axis=1, keepdims=True)
    along = vectors @ units.T
    return {
        name: Direction(vector=unit, spread=float(column.std()), space=space)
        for name, unit, column in zip(ATTRIBUTES, units, along.T, strict=True)
    }


def run(reader: FaceReader, *, cache: str | Path, out: str | Path) -> dict[str, dict[str, Any]]:
    """`write` for the people of a cache, as a reader sees them."""
    people, others = (LabelledPeople.read(cache, reader.embedder, held_out=held_out) for held_out in (False, True))
    return write(out, people, others, reader.space)


def write(out: str | Path, people: LabelledPeople, others: LabelledPeople, space: str) -> dict[str, dict[str, Any]]:
    """Fit to some people, judge on others, write the file; returns what was found (`directions.measured`)."""
    table = fit(people, space)
    found = shift_effects.correlations(table, people, others)
    directions.save(out, table, found)
    return found
