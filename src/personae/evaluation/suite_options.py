"""Options that mean the same in every suite of measurements."""

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[str, typer.Argument(help="A named model or a model folder.")]
ReportFile = Annotated[Path, typer.Option("-o", "--out", help="The JSON file to write, for tables in documents.")]
People = Annotated[int, typer.Option(help="How many held-out people.")]
Steps = Annotated[int | None, typer.Option(help="Sampling steps.", show_default="the model's")]
Source = Annotated[
    Path | None,
    typer.Option(help="Photos: a prepared cache or raw tars.", show_default="the usual places"),
]
Cache = Annotated[Path, typer.Option(help="Labelled photos: a cache of `personae prepare`.")]
TeachersFolder = Annotated[
    Path | None,
    typer.Option("--teachers", help="Folder of the labelling networks.", show_default="../shared/teachers"),
]
JudgeName = Annotated[
    str,
    typer.Option("--judge", help="Recogniser that judges: teacher, an .onnx with its preprocessing, or a .json."),
]
