"""A stranger's zip and numpy files: nothing unpacks to more than it was allowed, whatever its headers promise.

    content = archive.member("antelopev2.zip", "antelopev2/scrfd.onnx", 64 << 20, WeightsCorrupt)
    columns = archive.npz(regular.read("nod.npz", ...), 256 << 20, BadData, "nod.npz")

Sizes are read from the directory before anything is unpacked. Only stored and deflated members are: the other methods
of Python's `zipfile` unpack whole blocks at once, whatever they were asked for.
"""

import io
import math
import os
import zipfile
from typing import Any

import numpy as np

from personae.errors import PersonaeError
from personae.io import regular
from personae.io.boundary import errors_as
from personae.shapes import Shaped

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_END, _END_BYTES, _MOST_COMMENT = b"PK\5\6", 22, 2**16
_MOST_DIRECTORY = 4 << 20  # bytes: tens of thousands of names; `zipfile` makes an object of each
_SIMPLE = "biufU"  # kinds of numpy dtype that hold numbers or text, and no code


def member(path: regular.Place, name: str, most_bytes: int, error: type[PersonaeError]) -> bytes:
    """One member of a zip file, of at most `most_bytes`. Raises `error`."""
    with regular.opened(path, None, error) as file:
        return _members(file, os.fspath(path), most_bytes, error, only=name)[name]


def npz(
    content: bytes, most_bytes: int, error: type[PersonaeError], what: str
) -> dict[str, Shaped[np.ndarray, " ..."]]:
    """The arrays of an `.npz`, of numbers or text and of any shapes, by name.

    Arguments:
        content: of the file.
        most_bytes: that the arrays may have together.
        error: raised for anything else.
        what: the file's name in errors.
    """
    found = _members(io.BytesIO(content), what, most_bytes, error)
    return {name.removesuffix(".npy"): npy(part, error, f"{name} in {what}") for name, part in found.items()}


def npy(content: bytes, error: type[PersonaeError], what: str) -> Shaped[np.ndarray, " ..."]:
    """The array of an `.npy`, of numbers or text and of any shape. Its header must promise no more than there is:
    raises `error`, which calls the file `what`."""
    file = io.BytesIO(content)
    with errors_as(error, f"{what} is no numpy array that can be read"):
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"format {version}")
        read_header = np.lib.format.read_array_header_1_0 if version[0] == 1 else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(file)
        if dtype.kind not in _SIMPLE or dtype.itemsize == 0:
            raise ValueError(f"it holds {dtype}, not numbers")
        if not all(side >= 0 for side in shape) or math.prod(shape) * dtype.itemsize != len(content) - file.tell():
            raise ValueError(f"its size is not that of {shape} {dtype}")
        file.seek(0)
        return np.asarray(np.load(file, allow_pickle=False))


def _members(
    file: io.BufferedReader | io.BytesIO,
    what: str,
    most_bytes: int,
    error: type[PersonaeError],
    only: str | None = None,
) -> dict[str, bytes]:
    with errors_as(error, f"{what} is no zip file that can be read"):
        _require_small_directory(file)
        with zipfile.ZipFile(file) as archive:
            if only is not None and only not in archive.namelist():
                raise error(f"{what} holds no {only}")
            infos = archive.infolist() if only is None else [archive.getinfo(only)]
            size = sum(info.file_size for info in infos)
            if size > most_bytes:
                raise error(f"{what} would unpack to {size} bytes, at most {most_bytes} are read: refused")
            found: dict[str, Any] = {}
            for info in infos:
                if info.compress_type not in _METHODS:
                    raise ValueError(f"{info.filename} is packed by method {info.compress_type}")
                with archive.open(info) as opened:
                    found[info.filename] = opened.read(info.file_size)
                    if opened.read(1) or len(found[info.filename]) != info.file_size:  # which also compares the CRC
                        raise ValueError(f"{info.filename} has another size than the directory says")
            return found


def _require_small_directory(file: io.BufferedReader | io.BytesIO) -> None:
    """Raise `ValueError` unless the directory is of a size that a zip of a few files has."""
    end = file.seek(0, os.SEEK_END)
    start = max(0, end - _END_BYTES - _MOST_COMMENT)
    file.seek(start)
    tail = file.read(end - start)
    place = tail.rfind(_END)
    if place < 0 or len(tail) < place + _END_BYTES:
        raise ValueError("it does not end as a zip does")
    size = int.from_bytes(tail[place + 12 : place + 16], "little")
    if size > _MOST_DIRECTORY:  # Zip64's mark, all ones, too: nothing read here has four gigabytes
        raise ValueError(f"its directory has {size} bytes")
    file.seek(0)
