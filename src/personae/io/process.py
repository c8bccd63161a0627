"""Which process of which machine: what the names of partial files and the lock files say of their owner.

me = process.me()                # Owner(host="box", pid=4711, started=83121)
process.is_gone(me)              # False; True once it has ended, also if its number went to another process
"""

import functools
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Owner:
    """`host`: the machine's name, letters, digits and dashes; `started`: when the process began, in a unit of the
    machine's own, 0 if it cannot be known: a number that the system gives out again is not mistaken for it."""

    host: str
    pid: int
    started: int

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def me() -> Owner:
    """This process."""
    return _owner(os.getpid())  # asked anew each time: after a fork it is another one


@functools.lru_cache(maxsize=4)
def _owner(pid: int) -> Owner:
    return Owner(host=_host(), pid=pid, started=_started(pid) or 0)


@functools.cache
def _host() -> str:
    return re.sub(r"[^A-Za-z0-9-]", "-", platform.node())[:24] or "localhost"


def is_gone(owner: Owner) -> bool:
    """Whether the process has ended, as far as can be known: of another machine it cannot."""
    if owner.host != _host():
        return False
    started = _started(owner.pid)
    return started is None or (0 not in (started, owner.started) and started != owner.started)


def _started(pid: int) -> int | None:
    """When a process of this machine began; None if there is none, or one that has ended and is still listed."""
    if not Path("/proc/self/stat").exists():
        return _started_elsewhere(pid)
    try:
        # The name, in brackets, may hold anything; after it: the state, and as the twentieth the start in clock ticks.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def _started_elsewhere(pid: int) -> int | None:
    """The same where there is no /proc."""
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else int(process.create_time() * 100)
    except psutil.AccessDenied:
        return 0  # there is one
    except psutil.Error:
        return None
