"""What the recipes that adapt the base by a LoRA share: the frozen base beside it, and what they write.

A LoRA here is trained attached, by peft, and shipped as every published one: `sampling.lora_weights` reads it back.
"""

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model_state_dict
from PIL import Image
from torch import Tensor, nn

from personae.io.tensors import in_half, save_tensors
from personae.sampling import codec
from personae.sampling.lora_weights import FILE
from personae.training import sheets
from personae.training.methods.base.network import IdentityToFace
from personae.types import Array

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
# The layers that the published LCM-LoRA changes, but for the time projections.
EVERYWHERE = (
    *ATTENTION,
    *("proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"),
    *("conv1", "conv2", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv"),
)
_SHEET = 24  # people


def attach(unet: nn.Module, targets: tuple[str, ...], rank: int) -> None:
    """A fresh LoRA on a diffusers UNet, which at first changes nothing."""
    unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=list(targets)))  # type: ignore[operator]


@dataclass(frozen=True, kw_only=True)
class Adapted:
    """`model`: the base with a LoRA, which alone learns. `frozen`: the base as it was."""

    model: IdentityToFace
    frozen: IdentityToFace

    @classmethod
    def of(cls, base: IdentityToFace, targets: tuple[str, ...], rank: int) -> "Adapted":
        """A fresh LoRA on the layers of `base` whose names end like `targets`."""
        base.requires_grad_(requires_grad=False)
        frozen: IdentityToFace = deepcopy(base).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        attach(base.unet, targets, rank)
        return cls(model=base, frozen=frozen)


def export_lora(unet: nn.Module, folder: Path) -> None:
    """Write the LoRA of `unet` into `folder`, in half precision."""
    folder.mkdir(parents=True, exist_ok=True)
    state = get_peft_model_state_dict(unet)
    save_tensors(folder / FILE, in_half({f"unet.{key}": value for key, value in state.items()}))


def sheet(crops: Array, images: Tensor) -> Image.Image:
    """Held-out people (N, S, S, 3) uint8 above images (N, 3, S, S) in [-1, 1]."""
    lower = codec.to_uint8(images)[:_SHEET]
    return sheets.in_rows(crops[: len(lower)], lower)
