"""What became of each input of a verb that takes many: paths or rows on stdout, errors on stderr, the exit code.

    with Report(as_json=as_json) as report:
        for photo in photos:
            with report.about(photo):
                report.wrote(rows)
    # exit code 2 if anything failed

A path is said as soon as it is written, so that nothing is lost if the work is stopped; JSON comes at the end, whatever
ends it, and says of each input that failed which it was and why.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import typer

from personae.cli.destination import STDOUT
from personae.console import AnswerLost, note, say, say_json
from personae.errors import BadOutput, LicenceRefused, PersonaeError, WeightsCorrupt, WeightsMissing

# Of the disk or the model: the next photo would fare no better.
_OF_ALL = (BadOutput, LicenceRefused, WeightsCorrupt, WeightsMissing)


class Report:
    """Rows for `--json` and whether something failed. `rows`: `{"path", ...}` or `{"photo", "error"}`."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.rows: list[dict[str, Any]] = []
        self._failed = False
        self._wrote = False
        self._reasons: Counter[str] = Counter()

    def wrote(self, rows: Sequence[dict[str, Any]]) -> None:
        """Files that have been written."""
        self.rows += rows
        self._wrote = self._wrote or bool(rows)
        if not self.as_json:
            self._say(rows)

    def wrote_page(self, path: Path) -> None:
        """A page beside them, which is no result."""
        if not self.as_json:
            self._say([{"path": str(path)}])

    def failed(self, name: str, error: PersonaeError) -> None:
        """An input that came to nothing."""
        self.rows.append({"photo": name, "error": str(error)})
        self._failed = True
        note(str(error) if name in str(error) else f"{name}: {error}")

    @contextmanager
    def about(self, name: str) -> Iterator[None]:
        """What goes wrong in the block is reported as this input's, and the others go on.

        Not so what is wrong with the disk, the model or the request: if nothing has been written yet and the same
        words come for a second input, they are not about either, and are raised.
        """
        try:
            yield
        except _OF_ALL:
            raise
        except PersonaeError as error:
            self._reasons[str(error)] += 1
            if not self._wrote and self._reasons[str(error)] > 1:
                raise
            self.failed(name, error)

    def __enter__(self) -> "Report":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.as_json and self.rows and not isinstance(error, AnswerLost):
            self._say(self.rows)
        if kind is None and self._failed:
            raise typer.Exit(2)

    def _say(self, rows: Sequence[dict[str, Any]]) -> None:
        paths = [row["path"] for row in rows if row.get("path") not in (None, str(STDOUT))]
        if self.as_json:
            with _named_if_lost(paths):
                say_json(rows)
        else:
            say_written(paths)


def say_written(paths: Sequence[object]) -> None:
    """Files that have been written, a line each: on stdout, or, if nobody hears it there, on stderr."""
    with _named_if_lost(paths):
        say(*paths)


@contextmanager
def _named_if_lost(paths: Sequence[object]) -> Iterator[None]:
    try:
        yield
    except AnswerLost:
        for path in paths:
            note(f"written: {path}")
        raise
