"""people.held_out_people("cache/faces", 200, seed=0) -> [Person(key, photo, groups), ...]

People who are in no training data, out of a cache made by `personae prepare` or out of the raw photo tars.
"""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from personae.data import shards
from personae.errors import BadData
from personae.types import Array, Photo

GROUPS = ("age", "gender", "race")
_USUAL_SOURCES = ("cache/faces", "../shared/faces")


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What the labelling networks (teachers) measured in a photo: `box` (4,), `points` (5, 2), `landmarks` (478, 3),
    all in pixels of the photo; `blendshapes` (52,); `pose` (3,) yaw, pitch, roll in degrees; `identity` (128,) unit
    norm; `faces` found."""

    box: Array
    points: Array
    landmarks: Array
    blendshapes: Array
    pose: Array
    identity: Array
    faces: int


@dataclass(frozen=True, kw_only=True)
class Person:
    """One held-out photo. `groups` maps age, gender and race to the data set's annotation (empty if it has
    none); `labels` is None in a source that was never prepared."""

    key: str
    photo: Photo
    groups: dict[str, str]
    labels: Labels | None = None


def find_source(source: str | Path | None = None) -> Path:
    """The folder of photo tars to judge on: the one named, else the first of the usual places."""
    tried = [Path(source)] if source else [Path(place) for place in _USUAL_SOURCES]
    for folder in tried:
        if any(folder.glob("*.tar")):
            return folder
    places = " or ".join(map(str, tried))
    raise BadData(f"{places} holds no .tar of photos: name a prepared cache or a folder of photo tars with --source")


def held_out_people(source: str | Path | None = None, count: int | None = None, *, seed: int = 0) -> list[Person]:
    """`count` held-out people (None: all), drawn with `seed`, in the order of the shards.

    Raises `BadData` if the source holds fewer than `count`.
    """
    folder = find_source(source)
    tars = sorted(folder.glob("*.tar"))
    firsts: dict[str, tuple[str, shards.Record]] = {}  # one picture of each: views are no people of their own
    for key, parts in (record for tar in tars for record in shards.read(tar)):
        if shards.held_out(key):
            firsts.setdefault(shards.person(key), (key, parts))
    records = list(firsts.values())
    if count is not None:
        if count < 1 or count > len(records):
            raise BadData(f"{folder} holds {len(records)} held-out people, {count} were asked for")
        chosen = np.random.default_rng(seed).choice(len(records), count, replace=False)
        records = [records[i] for i in sorted(chosen)]
    return list(_people(folder, records))


def _people(folder: Path, records: list[tuple[str, shards.Record]]) -> Iterator[Person]:
    groups = _groups(folder)
    for key, parts in records:
        encoded = parts.get("photo.jpg", parts.get("jpg"))
        if encoded is None:
            raise BadData(f"{folder}: record {key} has no photo (photo.jpg or jpg), it holds {', '.join(parts)}")
        pixels = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))
        facts = json.loads(parts["json"]) if "json" in parts else groups.get(key, {})
        yield Person(
            key=key,
            photo=Photo(pixels=pixels, source=key),
            groups={name: facts[name] for name in GROUPS if facts.get(name)},
            labels=_labels(parts, facts) if "labels.npz" in parts else None,
        )


def _labels(parts: shards.Record, facts: dict[str, str]) -> Labels:
    arrays = shards.unpack_arrays(parts["labels.npz"])
    plain, _mirrored = arrays["identity"]
    return Labels(
        box=arrays["box"],
        points=arrays["points"],
        landmarks=arrays["landmarks"],
        blendshapes=arrays["blendshapes"],
        pose=arrays["pose"],
        identity=plain,
        faces=int(facts["faces"]),
    )


def _groups(folder: Path) -> dict[str, dict[str, str]]:
    path = folder / "labels.csv"
    if not path.is_file():
        return {}
    with path.open(newline="") as file:
        return {row["key"]: row for row in csv.DictReader(file)}
