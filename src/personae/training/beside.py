"""Beside which base an adapter was trained: beside another one it does something else, or next to nothing. And of whose
latents a base of heads is: through another autoencoder they are noise.

note(run, base)          # as a training begins or goes on; raises if it was another base
belongs(run, base)
note_latents(run, vae)
makes_latents_of(run, vae)
"""

import hashlib
import json
from pathlib import Path

from safetensors import safe_open

from personae.errors import BadData
from personae.io import atomic
from personae.reading.onnx_file import file_sha256

_FILE, _LATENTS = "base.sha256", "latents.sha256"
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


def note_latents(run: Path, vae: Path) -> None:
    """Write down in the folder of a run of which autoencoder its latents are. Raises `BadData` if it began with those
    of another one."""
    if not makes_latents_of(run, vae):
        raise BadData(f"{run} was begun on the latents of another autoencoder than {vae}: move it away")
    with atomic.errors_about(run):
        run.mkdir(parents=True, exist_ok=True)
    atomic.write(run / _LATENTS, encoder_sha256(vae).encode(), replace=True)


def makes_latents_of(run: Path, vae: Path) -> bool:
    """Whether a run is on the latents of this autoencoder, or says nothing of it."""
    return not (run / _LATENTS).is_file() or (run / _LATENTS).read_text() == encoder_sha256(vae)


def encoder_sha256(vae: Path) -> str:
    """Of what makes latents of pictures, in a folder in diffusers' layout: a decoder that is trained further changes
    nothing of them."""
    found = hashlib.sha256()
    found.update(str(json.loads((vae / "config.json").read_text())["scaling_factor"]).encode())
    with safe_open(vae / "diffusion_pytorch_model.safetensors", "numpy") as weights:
        for name in sorted(weights.keys()):
            if name.startswith("encoder."):
                found.update(name.encode() + weights.get_tensor(name).tobytes())
    return found.hexdigest()


def _sha256(base: Path) -> str:
    """Of all weights, one hash after the other, line by line."""
    files = (path for part in _PARTS for path in sorted((base / part).glob("*.safetensors")))
    return "".join(f"{file_sha256(path)}\n" for path in files)
