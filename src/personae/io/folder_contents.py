"""A stranger's folder: only regular files of bounded size, and no link that leads out of it.

    require_plain(Path("models/ann"))        # WeightsCorrupt, naming what is not allowed

Such a link would be read as the model's, and copied with it into the next folder that is saved and sent on. The Hub's
cache, whose snapshots are links to the blobs of the same repository, is as it should be.
"""

import os
import stat
from pathlib import Path

from personae.errors import PersonaeError, WeightsCorrupt
from personae.io import regular
from personae.io.boundary import errors_as

_MOST_FILES = 10_000
_TEXTS = (".json", ".txt")
_SNAPSHOTS, _BLOBS = "snapshots", "blobs"  # of the Hub's cache: models--owner--name/snapshots/REVISION/


def require_plain(folder: Path, error: type[PersonaeError] = WeightsCorrupt) -> None:
    """Raise `error` unless everything below `folder` is a folder or a file that may be read."""
    with errors_as(error, f"{folder} cannot be looked through"):
        allowed = _allowed(folder.resolve())
        count = 0
        for place, folders, files in os.walk(folder):
            for name in (*folders, *files):
                count += 1
                if count > _MOST_FILES:
                    raise error(f"{folder} holds more than {_MOST_FILES} files: no model does")
                _require_plain(Path(place, name), allowed, error)


def _allowed(root: Path) -> tuple[Path, ...]:
    """Where the links of a folder may lead: in the Hub's cache also those of a folder inside a snapshot."""
    for place in (root, root.parent):
        if place.parent.name == _SNAPSHOTS:
            return (root, place.parent.parent / _BLOBS)
    return (root,)


def _require_plain(path: Path, allowed: tuple[Path, ...], error: type[PersonaeError]) -> None:
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        goal = path.resolve()  # a loop is an error of its own
        if not any(goal.is_relative_to(place) for place in allowed):
            raise error(f"{path} is a link that leads out of its folder: put a copy of the file there")
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise error(f"{path} is a link to a folder: put a copy of the folder there")
    if stat.S_ISDIR(found.st_mode):
        return
    if not stat.S_ISREG(found.st_mode):
        raise error(f"{path} is {regular.kind_of(found.st_mode)}: give a regular file")
    most = regular.MOST_JSON if path.suffix.lower() in _TEXTS else regular.MOST_WEIGHTS
    if found.st_size > most:
        raise error(f"{path} has {found.st_size} bytes, more than the {most} that such a file may have")
