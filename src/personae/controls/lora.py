"""`lora` and `lora_scale`: a LoRA of the UNet from a file, for the time of one request: another style.

pipe(face, lora="ink.safetensors", lora_scale=0.8)
pipe.edit("style", target="me.jpg", lora="ink.safetensors", strength=0.6)
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from personae.controls.control import Control
from personae.controls.option import option
from personae.controls.request import Plan, Request
from personae.errors import BadOption
from personae.io.json_kinds import Number

if TYPE_CHECKING:
    from personae.model import Model


@dataclass(frozen=True, kw_only=True)
class LoraControl(Control):
    """A LoRA merged into the UNet's weights while the request runs."""

    group: ClassVar[str] = "Style"

    lora: str | os.PathLike[str] | None = option(
        type="file", in_commands=False, help="The safetensors file of a LoRA made for the model."
    )
    lora_scale: float = option(
        Number(low=0, high=2),
        step=0.05,
        default=1.0,
        needs=("lora",),
        in_commands=False,
        help="How strongly it acts, 0-2.",
    )

    def plan(self, model: Model, request: Request) -> Plan | None:
        """Raises `BadOption` for what is no path; `WeightsMissing`, `WeightsCorrupt` as `Lora.read`."""
        if self.lora is None:
            return None
        if not isinstance(self.lora, str | os.PathLike):
            raise BadOption(f"a LoRA is the path of a safetensors file, got {self.lora!r:.80}")
        from personae.reading.onnx_file import file_sha256  # late: they bring onnx and torch
        from personae.sampling.lora_weights import Lora

        path = Path(self.lora)
        settings = {"lora": {"sha256": file_sha256(path), "name": path.name}, "lora_scale": self.lora_scale}
        return Plan(hooks=[Lora.read(path, model.unet).at(self.lora_scale)], settings=settings)
