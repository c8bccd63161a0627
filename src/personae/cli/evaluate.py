"""personae evaluate: how good a model, or its reader, is."""

from pathlib import Path
from typing import Annotated

import typer

from personae.cli.options import Base, Json, Licence, Quiet, Steps, models_like
from personae.cli.terminal import is_silent, load_model, require_reader, say, say_json


def evaluate(
    model: Annotated[str, typer.Argument(help="A named model or a model folder.", autocompletion=models_like)] = "nano",
    count: Annotated[int | None, typer.Option("--people", help="Held-out people.", show_default="200, or all")] = None,
    images: Annotated[int, typer.Option("--images", "-n", min=1, help="Images per person.")] = 4,
    reading: Annotated[bool, typer.Option("--reading", help="Measure the model's reader instead.")] = False,
    source: Annotated[
        Path | None, typer.Option(help="Photos: a prepared cache or raw tars.", show_default="what is there")
    ] = None,
    judge: Annotated[str, typer.Option(help="teacher, none, an .onnx with its preprocessing, or a .json.")] = "teacher",
    finder: Annotated[str, typer.Option(help="Who finds the faces to judge: reader or teacher.")] = "teacher",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for report and sheet.")] = Path("runs/evaluation"),
    seed: Annotated[int, typer.Option(min=0)] = 0,
    steps: Steps = None,
    guidance: Annotated[float | None, typer.Option(help="Of the generation.", show_default="the model's")] = None,
    base: Base = None,
    accept_licence: Licence = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Judge a model on held-out people: likeness, retrieval, diversity, realism; or its reader, with --reading.

    Example: personae evaluate nano --people 200
    """
    from personae.evaluation import reading as of_reader
    from personae.evaluation import report, tables

    shown = not is_silent(quiet)
    if reading:
        found = of_reader.evaluate_reader(
            require_reader(model, base=base, accept_licence=accept_licence),
            people=count,
            source=source,
            out=out,
            seed=seed,
            progress=shown,
        )
    else:
        found = report.evaluate(
            load_model(model, quiet, base=base, accept_licence=accept_licence),
            people=200 if count is None else count,
            images_per_person=images,
            judge=judge,
            finder=finder,
            source=source,
            out=out,
            seed=seed,
            steps=steps,
            guidance_scale=guidance,
            progress=shown,
        )
    if as_json:
        say_json(found)
        return
    from rich.console import Console

    Console().print(tables.rich_table(found))
    say(out)
