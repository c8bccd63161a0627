"""Put the nodes into a ComfyUI: a folder of two files, which import personae from ComfyUI's own environment."""

from pathlib import Path

from personae.errors import BadOption
from personae.io import atomic
from personae.version import __version__

FOLDER = "comfyui-personae"
_NEEDED = ("custom_nodes", "folder_paths.py", "comfy_api")  # what makes a folder a ComfyUI with the V3 interface
_INIT = '''"""Nodes of personae. Written by `personae comfyui install`; nothing is installed when ComfyUI starts."""

try:
    from personae.serving.comfyui.nodes import comfy_entrypoint
except ModuleNotFoundError as error:
    raise ImportError(
        f"{error}. These nodes need personae in ComfyUI's own Python: run `python -m pip install personae` with it"
    ) from error

__all__ = ["comfy_entrypoint"]
'''
_PROJECT = f"""[project]
name = "{FOLDER}"
version = "{__version__}"
description = "A face as a handle: read a photo, generate that person, blend, edit."
license = "Apache-2.0"
dependencies = ["personae"]

[tool.comfy]
DisplayName = "personae"
"""


def install(comfyui: Path, *, force: bool = False) -> Path:
    """Write the folder below `comfyui/custom_nodes`, and return it.

    comfyui: the folder that ComfyUI's `main.py` lies in. force: replace what an earlier version wrote. Raises
    `BadOption` if it is no ComfyUI, or one without the V3 interface; `BadOutput` if the folder is there already."""
    missing = [name for name in _NEEDED if not (comfyui / name).exists()]
    if missing:
        raise BadOption(
            f"{comfyui} holds no {missing[0]}: give the folder of the main.py of a ComfyUI of 2025-08 or later"
        )
    target = comfyui / "custom_nodes" / FOLDER
    with atomic.folder(target, replace=force) as partial:
        atomic.write(partial / "__init__.py", _INIT.encode())
        atomic.write(partial / "pyproject.toml", _PROJECT.encode())
    return target
