"""The photos that a verb is given: all of them looked at before any work, `-` read from standard input.

    sources = inputs.opened([Path("me.jpg"), Path("-")])
    good = inputs.sound(sources, report)      # what is missing or no picture is reported now, not in an hour

A look is cheap: is there a file, do its first bytes make it a picture, of what size? Damage further in shows when it is
read.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personae.errors import BadImage, BadOption, PersonaeError

if TYPE_CHECKING:
    from personae.cli.report import Report
    from personae.types import Photo

STDIN = Path("-")


@dataclass(frozen=True, kw_only=True)
class Input:
    """One photo, or file, as typed: its `name` and `stem`; `source`, what reads it: the path, or what came through
    standard input; `error`: why it will not do, as far as a look can tell."""

    name: str
    stem: str
    source: "Path | Photo"
    error: PersonaeError | None = None


def opened(paths: Sequence[Path]) -> list[Input]:
    """A look at each. Raises `BadOption` if standard input is named twice."""
    if sum(path == STDIN for path in paths) > 1:
        raise BadOption("- is standard input, and holds one photo: name it once")
    return [_look(path) for path in paths]


def one(path: Path) -> Input:
    """The same for a photo without which there is nothing to do. Raises what is wrong with it."""
    found = _look(path)
    if found.error is not None:
        raise found.error
    return found


def sound(inputs: Sequence[Input], report: "Report") -> list[Input]:
    """Those that may do; the others are reported."""
    for found in inputs:
        if found.error is not None:
            report.failed(found.name, found.error)
    return [found for found in inputs if found.error is None]


def require(inputs: Sequence[Input]) -> None:
    """Raise what is wrong if one will not do, after a note on each of the others."""
    from personae.console import note

    errors = [found.error for found in inputs if found.error is not None]
    for error in errors[:-1]:
        note(str(error))
    if errors:
        raise errors[-1]


def opened_files(options: Mapping[str, Any]) -> list[Input]:
    """A look at the files among the values of options, alone or in a list: what they hold is for others to say."""
    values = [one for value in options.values() for one in (value if isinstance(value, list) else [value])]
    files = [value for value in values if isinstance(value, Path)]
    lacking = {path: BadImage(f"no such file: {path}") for path in files if not path.is_file()}
    return [Input(name=str(path), stem=path.stem, source=path, error=lacking.get(path)) for path in files]


def _look(path: Path) -> Input:
    from personae import identity
    from personae.gather import SUFFIX, UNNAMED
    from personae.reading.photo import check_photo

    name, stem = str(path), path.stem
    try:
        if path == STDIN:
            return Input(name=name, stem=UNNAMED, source=_from_stdin())
        if path.suffix == SUFFIX:
            identity.load(path)
        else:
            check_photo(path)
    except PersonaeError as error:
        return Input(name=name, stem=stem, source=path, error=error)
    return Input(name=name, stem=stem, source=path)


def _from_stdin() -> "Photo":
    from personae.reading.photo import MAX_BYTES, load_photo

    content = sys.stdin.buffer.read(MAX_BYTES + 1)
    if not content:
        raise BadImage("standard input (-) is empty: send a photo through it")
    try:
        return load_photo(content)
    except BadImage as error:
        raise BadImage(f"standard input (-): {error}") from error
