"""Encoder, decoder, and the discriminator that judges the decoder."""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from diffusers import AutoencoderDC
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from personae.shapes import Float
from personae.training.methods.portrait_autoencoder.features import CHANNELS

LATENTS, FACTOR = 16, 16


# diffusers' shortcuts share channels out evenly: each number divides four times the one before it.
_ENCODER, _ENCODER_DEPTHS = (32, 32, 64, 128, 256), (0, 1, 1, 2, 2)


_DECODER, _DECODER_DEPTHS = (48, 48, 96, 128, 256), (0, 2, 2, 2, 2)


_JUDGED = {1: "fine", 2: "middle", 3: "coarse"}  # maps of `FrozenFeatures` that the discriminator sees


def build_autoencoder(start: Path | None = None) -> AutoencoderDC:
    """With the weights of a folder, or fresh ones: f16, 16 channels, 1.2 + 3.1 GMAC at 192 px."""
    if start is not None:
        return AutoencoderDC.from_pretrained(start, torch_dtype=torch.float32)
    stages = len(_DECODER)
    return AutoencoderDC(
        latent_channels=LATENTS,
        encoder_block_types="ResBlock",
        decoder_block_types="ResBlock",
        encoder_block_out_channels=_ENCODER,
        decoder_block_out_channels=_DECODER,
        encoder_layers_per_block=_ENCODER_DEPTHS,
        decoder_layers_per_block=_DECODER_DEPTHS,
        encoder_qkv_multiscales=((),) * stages,
        decoder_qkv_multiscales=((),) * stages,
        downsample_block_type="pixel_unshuffle",
        upsample_block_type="pixel_shuffle",
    )


class Discriminator(nn.Module):
    """Scores of patches: one head for each of three maps of frozen features, each with the latents beside it.

    forward: maps of `FrozenFeatures`, z -> [(N, 1, h, w)].
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()

        def head(channels: int, stride: int) -> nn.Sequential:
            sizes = [(channels + LATENTS, width, stride), (width, width, stride), (width, width, 1)]
            layers: list[nn.Module] = []
            for inside, outside, step in sizes:
                layers += [spectral_norm(nn.Conv2d(inside, outside, 3, step, 1)), nn.LeakyReLU(0.2)]
            return nn.Sequential(*layers, spectral_norm(nn.Conv2d(width, 1, 1)))

        strides = {"fine": 2, "middle": 1, "coarse": 1}
        self.heads = nn.ModuleDict({name: head(CHANNELS[tap], strides[name]) for tap, name in _JUDGED.items()})

    def forward(
        self, maps: Sequence[Float[Tensor, "N _ _ _"]], z: Float[Tensor, "N c h w"]
    ) -> list[Float[Tensor, "N ..."]]:
        """See the class."""
        scores = []
        for tap, name in _JUDGED.items():
            beside = F.interpolate(z, maps[tap].shape[-2:])
            scores.append(self.heads[name](torch.cat((maps[tap], beside), 1)))
        return scores
