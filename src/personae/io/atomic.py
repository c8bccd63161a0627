"""Files and folders that appear whole or not at all. Everything that personae writes goes through here.

    atomic.write("out.png", content)                             # BadOutput if it is there already
    atomic.write("out.png", content, replace=True)
    with atomic.file("out.mp4", replace=True) as partial:        # for what a library writes to a path
        clip.save(partial)
    with atomic.folder("step-7", replace=True) as partial:       # a folder, all of it
        network.save(partial)

What is not finished lies beside its place under a name that says whose it is (`.out.png.HOST-PID-...partial`). It is
on the disk before it is renamed, and the name is before the call returns, so neither a kill nor a power cut leaves half
of it. What a killed process left is removed by the next one that writes into the same folder.
"""

import errno
import itertools
import json
import os
import re
import shutil
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from personae.errors import BadOutput, PersonaeError
from personae.io import process
from personae.io.process import Owner

_PARTIAL = re.compile(r"\..*\.(?P<host>[A-Za-z0-9-]{1,24})-(?P<pid>\d+)-(?P<started>\d+)-\d+\.partial", re.DOTALL)
_MOST_OF_A_NAME = 180  # bytes; file systems allow 255, and ours adds at most 70
_number = itertools.count()
_MOST_SWEEPS = 1024
_sweeps: OrderedDict[tuple[int, Path], None] = OrderedDict()  # folders that this process has looked through, lately


def write(path: str | Path, content: bytes, *, replace: bool = False, private: bool = False) -> Path:
    """Write a file whole or not at all; returns its path. private: only its owner may ever read it, e.g. a key. Raises
    `BadOutput` if it is there already (unless `replace`), be it that it came meanwhile, or if it cannot be written."""
    target = Path(path)
    with errors_about(target):
        _require_room(target, replace)
        partial = _beside(target)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | getattr(os, "O_BINARY", 0)
            with os.fdopen(os.open(partial, flags, 0o600 if private else 0o666), "wb") as opened:
                opened.write(content)
                opened.flush()
                os.fsync(opened.fileno())
            _put(partial, target, replace)
        finally:
            _discard(partial)
        _flush(target.parent)
    return target


def write_json(path: str | Path, value: Any) -> Path:
    """Write JSON for people to read, in the place of what is there. As `write`."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return write(path, text.encode(), replace=True)


@contextmanager
def file(path: str | Path, *, replace: bool = False) -> Iterator[Path]:
    """A path of the same name for a library to write to: it becomes `path` when the block ends, and is gone if it
    raises. What the library raises because the disk is full, or the like, becomes `BadOutput`; the rest as `write`."""
    target = Path(path)
    with errors_about(target):
        _require_room(target, replace)
        # In a folder of its own, which takes with it what the library puts beside its file, as safetensors does.
        partial = _beside(target)
        try:
            partial.mkdir()
            yield partial / target.name
            _flush(partial / target.name)
            _put(partial / target.name, target, replace)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        _flush(target.parent)


@contextmanager
def folder(path: str | Path, *, replace: bool = False) -> Iterator[Path]:
    """An empty folder to fill, which becomes `path` when the block ends, and is gone if it raises. As `file`.

    replace: what is there already goes once the new one is whole.
    """
    target = Path(path)
    with errors_about(target):
        _require_room(target, replace)
        partial = _beside(target)
        try:
            partial.mkdir()
            yield partial
            for place in (partial, *partial.rglob("*")):
                _flush(place)
            if replace and target.exists():
                # A folder cannot take the place of another at one stroke: a kill between the two leaves the old one
                # under this name, which is never swept.
                before = _beside(target).with_suffix(".replaced")
                target.rename(before)
                partial.rename(target)
                shutil.rmtree(before, ignore_errors=True)
            else:
                partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        _flush(target.parent)


def move(place: Path, target: Path) -> None:
    """Give what is whole already another name in the same folder. Raises `BadOutput`."""
    with errors_about(target):
        place.rename(target)
        _flush(target.parent)


def sweep(place: Path) -> None:
    """Remove what processes that are gone have left half-written in a folder; a process looks for it once, unless it
    has written into very many since."""
    if (key := (os.getpid(), place.absolute())) in _sweeps:
        return
    _sweeps[key] = None
    with suppress(KeyError):  # another thread was faster
        while len(_sweeps) > _MOST_SWEEPS:  # a server writes into a new folder for every job
            _sweeps.popitem(last=False)
    with suppress(OSError), os.scandir(place) as entries:
        for entry in entries:
            found = _PARTIAL.fullmatch(entry.name)
            if found is None or not process.is_gone(_owner_of(found)):
                continue
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                with suppress(OSError):
                    Path(entry.path).unlink()


def _owner_of(found: re.Match[str]) -> Owner:
    return Owner(host=found["host"], pid=int(found["pid"]), started=int(found["started"]))


def _require_room(target: Path, replace: bool) -> None:
    if not replace and os.path.lexists(target):
        raise _already(target)


def _beside(target: Path) -> Path:
    """Where `target` lies until it is whole; no other process or thread writes there."""
    sweep(target.parent)
    me = process.me()
    name = os.fsdecode(os.fsencode(target.name)[:_MOST_OF_A_NAME])
    return target.with_name(f".{name}.{me.host}-{me.pid}-{me.started}-{next(_number)}.partial")


def _discard(partial: Path) -> None:
    with suppress(OSError):  # its folder may not be one: there is nothing to remove
        partial.unlink(missing_ok=True)


def _put(partial: Path, target: Path, replace: bool) -> None:
    if replace:
        partial.replace(target)
        return
    try:
        os.link(partial, target)  # unlike a rename it does not take the place of a file that has come meanwhile
    except FileExistsError as error:
        raise _already(target) from error
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EACCES):
            raise
        if target.exists():  # a file system without links: as near as it gets
            raise _already(target) from error
        partial.rename(target)


def _flush(place: Path) -> None:
    """Have a file or folder on the disk, as far as the system can."""
    try:
        opened = os.open(place, os.O_RDONLY)
    except OSError:
        if place.is_dir():  # not to be opened on some systems
            return
        raise
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF):  # it keeps no such promise
            raise
    finally:
        os.close(opened)


def _already(target: Path) -> BadOutput:
    return BadOutput(f"{target} is already there: choose another place or pass --force to replace it")


# ---------------------------------------------------------------------- what cannot be written, in one line

# How libraries that do not raise OSError say it: those in Rust, safetensors among them; torch; Pillow; numpy.
_RUST = re.compile(r"\(os error (\d+)\)|Os \{ code: (\d+)")
_FULL = re.compile(
    r"PytorchStreamWriter failed|unexpected pos \d+ vs|iostream error|basic_ios|when writing image file|"
    r"requested and \d+ written"
)
_OF_PROCESSES = (ConnectionError, TimeoutError, ChildProcessError, ProcessLookupError, InterruptedError)


@contextmanager
def errors_about(place: str | Path) -> Iterator[None]:
    """Whatever a library raises in the block because `place`, or what is in it, cannot be written becomes `BadOutput`:
    alone for what is not renamed at the end, such as a log that grows."""
    target = Path(place)
    try:
        yield
    except PersonaeError:
        raise
    except Exception as error:
        reason = _reason(error, target)
        if reason is None:
            raise
        raise BadOutput(f"cannot write {target}: {reason}") from error


def _concerns(name: object, target: Path) -> bool:
    try:
        place = Path(os.fsdecode(name)).absolute()  # type: ignore[arg-type]
    except TypeError:  # a descriptor
        return True
    return place.is_relative_to(target.absolute().parent) or target.absolute().is_relative_to(place)


def _reason(error: Exception, target: Path) -> str | None:
    """What the system said why `target` cannot be written; None if it is about something else."""
    text = str(error)
    if isinstance(error, OSError) and error.errno is not None:
        if isinstance(error, _OF_PROCESSES) or (error.filename is not None and not _concerns(error.filename, target)):
            return None  # of another process, of a file that was read
        return error.strerror or text
    if found := _RUST.search(text):
        return os.strerror(int(found[1] or found[2]))
    if isinstance(error, RuntimeError | OSError) and _FULL.search(text):
        return "the disk is full, or a limit on the size of files is reached"
    return None
