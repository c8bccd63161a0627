"""What recipes write in diffusers' layouts."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderDC
from torch import Tensor, nn

from personae.shapes import Float


def save_half(model: Any, folder: Path) -> None:
    """Save a copy of a diffusers or transformers model in half precision."""
    # nn.Module's own `to`: diffusers' warns of modules to keep in float32 even where there are none.
    nn.Module.to(copied := deepcopy(model), torch.float16)
    without_origin(copied).save_pretrained(folder)


def without_origin(model: Any) -> Any:
    """The same model, whose diffusers config no longer says from which folder of this machine it was read."""
    if hasattr(model, "register_to_config"):
        model.register_to_config(_name_or_path="")
    return model


def export_scaled(vae: AutoencoderDC, latents: Float[Tensor, "N c h w"], folder: Path) -> None:
    """Write `vae/`, its scaling factor set so that such latents have unit spread."""
    vae.register_to_config(scaling_factor=round(1 / float(latents.std()), 4))
    save_half(vae, folder / "vae")
