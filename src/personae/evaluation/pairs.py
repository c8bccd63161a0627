"""pairs.load("../shared/pairs") -> [Pair(key, photos=(one, other)), ...]

Two photos of each of many people: how far likeness holds in another photo than the one that was read. From a folder
with `pairs.csv` (columns `photo` and `other_photo`) and `photos/`, or from people who do not exist (`personae prepare
people`), of whom those kept out of training are taken.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from personae.data import shards
from personae.errors import BadData
from personae.reading.photo import load_photo
from personae.types import Photo

_CSV = "pairs.csv"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two photos of one person."""

    key: str
    photos: tuple[Photo, Photo]


def load(folder: str | Path) -> list[Pair]:
    """All pairs of a folder, in its order. Raises `BadData` if it holds none."""
    place = Path(folder)
    found = list(_listed(place) if (place / _CSV).is_file() else _drawn(place))
    if not found:
        raise BadData(
            f"{place} holds no pairs: name a folder with {_CSV} and photos/, or one of `personae prepare people`"
        )
    return found


def _listed(folder: Path) -> Iterator[Pair]:
    with (folder / _CSV).open(newline="") as file:
        for number, row in enumerate(csv.DictReader(file)):
            try:
                names = row["photo"], row["other_photo"]
            except KeyError as error:
                raise BadData(f"{folder / _CSV} has no column {error}: it needs photo and other_photo") from error
            one, other = (load_photo(folder / "photos" / name) for name in names)
            yield Pair(key=row.get("person") or str(number), photos=(one, other))


def _drawn(folder: Path) -> Iterator[Pair]:
    for tar in sorted(folder.glob("*.tar")):
        held_out = (record for record in shards.read(tar) if shards.held_out(record[0]))
        for person, views in groupby(held_out, key=lambda record: shards.person(record[0])):
            photos = [parts["photo.jpg"] for _, parts in views if "photo.jpg" in parts]
            if len(photos) > 1:
                one, other = (load_photo(photo) for photo in photos[:2])
                yield Pair(key=person, photos=(one, other))
