"""people = LabelledPeople.read("cache/faces", reader.embedder)      # every training person, as a reader sees them

Labelled shards as identities: what directions, and the cloud of random people, are fitted to. Photos are read one
after the other and not kept.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from personae.data import shards
from personae.errors import BadData
from personae.reading import align
from personae.reading.embed import Embedder
from personae.reading.photo import load_photo
from personae.reading.steady import FIVE
from personae.shapes import Float, Float64
from personae.types import BLENDSHAPES, Array

_BATCH = 256
# The middle of each age group, in years.
_YEARS = {
    "0-2": 1.0,
    "3-9": 6.5,
    "10-19": 15.0,
    "20-29": 25.0,
    "30-39": 35.0,
    "40-49": 45.0,
    "50-59": 55.0,
    "60-69": 65.0,
    "more than 70": 75.0,
}


@dataclass(frozen=True, kw_only=True)
class LabelledPeople:
    """N people. `vectors` (N, D) float32, unit norm, as the embedder sees them; `teacher` (N, 128) the same by the
    labelling recogniser; `blendshapes` (N, 52); `age` and `gender` as annotated, "" where nobody did."""

    vectors: Array
    teacher: Array
    blendshapes: Array
    age: list[str]
    gender: list[str]

    def __len__(self) -> int:
        return len(self.vectors)

    @classmethod
    def read(
        cls, cache: str | Path, embedder: Embedder, *, held_out: bool = False, limit: int | None = None
    ) -> "LabelledPeople":
        """The people of a cache (`personae prepare`): those kept out of training, or everyone else; at most `limit`.

        Raises `BadData` if it holds none.
        """
        vectors, labels, facts = [], [], []
        records = islice(_records(Path(cache), held_out), limit)
        while group := list(islice(records, _BATCH)):
            found = [shards.unpack_arrays(parts["labels.npz"]) for parts in group]
            five = [one["landmarks"][list(FIVE), :2] for one in found]  # what readers cut by
            crops = [_crop(parts["photo.jpg"], points, embedder) for parts, points in zip(group, five, strict=True)]
            vectors.append(embedder.embed(np.stack(crops)))
            labels += [(one["identity"][0], one["blendshapes"]) for one in found]
            facts += [json.loads(parts["json"]) for parts in group]
        if not vectors:
            raise BadData(
                f"{cache} holds no {'held-out' if held_out else 'training'} people: run personae prepare first"
            )
        teacher, blendshapes = zip(*labels, strict=True)
        return cls(
            vectors=np.concatenate(vectors),
            teacher=np.stack(teacher),
            blendshapes=np.stack(blendshapes),
            age=[fact.get("age", "") for fact in facts],
            gender=[fact.get("gender", "") for fact in facts],
        )


@dataclass(frozen=True, kw_only=True)
class Attribute:
    """Something that people are labelled with, as a number that grows from `less` to `more`."""

    name: str
    less: str
    more: str
    label: Callable[[LabelledPeople], Float64[Array, " N"]]
    """(N,) float64, NaN where there is none."""
    has: float
    """From this label on, somebody counts as having the attribute."""


def years(people: LabelledPeople) -> Float64[Array, " N"]:
    """The middle of everyone's annotated age group."""
    return np.array([_YEARS.get(age, np.nan) for age in people.age])


def masculinity(people: LabelledPeople) -> Float64[Array, " N"]:
    """1 for those annotated as male, 0 for female: what somebody saw in a photo, not who anybody is."""
    return np.array([{"Male": 1.0, "Female": 0.0}.get(gender, np.nan) for gender in people.gender])


def smile(people: LabelledPeople) -> Float64[Array, " N"]:
    """The mean of the two measured smile blendshapes, 0-1."""
    return smile_in(people.blendshapes)


def smile_in(blendshapes: Float[Array, "N 52"]) -> Float64[Array, " N"]:
    """(N,) float64 of blendshapes (N, 52)."""
    sides = [BLENDSHAPES.index(f"mouthSmile{side}") for side in ("Left", "Right")]
    return blendshapes[:, sides].mean(1).astype(np.float64)


ATTRIBUTES = {
    one.name: one
    for one in (
        Attribute(name="age", less="younger", more="older", label=years, has=50),
        Attribute(name="masculine", less="more feminine", more="more masculine", label=masculinity, has=0.5),
        Attribute(name="smile", less="serious", more="smiling", label=smile, has=0.5),
    )
}


def labels_of(people: LabelledPeople) -> Array:
    """(N, A) float64: the labels of all `ATTRIBUTES`, NaN where there is none."""
    return np.stack([one.label(people) for one in ATTRIBUTES.values()], axis=1)


def _records(cache: Path, held_out: bool) -> Iterator[shards.Record]:
    for tar in sorted(cache.glob("*.tar")):
        for key, parts in shards.read(tar):
            if shards.held_out(key) == held_out:
                yield parts


def _crop(encoded: bytes, points: Array, embedder: Embedder) -> Array:
    photo = load_photo(encoded).pixels
    return align.crop(photo, align.similarity(points, embedder.template, embedder.size), embedder.size)
