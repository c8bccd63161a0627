"""Memory that one step of sampling frees stays in the process until the next step needs it.

with keep_freed_memory():
    ...                      # many network calls

The C library hands each large block back to the system, and the next step pays for the page faults of getting it
again: a tenth of a step of SD 1.5 on two cores. Inside the block it waits; at the end everything unused goes back.
(Not for decoding: there it saves as much time, but at the decoder's sizes the gaps between what waits cost memory,
just where a request needs most.)
"""

import ctypes
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any

from personae.threads import WhileAny

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's names for mallopt
_LARGE = 256 << 20  # bytes: blocks up to this size wait
_USUAL = 32 << 20  # where glibc's own threshold ends up in any program that frees blocks as large


def keep_freed_memory() -> AbstractContextManager[None]:
    """A block in which freed memory is not handed back to the system. It acts on the whole process, as long as any of
    its threads is inside; without glibc, nothing changes."""
    return _while_any


@contextmanager
def _larger_thresholds() -> Iterator[None]:
    _set_thresholds(_LARGE)
    try:
        yield
    finally:
        _set_thresholds(_USUAL)
        release_freed_memory()


_while_any = WhileAny(_larger_thresholds)


def release_freed_memory() -> None:
    """Hand all freed memory back to the system."""
    if libc := _glibc():
        libc.malloc_trim(0)


def _set_thresholds(size: int) -> None:
    if libc := _glibc():
        libc.mallopt(_MMAP_THRESHOLD, size)
        libc.mallopt(_TRIM_THRESHOLD, 2 * size)  # glibc keeps the two in this proportion


@cache
def _glibc() -> Any:
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:
        return None
    return libc if hasattr(libc, "gnu_get_libc_version") else None
