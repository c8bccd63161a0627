"""One process at a time: a lock file that names its owner and dies with it.

    with lock.own(folder / ".lock", "the training run runs/face0"):      # BadOutput, at once, if another has it
        ...

The system drops the lock when its process ends, however it ends, so what a killed process leaves is no obstacle. Where
a file system knows no such locks (some network ones), the file's own word counts: process, machine and start.
"""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from personae.errors import BadOutput
from personae.io import atomic, process
from personae.io.process import Owner

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"
_MOST_BYTES = 4096
_open: set[int] = set()  # descriptors of the locks this process holds


@contextmanager
def own(path: str | Path, what: str) -> Iterator[None]:
    """Own `path` for the time of the block. what: what it stands for, in the error. Its folder must be there.

    Raises `BadOutput`, naming the owner, if another process (or another place in this one) has it, or if it cannot be
    written.
    """
    target = Path(path)
    with atomic.errors_about(target):
        descriptor = _take(target, what)
    here = os.getpid()
    try:
        yield
    finally:
        if os.getpid() == here:  # not in a child that was forked inside the block
            _release(descriptor, target)


def _release(descriptor: int, target: Path) -> None:
    # Removed while it is still ours: whoever opened it meanwhile sees that it is no longer in its place.
    with suppress(OSError):
        target.unlink(missing_ok=True)
    _open.discard(descriptor)
    os.close(descriptor)


def owner(path: str | Path) -> Owner | None:
    """Who a lock file names; None if it is not there, or damaged."""
    try:
        with Path(path).open("rb") as opened:
            word = json.loads(opened.read(_MOST_BYTES))
        return Owner(host=str(word["host"]), pid=int(word["pid"]), started=int(word["started"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _take(target: Path, what: str) -> int:
    while True:
        descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0), 0o644)
        try:
            if not _try(descriptor, target):
                raise _refusal(target, what)
            if _is_at(descriptor, target):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, json.dumps(asdict(process.me())).encode())
                _open.add(descriptor)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its owner has just removed it: the next one is a new file


def _try(descriptor: int, target: Path) -> bool:
    """Whether the lock could be had."""
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return False
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL):
                raise
    before = owner(target)
    return before is None or process.is_gone(before)


def _is_at(descriptor: int, target: Path) -> bool:
    """Whether the open file is the one that now lies there."""
    try:
        return os.path.samestat(os.fstat(descriptor), target.stat())
    except FileNotFoundError:
        return False


def _refusal(target: Path, what: str) -> BadOutput:
    by = owner(target)
    return BadOutput(
        f"{by or 'another process'} is already at work on {what}: wait for it, stop it, or choose another place "
        f"(its lock is {target})"
    )


def _close_in_child() -> None:
    """A child that outlives its parent must not keep the parent's locks."""
    for descriptor in _open:
        with suppress(OSError):
            os.close(descriptor)
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
