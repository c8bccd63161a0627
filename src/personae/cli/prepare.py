"""personae prepare [photos] FOLDER | people: data to train on, labelled by published networks."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from personae.console import say

Teachers = Annotated[Path, typer.Option(help="The labellers' folder.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes.")]


class _PhotosUnlessNamed(TyperGroup):
    """`prepare FOLDER` is short for `prepare photos FOLDER`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and "--help" not in args:
            args = ["photos", *args]
        return super().parse_args(ctx, args)


data = typer.Typer(
    cls=_PhotosUnlessNamed,
    help="Label photos for training (`prepare FOLDER` is short for `prepare photos FOLDER`), or draw people who do "
    "not exist. Example: personae prepare ../shared/faces -o cache/faces",
)


@data.command()
def photos(
    source: Annotated[Path, typer.Argument(help="A folder of photo tars (WebDataset).")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the labelled shards.")] = Path("cache/faces"),
    teachers: Teachers = Path("../shared/teachers"),
    workers: Workers = 2,
) -> None:
    """Label photos for training: detect, align, measure, embed. A stopped run goes on with the same command.

    Example: personae prepare photos ../shared/faces -o cache/faces
    """
    from personae.data.prepare import prepare as run

    for name, found in run(source, out, teachers, workers).items():
        say(f"{name}: {found} photos")


@data.command()
def people(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the labelled shards.")] = Path("cache/people"),
    count: Annotated[int, typer.Option("--people", min=1, help="How many, rounded up to whole shards.")] = 20_000,
    views: Annotated[int, typer.Option(min=1, help="Pictures of each.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Another one: other people.")] = 0,
    wheel: Annotated[
        Path | None,
        typer.Option(help="PyPI's random_face-2021.7.21.1-py3-none-any.whl.", show_default="fetched by pip"),
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="What draws: openvino or torch.", show_default="openvino if installed")
    ] = None,
    teachers: Teachers = Path("../shared/teachers"),
    workers: Workers = 1,
) -> None:
    """Draw people who do not exist, in several views each, labelled as photos are. A stopped run goes on with the
    same command, and its finished shards can be used meanwhile.

    The generator descends from StyleGAN2-FFHQ, whose licence is non-commercial: dataset.json says what that means
    for whatever is trained on its pictures.

    Example: personae prepare people -o cache/people --people 20000 --views 3
    """
    from personae.data.people import Settings, prepare_people

    settings = Settings(people=count, views=views, seed=seed)
    for name, found in prepare_people(out, teachers, settings, wheel=wheel, backend=backend, workers=workers):
        say(f"{name}: {found} pictures")
