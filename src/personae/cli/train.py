"""personae train | assemble: from labelled photos to a model folder."""

from pathlib import Path
from typing import Annotated

import typer

from personae.cli.completion import starting
from personae.console import say, say_json
from personae.errors import BadOption
from personae.training.recipe_table import SUMMARIES


def train(
    recipe: Annotated[str | None, typer.Argument(help="Which run.", autocompletion=starting(SUMMARIES))] = None,
    list_: Annotated[bool, typer.Option("--list", help="Say which recipes there are.")] = False,
    cache: Annotated[Path, typer.Option(help="Labelled shards, made by personae prepare.")] = Path("cache/faces"),
    teachers: Annotated[Path, typer.Option(help="The labellers' folder.")] = Path("../shared/teachers"),
    runs: Annotated[Path, typer.Option(help="Where runs lie; this one goes into a folder of its name.")] = Path("runs"),
    people: Annotated[
        Path | None,
        typer.Option(
            help="For nano-embedder... and portrait-...: people who do not exist, of personae prepare people."
        ),
    ] = None,
    draw: Annotated[
        int,
        typer.Option(
            min=0,
            help="For portrait...: people drawn where it trains, by the generator and views that lie in --people.",
        ),
    ] = 0,
    data: Annotated[
        Path | None, typer.Option(help="face0-sd15: captioned pictures, in folders or tars; facex-sd15: photos.")
    ] = None,
    base: Annotated[
        Path | None, typer.Option(help="face0-sd15: the Stable Diffusion 1.5 to begin from; facex-sd15: a model.")
    ] = None,
    reader: Annotated[str, typer.Option(help="face0-sd15: the model whose reader measures the faces.")] = "nano",
    backbone: Annotated[Path | None, typer.Option(help="facex-sd15: a DINOv2 to begin with, a folder.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's.")] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Stop after so long; resume with the same command.")
    ] = None,
    compile: Annotated[  # noqa: A002
        bool | None, typer.Option("--compile/--no-compile", help="Whether torch compiles the network.")
    ] = None,
) -> None:
    """Train a part of a model by its recipe. A stopped run goes on, exactly, with the same command.

    Example: personae train nano-base --cache cache/faces
    """
    if list_:
        for name, summary in SUMMARIES.items():
            say(f"{name:24} {summary}")
        return
    if recipe is None:
        raise BadOption(f"name a recipe: {', '.join(SUMMARIES)} (or --list)")
    from personae.training import recipes

    say_json(
        recipes.run(
            recipe,
            cache=cache,
            teachers=teachers,
            runs=runs,
            steps=steps,
            minutes=minutes,
            compiled=compile,
            people=people,
            draw=draw,
            data=data,
            base=base,
            reader=reader,
            backbone=backbone,
        )
    )


def assemble(
    out: Annotated[Path, typer.Option("--out", "-o", help="The model folder to write.")] = Path("runs/nano"),
    cache: Annotated[Path, typer.Option(help="Labelled shards, made by personae prepare.")] = Path("cache/faces"),
    runs: Annotated[Path, typer.Option(help="Where the recipes' runs lie.")] = Path("runs"),
    final: Annotated[
        str, typer.Option(help="The recipe whose UNet is taken.", autocompletion=starting(SUMMARIES))
    ] = "face0-nano",
    limits: Annotated[
        Path | None,
        typer.Option(help="A measured limits.json: how far it turns a head.", show_default="the bundled model's"),
    ] = None,
    autoguidance: Annotated[
        Path | None, typer.Option(help="An earlier export of the base: guidance leads away from its UNet.")
    ] = None,
) -> None:
    """Put the exports of nano's recipes together as one model folder.

    Example: personae assemble -o runs/nano
    """
    from personae.training.assemble import assemble as put_together

    put_together(out, cache=cache, runs=runs, final=final, limits=limits, autoguidance=autoguidance)
    say(out)
