"""What the verbs of the command line share: the model, the answers, the bar.

Results go to stdout, progress and notes to stderr. Brings no torch before a model is loaded.
"""

import errno
import json
import sys
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from personae.cli import libraries
from personae.errors import WeightsMissing

if TYPE_CHECKING:
    from personae.pipeline import FacePipeline
    from personae.reading.reader import FaceReader
    from personae.types import Edit, Generation, Photo

_LONGEST_NOTE = 4000  # letters: an error may quote a file
_JOINERS = "\u200c\u200d"  # Persian words and composed emoji have them


def load_model(
    model: str,
    quiet: bool,
    reader: "FaceReader | Literal[False] | None" = None,
    *,
    base: str | None = None,
    accept_licence: bool = False,
    dtype: str | None = None,
) -> "FacePipeline":
    """A pipeline whose own progress bar is off: `progress` shows one for all of its calls. dtype: torch's name of one,
    None: what suits the machine."""
    if is_silent(quiet):
        libraries.hide_bars()
    with spinner(f"loading {model}", quiet):
        import torch  # late: it takes a second

        from personae.pipeline import load

        precision = None if dtype is None else getattr(torch, dtype)
        pipe = load(model, reader=reader, base=base, accept_licence=accept_licence, torch_dtype=precision)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def require_reader(model: str, *, base: str | None = None, accept_licence: bool = False) -> "FaceReader":
    """A model's reader alone: reading needs no torch."""
    from personae.models.readers import open_reader

    reader = open_reader(model, base=base, accept_licence=accept_licence)
    if reader is None:
        raise WeightsMissing(f"model {model!r} has no reader for photos: give .identity files, or another model")
    return reader


def reader_for(
    sources: "Sequence[Path | Photo]", model: str, *, base: str | None = None, accept_licence: bool = False
) -> "FaceReader | None":
    """The model's reader, unless there is nothing to read."""
    from personae.gather import SUFFIX

    if all(isinstance(source, Path) and source.suffix == SUFFIX for source in sources):
        return None
    return require_reader(model, base=base, accept_licence=accept_licence)


def answer(result: "Generation | Edit", paths: Sequence[Path]) -> list[dict[str, Any]]:
    """What was written, file by file, as `--json` says it."""
    likeness = [None if v != v else round(v, 4) for v in result.likeness or []] or [None] * len(result.seeds)
    return [
        {"path": str(path), "seed": seed, "likeness": value}
        for path, seed, value in zip(paths, result.seeds, likeness, strict=False)
    ]


class AnswerLost(Exception):
    """Standard output takes no more: its disk is full, or (`closed`) who read it has gone. No `OSError`: those of a
    closed pipe Typer would end the program for."""

    def __init__(self, reason: OSError) -> None:
        super().__init__(f"the answer cannot be written to standard output: {reason.strerror or reason}")
        self.closed = reason.errno == errno.EPIPE


@contextmanager
def answering() -> Iterator[None]:
    """What writes to stdout; raises `AnswerLost` if it cannot."""
    try:
        yield
    except OSError as error:
        raise AnswerLost(error) from error


def say(*lines: object) -> None:
    """Each as one line on stdout. Raises `AnswerLost`."""
    with answering():
        for line in lines:
            typer.echo(plain(str(line)))


def say_json(value: Any) -> None:
    """`value` on stdout, in ASCII: JSON has escapes of its own. Raises `AnswerLost`."""
    with answering():
        typer.echo(json.dumps(value, indent=1).replace("\x7f", "\\u007f"))


def note(message: str) -> None:
    """One line on stderr."""
    with suppress(OSError):  # stderr is full or gone: there is nowhere left to say so
        typer.echo("personae: " + plain(" ".join(message.split())[:_LONGEST_NOTE]), err=True)


def plain(text: str) -> str:
    """`text` as one line that only says something: what would steer the terminal, or turn the order of the letters, is
    written out (`\\x1b`, `\\u202e`). File names, recipes, notes and errors are strangers' words, so all that verbs
    print passes through here."""
    return "".join(_escaped(one) if _steers(one) else one for one in text)


def _steers(letter: str) -> bool:
    """Control and format characters, lone surrogates and line separators; joiners are a part of words."""
    return letter not in _JOINERS and unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _escaped(letter: str) -> str:
    return letter.encode("ascii", "backslashreplace").decode() if ord(letter) > 0x7F else f"\\x{ord(letter):02x}"


@contextmanager
def noted() -> Iterator[None]:
    """What personae warns of meanwhile is one line on stderr, each once; what libraries warn of is not shown."""
    with warnings.catch_warnings():
        warnings.simplefilter("once", UserWarning)
        libraries.ignore_warnings()
        plainly = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, UserWarning):
                note(str(message))
            else:
                plainly(message, category, *where, **more)

        warnings.showwarning = show
        yield


def is_silent(quiet: bool) -> bool:
    """Whether nothing is to move on stderr: nobody is looking, or nobody wants it."""
    return quiet or not sys.stderr.isatty()


@contextmanager
def spinner(text: str, quiet: bool) -> Iterator[None]:
    """`text` and a turning wheel on stderr, meanwhile."""
    if is_silent(quiet):
        yield
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(plain(text))):
        yield


@contextmanager
def progress(quiet: bool, steps: int) -> Iterator[Callable[[str, int], dict[str, Any]]]:
    """Yields `stage(title, images)`, whose answer, passed to a pipeline's call, moves a bar on stderr."""
    if is_silent(quiet):
        yield lambda title, images: {}
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    # Redirected, what is said on stdout stands above the bar, but on stderr: right only if both are the terminal.

    columns = TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()) as bars:

        def stage(title: str, images: int) -> dict[str, Any]:
            task = bars.add_task(plain(f"{title} ({images})"), total=steps)

            def on_step_end(pipe: Any, step: int, t: Any, tensors: dict[str, Any]) -> dict[str, Any]:
                bars.update(task, completed=step + 1)
                return {}

            return {"callback_on_step_end": on_step_end}

        yield stage
