"""What is trained of an autoencoder: encoder, some noise, decoder, as one graph to compile."""

from diffusers import AutoencoderDC
from torch import Tensor, nn


class NoisyCodec(nn.Module):
    """The noise teaches the decoder to take latents that a generator got slightly wrong."""

    def __init__(self, vae: AutoencoderDC) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Of `images` (N, 3, H, W), the pictures again (N, 3, H, W), from latents with `noise` (N, c, h, w), and the
        latents (N, c, h, w) without."""
        latents = self.vae.encoder(images)
        return self.vae.decoder(latents + noise), latents
