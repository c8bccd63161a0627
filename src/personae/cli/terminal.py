"""What the verbs of the command line share: the model, the answers, the bar.

Results go to stdout, progress and notes to stderr. Brings no torch before a model is loaded.
"""

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from personae.cli import libraries
from personae.console import note, plain
from personae.errors import WeightsMissing

if TYPE_CHECKING:
    from personae.pipeline import FacePipeline
    from personae.reading.reader import FaceReader
    from personae.types import Edit, Generation, Photo


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
    with spinner(f"loading {model}", quiet), libraries.uncollected():
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
