"""personae comfyui install DIR"""

from pathlib import Path
from typing import Annotated

import typer

from personae.cli.options import Force
from personae.console import say

comfyui = typer.Typer(help="Nodes for ComfyUI. Example: personae comfyui install ~/ComfyUI")


@comfyui.callback()
def _group() -> None:
    """Nodes for ComfyUI."""


@comfyui.command()
def install(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="ComfyUI's folder, where its main.py lies.")],
    force: Force = False,
) -> None:
    """Put the nodes into a ComfyUI, whose Python must have personae as well.

    Example: personae comfyui install ~/ComfyUI
    """
    from personae.serving.comfyui import install as nodes

    say(nodes.install(folder, force=force))
