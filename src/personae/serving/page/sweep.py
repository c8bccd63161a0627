"""Old files of the page are deleted: photos, and what they were made into, do not lie about.

sweep(folder, age=HOUR)      # now
repeat(shelf.sweep)          # every minute, as long as somebody has the shelf
"""

from __future__ import annotations

import shutil
import threading
import time
import weakref
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

HOUR = 3600.0
MINUTE = 60.0


def sweep(folder: Path, *, age: float, besides: Collection[Path] = ()) -> None:
    """Delete the folders in `folder` in which nothing has come or gone for `age` seconds. besides: those that stay."""
    oldest = time.time() - age
    with suppress(OSError):  # somebody else sweeps, too, or the page has ended
        for own in list(folder.iterdir()):
            with suppress(OSError):
                if own not in besides and own.is_dir() and own.stat().st_mtime < oldest:
                    shutil.rmtree(own, ignore_errors=True)


def repeat(work: Callable[[], None], *, pause: float = MINUTE) -> threading.Thread:
    """Call a method every `pause` seconds in a thread of its own, which ends with the method's object."""
    there = weakref.WeakMethod(work)
    thread = threading.Thread(target=_repeat, args=(there, pause), name="personae-page-sweep", daemon=True)
    thread.start()
    return thread


def _repeat(there: weakref.WeakMethod[Callable[[], None]], pause: float) -> None:
    while (work := there()) is not None:
        work()
        del work
        time.sleep(pause)
