"""`lora`: a LoRA of the UNet from a file, for the time of one request: another style.

pipe(face, lora="ink.safetensors", lora_scale=0.8)
pipe.edit("style", target="me.jpg", lora="ink.safetensors", strength=0.6)
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from personae.controls.request import Plan, Request
from personae.errors import BadOption
from personae.model import Model
from personae.reading.onnx_file import file_sha256
from personae.sampling.lora_weights import Lora

STRONGEST = 2.0


def steer(pipe: Model, request: Request, options: Mapping[str, Any]) -> Plan | None:
    """See `registry.Control`. Raises `BadOption` for a scale without a file or out of 0-2;
    `WeightsMissing`, `WeightsCorrupt` as `Lora.read`."""
    source, scale = options.get("lora"), options.get("lora_scale")
    if source is None:
        if scale is not None:
            raise BadOption(f"lora_scale {scale} needs a LoRA: give the file too, as lora")
        return None
    scale = _checked(1.0 if scale is None else scale)
    path = _file(source)
    settings = {"lora": {"sha256": file_sha256(path), "name": path.name}, "lora_scale": scale}
    return Plan(hooks=[Lora.read(path, pipe.unet).at(scale)], settings=settings)


def _file(source: Any) -> Path:
    if not isinstance(source, str | os.PathLike):
        raise BadOption(f"a LoRA is the path of a safetensors file, got {source!r:.80}")
    return Path(source)


def _checked(scale: Any) -> float:
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 <= scale <= STRONGEST:
        raise BadOption(f"lora_scale lies between 0 and {STRONGEST:g}, got {scale!r}")
    return float(scale)
