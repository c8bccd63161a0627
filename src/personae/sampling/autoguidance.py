"""Guidance away from a worse version of the model (Karras et al. 2024, "Guiding a Diffusion Model with a Bad Version of
Itself"): an earlier state of the UNet predicts the unconditional half.

    predict = guided(unet, positive, negative, 2.0, weaker=pipe.component("autoguidance"))

Both make the same kind of mistakes, the weaker one larger ones; so the step from its prediction to the other leads away
from them: smears, streaks, features that disagree. It is as much arithmetic as guidance is anyway. The optional part
`autoguidance/` of a model's folder: a diffusers UNet that takes what the model's own takes.
"""

from pathlib import Path
from typing import Any

import diffusers
import torch

from personae.errors import WeightsCorrupt
from personae.model import Model
from personae.sampling.fast import cpu_layers

# What both are called with, and answer.
_ALIKE = (
    "in_channels",
    "out_channels",
    "cross_attention_dim",
    "class_embed_type",
    "projection_class_embeddings_input_dim",
)


def load(folder: Path, pipe: Model) -> Any:
    """In the precision of the pipeline's UNet. Raises `WeightsCorrupt` if it takes other inputs than that."""
    weaker = diffusers.UNet2DConditionModel.from_pretrained(
        folder, torch_dtype=pipe.unet.dtype, use_safetensors=True, local_files_only=True
    )
    require_alike(weaker, pipe.unet, folder)
    if any(isinstance(layer, cpu_layers.GemmConv2d) for layer in pipe.unet.modules()):
        cpu_layers.install(weaker)
    return weaker.requires_grad_(requires_grad=False).to(memory_format=torch.channels_last)


def require_alike(weaker: Any, unet: Any, folder: Path) -> None:
    """Raise `WeightsCorrupt` unless a UNet, read from `folder`, is called as another one is and answers alike."""
    for name in _ALIKE:
        found, wanted = weaker.config.get(name), unet.config.get(name)
        if found != wanted:
            raise WeightsCorrupt(
                f"{folder} is of another model: its {name} is {found}, that of the model's UNet {wanted}: use an "
                "earlier state of that UNet"
            )
