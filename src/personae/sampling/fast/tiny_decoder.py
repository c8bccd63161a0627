"""TAESD (Bohan 2023): a decoder of 1.2 million weights in place of the autoencoder's, eighteen times less arithmetic.

    images = codec.decode(pipe.component("taesd"), latents)

The optional part `taesd/` of a model folder: a diffusers `AutoencoderTiny` for the same latents, such as
huggingface.co/madebyollin/taesd for Stable Diffusion 1.5. Fine detail is what it costs.
"""

from pathlib import Path
from typing import Any

import diffusers
import torch

from personae.errors import WeightsCorrupt
from personae.model import Model


def load(folder: Path, pipe: Model) -> Any:
    """In the precision of the pipeline's autoencoder. Raises `WeightsCorrupt` if it decodes other latents than the
    pipeline's."""
    decoder = diffusers.AutoencoderTiny.from_pretrained(
        folder, torch_dtype=pipe.vae.dtype, use_safetensors=True, local_files_only=True
    )
    channels, wanted = decoder.config.latent_channels, pipe.unet.config.out_channels
    if channels != wanted:
        raise WeightsCorrupt(
            f"{folder} decodes latents of {channels} channels, this model's have {wanted}: use the one made for it"
        )
    return decoder.to(memory_format=torch.channels_last)
