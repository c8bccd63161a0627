"""Beside which base an adapter was trained: beside another one it does something else, or next to nothing.

note(run, base)          # as a training begins or goes on; raises if it was another base
belongs(run, base)
"""

from pathlib import Path

from personae.errors import BadData
from personae.io import atomic
from personae.reading.onnx_file import file_sha256

_FILE = "base.sha256"
_PARTS = ("unet", "text_encoder")


def note(run: Path, base: Path) -> None:
    """Write down in the folder of a run which base it is beside.

    base: the folder of its UNet and text encoder. Raises `BadData` if the run began beside another one,
    `BadOutput` if it cannot be written.
    """
    if (run / _FILE).is_file() and not belongs(run, base):
        raise BadData(f"{run} was begun beside another base than {base}: move it away, and it begins anew")
    with atomic.errors_about(run):
        run.mkdir(parents=True, exist_ok=True)
    atomic.write(run / _FILE, _sha256(base).encode(), replace=True)


def belongs(run: Path, base: Path) -> bool:
    """Whether a run was beside this base. One that says nothing was not."""
    return (run / _FILE).is_file() and (run / _FILE).read_text() == _sha256(base)


def _sha256(base: Path) -> str:
    """Of all weights, one hash after the other, line by line."""
    files = (path for part in _PARTS for path in sorted((base / part).glob("*.safetensors")))
    return "".join(f"{file_sha256(path)}\n" for path in files)
