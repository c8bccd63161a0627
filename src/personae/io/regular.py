"""A stranger's file, opened: a regular file of bounded size, or one clear error. The one place that opens them.

    encoded = regular.read("me.jpg", 64 * 2**20, BadImage)
    config = regular.read_object(folder / "config.json", WeightsCorrupt, missing=WeightsMissing)

A FIFO would wait for ever, a device has no end, a folder is no file: none of them is read, whatever its name says, and
links are followed to what they lead to. Nothing is believed of a size but what `fstat` says, and no more than allowed
is read even if the file grows meanwhile.
"""

import hashlib
import io
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from personae.errors import PersonaeError
from personae.io.boundary import errors_as

Place = str | os.PathLike[str]

MOST_JSON = 16 << 20  # bytes; a tokenizer's, the largest there is, has two to four million
MOST_WEIGHTS = 32 << 30  # bytes of one weight file: what hashing it costs is bounded, and no real one is larger
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@contextmanager
def opened(
    path: Place, most_bytes: int | None, error: type[PersonaeError], *, missing: type[PersonaeError] | None = None
) -> Iterator[io.BufferedReader]:
    """A regular file of at most `most_bytes` (None: any size), open for reading.

    Raises `error`; `missing` (None: `error`) if there is nothing of that name.
    """
    name = os.fspath(path)
    try:
        # Without waiting for whoever would write into a FIFO.
        number = os.open(name, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))
    except (FileNotFoundError, NotADirectoryError) as problem:
        raise (missing or error)(f"{name}: no such file") from problem
    except (OSError, ValueError) as problem:  # ValueError: a NUL in the name
        raise error(f"{name} cannot be opened: {getattr(problem, 'strerror', None) or problem}") from problem
    try:
        found = os.fstat(number)
        _check(name, found, most_bytes, error)
        file = os.fdopen(number, "rb")
    except BaseException:
        os.close(number)
        raise
    with file:
        yield file


def read(
    path: Place, most_bytes: int, error: type[PersonaeError], *, missing: type[PersonaeError] | None = None
) -> bytes:
    """The bytes of a regular file of at most `most_bytes`. Raises as `opened`."""
    with opened(path, most_bytes, error, missing=missing) as file:
        with errors_as(error, f"{os.fspath(path)} cannot be read"):
            content = file.read(most_bytes + 1)
        if len(content) > most_bytes:  # it grew since its size was asked for
            raise error(_too_large(os.fspath(path), most_bytes))
    return content


def read_text(
    path: Place, most_bytes: int, error: type[PersonaeError], *, missing: type[PersonaeError] | None = None
) -> str:
    """The same as text; UTF-8, with or without a mark of it."""
    content = read(path, most_bytes, error, missing=missing)
    with errors_as(error, f"{os.fspath(path)} is no text in UTF-8"):
        return content.decode("utf-8-sig")


def read_json(
    path: Place,
    error: type[PersonaeError],
    *,
    missing: type[PersonaeError] | None = None,
    most_bytes: int = MOST_JSON,
    advice: str = "",
) -> Any:
    """What a JSON file holds, whatever its kind. advice: what to do about one that is none."""
    text = read_text(path, most_bytes, error, missing=missing)
    with errors_as(error, f"{os.fspath(path)} cannot be read as JSON", advice):  # nested too deep included
        return json.loads(text)


def read_object(
    path: Place,
    error: type[PersonaeError],
    *,
    missing: type[PersonaeError] | None = None,
    most_bytes: int = MOST_JSON,
    advice: str = "",
) -> dict[str, Any]:
    """A JSON file that must hold an object: the libraries take a string for the name of a model on the Hub."""
    found = read_json(path, error, missing=missing, most_bytes=most_bytes, advice=advice)
    if not isinstance(found, dict):
        then = f": {advice}" if advice else ""
        raise error(f"{os.fspath(path)} must hold a JSON object, got a {type(found).__name__}{then}")
    return found


def require(
    path: Place, most_bytes: int | None, error: type[PersonaeError], *, missing: type[PersonaeError] | None = None
) -> None:
    """Raise as `opened` unless a library may open the file by its path."""
    with opened(path, most_bytes, error, missing=missing):
        pass


def sha256(path: Place, error: type[PersonaeError], *, missing: type[PersonaeError] | None = None) -> str:
    """The hash of a regular file of at most `MOST_WEIGHTS`, in hex."""
    with opened(path, MOST_WEIGHTS, error, missing=missing) as file, errors_as(error, f"{path} cannot be read"):
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_file(path: Place) -> bool:
    """Whether there is a regular file; a name too long for any disk, or with a NUL, is none."""
    return os.path.isfile(path)  # noqa: PTH113 - Path.is_file raises for such names


def exists(path: Place) -> bool:
    """Whether there is anything of that name; no name is an error."""
    return os.path.exists(path)  # noqa: PTH110 - Path.exists raises for names too long


def kind_of(mode: int) -> str:
    """What something that is no regular file is called, from its `st_mode`."""
    return _KINDS.get(stat.S_IFMT(mode), "no regular file")


def _check(name: str, found: os.stat_result, most_bytes: int | None, error: type[PersonaeError]) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise error(f"{name} cannot be opened: it is {kind_of(found.st_mode)}, give a regular file")
    if most_bytes is not None and found.st_size > most_bytes:
        raise error(_too_large(name, most_bytes))


def _too_large(name: str, most_bytes: int) -> str:
    limit = f"{most_bytes / 2**20:.0f} MiB" if most_bytes >= 2**20 else f"{most_bytes / 2**10:.0f} KiB"
    return f"{name} is larger than {limit}: give a smaller file"
