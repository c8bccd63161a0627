"""Options that mean the same in every verb."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class OnNoFace(StrEnum):
    """What a photo without a face does."""

    error = "error"
    skip = "skip"


class Format(StrEnum):
    """The image formats that carry a recipe."""

    png = "png"
    jpg = "jpg"
    webp = "webp"


Model = Annotated[str, typer.Option("--model", "-m", help="A named model (see: personae models) or a model folder.")]
Base = Annotated[
    str | None, typer.Option(help="Folder or Hub id of Stable Diffusion 1.5, for Arc2Face's files that lie without it.")
]
Licence = Annotated[bool, typer.Option("--accept-licence", help="Accept the model's licence; remembered.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
Json = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]
Force = Annotated[bool, typer.Option("--force", "-f", help="Replace files that are there.")]
Sources = Annotated[list[Path], typer.Argument(metavar="PHOTO", help="Photos, or .identity files.")]
Target = Annotated[Path, typer.Option("--out", "-o", help="The .identity file to write.")]
NoFace = Annotated[OnNoFace, typer.Option(help="What to do with a photo that shows no face.")]
Steps = Annotated[
    int | None, typer.Option(help="Sampling steps; more is slower and finer.", show_default="the model's")
]
