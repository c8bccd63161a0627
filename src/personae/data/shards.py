"""Shards: WebDataset tars, written whole or not at all, and read back in a fixed order.

A record is a key and its parts: `{"crop.webp": bytes, "labels.npz": bytes, ...}`.
"""

import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from personae.errors import BadData
from personae.io import archive, atomic, regular
from personae.io.boundary import errors_as
from personae.shapes import Shaped
from personae.types import Array

Record = dict[str, bytes]
_MOST_BYTES = 256 << 20  # of one part of a record, or of its arrays


def person(key: str) -> str:
    """Whose picture a key names: `PERSON-VIEW` one of several of somebody, any other key a person of its own."""
    return key.partition("-")[0]


def held_out(key: str) -> bool:
    """Whether a picture is kept out of every training: those of one person in sixteen, by the CRC-32 of `person`."""
    return crc32(person(key).encode()) % 16 == 0


def read(path: str | Path) -> Iterator[tuple[str, Record]]:
    """The records of one tar, in order. Parts that share the name up to its first dot belong together."""
    regular.require(path, None, BadData)
    # Not packed: those who write them do not, and what is packed may unpack without end.
    with errors_as(BadData, f"cannot read shard {path}"), tarfile.open(path, "r:") as tar:
        key, record = "", Record()
        for member in tar:
            if not member.isfile():
                continue
            if member.issparse() or member.size > _MOST_BYTES:
                raise BadData(f"{member.name[:200]} has {member.size} bytes, at most {_MOST_BYTES} are read")
            stem, _, part = Path(member.name).name.partition(".")
            if stem != key and record:
                yield key, record
                record = Record()
            key = stem
            source = tar.extractfile(member)
            record[part] = source.read() if source else b""
        if record:
            yield key, record


def write(path: str | Path, records: Iterable[tuple[str, Record]]) -> int:
    """Write one tar (same records, same bytes) and rename it into place; returns the number of records."""
    target = Path(path)
    count = 0
    with atomic.file(target, replace=True) as partial, tarfile.open(partial, "w") as tar:
        for key, record in records:
            for part, content in record.items():
                info = tarfile.TarInfo(f"{key}.{part}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            count += 1
    return count


def pack_arrays(arrays: dict[str, Shaped[Array, " ..."]]) -> bytes:
    """The bytes of an `.npz` of arrays, of any shapes, by name."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def unpack_arrays(content: bytes) -> dict[str, Shaped[Array, " ..."]]:
    """What `pack_arrays` packed. Raises `BadData` for anything else."""
    return archive.npz(content, _MOST_BYTES, BadData, "a record's arrays")


def pack_json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()
