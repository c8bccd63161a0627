"""Options that mean the same in every verb."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from personae.cli.completion import directions_like, models_like
from personae.cli.steering import typer_option


class OnNoFace(StrEnum):
    """What a photo without a face does."""

    error = "error"
    skip = "skip"


class Format(StrEnum):
    """The image formats that carry a recipe."""

    png = "png"
    jpg = "jpg"
    webp = "webp"


class Precision(StrEnum):
    """What UNet and autoencoder may compute in."""

    float32 = "float32"
    bfloat16 = "bfloat16"


Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="A named model (see: personae models) or a model folder.",
        autocompletion=models_like,
    ),
]
Base = Annotated[
    str | None, typer.Option(help="Folder or Hub id of Stable Diffusion 1.5, for Arc2Face's files that lie without it.")
]
Dtype = Annotated[
    Precision | None,
    typer.Option(help="Of UNet and autoencoder.", show_default="PERSONAE_DTYPE, or what is faster here, as measured"),
]
Licence = Annotated[bool, typer.Option("--accept-licence", help="Accept the model's licence; remembered.")]
Shift = Annotated[
    str | None,
    typer.Option(
        help="Everyone first changed by, e.g. age=1.5 (see: personae identity directions).",
        autocompletion=directions_like,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
Json = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]
Force = Annotated[bool, typer.Option("--force", "-f", help="Replace files that are there.")]
ImageFormat = Annotated[
    Format | None, typer.Option("--format", help="Of the results.", show_default="png, or as the name in -o says")
]
NoWatermark = Annotated[
    bool,
    typer.Option("--no-watermark", help="No watermark in the pixels; the recipe says so. PERSONAE_NO_WATERMARK=1."),
]
NoC2pa = Annotated[
    bool, typer.Option("--no-c2pa", help="No signed manifest (C2PA); the recipe says so. PERSONAE_NO_C2PA=1.")
]
Out = Annotated[
    Path, typer.Option("--out", "-o", help="Folder for the results; of one result, a file (ann.png), or - for stdout.")
]
Sources = Annotated[
    list[Path], typer.Argument(metavar="PHOTO", help="Photos, or .identity files; - is a photo from stdin.")
]
Target = Annotated[Path, typer.Option("--out", "-o", help="The .identity file to write, or - for stdout.")]
NoFace = Annotated[OnNoFace, typer.Option(help="What to do with a photo that shows no face.")]
Steps = Annotated[int | None, typer_option("num_inference_steps")]
Guidance = Annotated[float | None, typer_option("guidance_scale")]
