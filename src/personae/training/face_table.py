"""The training table: a cache of labelled shards (see `personae prepare`), held in memory as arrays.

table = FaceTable.load("cache/faces")            # everyone but the held-out people
table = FaceTable.load("cache/faces", held_out=True)
heads = table.framed(HEAD, "cache/faces")        # the same photos, cut as another base shows faces
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from personae.data import shards
from personae.errors import BadData
from personae.io import atomic
from personae.reading import align
from personae.reading.steady import FIVE
from personae.shapes import Bool, Float, Int, UInt8
from personae.training.frame import PORTRAIT, Frame
from personae.types import Array

_FACTS = ("age", "gender", "race")


@dataclass(frozen=True, kw_only=True)
class FaceTable:
    """N photos, row by row. Coordinates are pixels of the photo; see `types` for the conventions."""

    keys: list[str]
    photos: list[bytes]  # encoded, as they came
    crops: UInt8[Array, "N S S 3"]  # (N, 128, 128, 3) uint8 RGB, frame `PORTRAIT`, or as `framed` cut them
    points: Float[Array, "N 5 2"]  # (N, 5, 2) as a detector says them
    box: Float[Array, "N 4"]  # (N, 4)
    landmarks: Float[Array, "N K 3"]  # (N, 478, 3)
    blendshapes: Float[Array, "N 52"]  # (N, 52)
    pose: Float[Array, "N 3"]  # (N, 3) degrees: yaw, pitch, roll
    identity: Float[Array, "N 2 D"]  # (N, 2, 128) the teacher's vector of the face and of its mirror image
    matrix: Float[Array, "N 2 3"]  # (N, 2, 3) photo -> crop
    coverage: Float[Array, " N"]  # (N,) share of the crop, or of its cells, inside the photo
    faces: Int[Array, " N"]  # (N,) faces the detector found in the photo
    drawn: Bool[Array, " N"]  # (N,) whether it shows somebody who was drawn (`data.people`), and is no photo
    age: list[str]
    gender: list[str]
    race: list[str]

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def load(cls, cache: str | Path | Sequence[Path], *, held_out: bool = False, limit: int | None = None) -> FaceTable:
        """Read a cache folder, or several one after the other: the people kept out of training, or everyone else; at
        most `limit` rows."""
        tars = []
        for folder in [Path(cache)] if isinstance(cache, str | Path) else cache:
            tars += (found := sorted(folder.glob("*.tar")))
            if not found:
                raise BadData(f"{folder} holds no shards: run `personae prepare PHOTOS -o {folder}` first")
        records = (record for tar in tars for record in shards.read(tar))
        rows = list(islice((record for record in records if shards.held_out(record[0]) == held_out), limit))
        if not rows:
            raise BadData(
                f"{cache} holds nobody {'who is held out' if held_out else 'to train on'}: prepare more photos"
            )
        with ThreadPoolExecutor(2) as pool:
            crops = np.stack(list(pool.map(_decode_crop, (parts for _, parts in rows))))
        labels = [shards.unpack_arrays(parts["labels.npz"]) for _, parts in rows]
        facts = [json.loads(parts["json"]) for _, parts in rows]
        stacked: dict[str, Any] = {name: np.stack([row[name] for row in labels]) for name in labels[0]}
        words: dict[str, Any] = {name: [fact.get(name, "") for fact in facts] for name in _FACTS}
        return cls(
            keys=[key for key, _ in rows],
            photos=[parts["photo.jpg"] for _, parts in rows],
            crops=crops,
            coverage=np.array([fact["coverage"] for fact in facts], np.float32),
            faces=np.array([fact["faces"] for fact in facts], np.int64),
            drawn=np.array(["view" in fact for fact in facts]),
            **stacked,
            **words,
        )

    @classmethod
    def joined(cls, tables: Sequence[FaceTable]) -> FaceTable:
        """The rows of several tables, one after the other; of one, that table itself."""
        if len(tables) == 1:
            return tables[0]
        columns: dict[str, Any] = {}
        for field in fields(cls):
            parts = [getattr(table, field.name) for table in tables]
            arrays = isinstance(parts[0], np.ndarray)
            columns[field.name] = np.concatenate(parts) if arrays else [value for part in parts for value in part]
        return cls(**columns)

    @property
    def five_points(self) -> Float[Array, "N 5 2"]:
        """(N, 5, 2) the faces' five points among the landmarks: what a reader cuts by, and steadier than `points`."""
        return self.landmarks[:, list(FIVE), :2]

    def where(self, mask: Array) -> FaceTable:
        """The rows for which `mask` (N,) bool holds."""
        rows = np.flatnonzero(mask)
        picked: dict[str, Any] = {}
        for field in fields(self):
            column = getattr(self, field.name)
            picked[field.name] = column[rows] if isinstance(column, np.ndarray) else [column[i] for i in rows]
        return FaceTable(**picked)

    def places(self, frame: Frame) -> Float[Array, "N 2 3"]:
        """(N, 2, 3) from each photo to its crop in `frame`."""
        return self.matrix if frame == PORTRAIT else np.stack([frame.matrix(points) for points in self.five_points])

    def cut(self, frame: Frame, rows: range) -> UInt8[Array, "n S S 3"]:
        """Some rows' crops in `frame`, of a table as it was loaded; what lies beyond a photo repeats its edge."""
        if frame == PORTRAIT:
            return self.crops[rows.start : rows.stop]
        points = self.landmarks[rows.start : rows.stop, list(FIVE), :2]
        places = [frame.matrix(one) for one in points]
        return np.stack(
            [align.crop(self.photo(row), place, frame.side) for row, place in zip(rows, places, strict=True)]
        )

    def framed(self, frame: Frame, folder: str | Path) -> FaceTable:
        """The same photos with crops of `frame`, which lie in a file in `folder` and not in memory: a gigabyte for
        9,000 of 192 pixels."""
        if frame == PORTRAIT:
            return self
        matrix = self.places(frame)
        key = hashlib.sha256(repr(frame).encode())
        for photo, points in zip(self.photos, self.five_points, strict=True):
            key.update(photo + points.tobytes())
        path = Path(folder) / f"crops-{key.hexdigest()[:12]}.npy"
        if not path.is_file():
            shape = len(self), frame.side, frame.side, 3
            with atomic.file(path, replace=True) as partial:
                crops = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
                for row in range(len(self)):
                    crops[row] = self.cut(frame, range(row, row + 1))[0]
                crops.flush()
        inside = [frame.inside(matrix[row], self.shape(row)).mean() for row in range(len(self))]
        crops = np.load(path, mmap_mode="c")  # torch takes no array that cannot be written
        return replace(self, crops=crops, matrix=matrix, coverage=np.array(inside, np.float32))

    def shape(self, row: int) -> tuple[int, int]:
        """(H, W) of a row's photo."""
        with Image.open(io.BytesIO(self.photos[row])) as header:  # nothing is decoded
            return header.height, header.width

    def photo(self, row: int) -> Array:
        """The decoded photo of a row, (H, W, 3) uint8 RGB."""
        return np.asarray(Image.open(io.BytesIO(self.photos[row])).convert("RGB"))


def _decode_crop(parts: shards.Record) -> Array:
    return np.asarray(Image.open(io.BytesIO(parts["crop.webp"])).convert("RGB"))
