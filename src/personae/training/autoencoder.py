"""Recipe `nano-autoencoder`: 128-px faces <-> (8, 16, 16) latents, for the UNet to live in.

`AutoencoderDC` with plain residual blocks: at this size it trains five times faster than `AutoencoderKL`.
"""

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from diffusers import AutoencoderDC
from torch import Tensor, nn

from personae.reading.differentiable import AlignedRecogniser
from personae.training.faces import FaceTable
from personae.training.loop import Metrics
from personae.types import Array

_WIDTHS, _DEPTHS = (32, 48, 96, 192), (0, 1, 2, 2)


def build_autoencoder() -> AutoencoderDC:
    """nano's autoencoder with fresh weights: 4.3 M parameters, f8, 8 channels."""
    return AutoencoderDC(
        latent_channels=8,
        encoder_block_types="ResBlock",
        decoder_block_types="ResBlock",
        encoder_block_out_channels=_WIDTHS,
        decoder_block_out_channels=_WIDTHS,
        encoder_layers_per_block=_DEPTHS,
        decoder_layers_per_block=_DEPTHS,
        encoder_qkv_multiscales=((),) * 4,
        decoder_qkv_multiscales=((),) * 4,
        downsample_block_type="pixel_unshuffle",
        upsample_block_type="pixel_shuffle",
    )


def _gradients(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]


def reconstruction_loss(made: Tensor, real: Tensor) -> Tensor:
    """L1 on pixels, on a three-level pyramid, and on image gradients (which keeps edges sharp)."""
    loss = F.l1_loss(made, real)
    for a, b in zip(_gradients(made), _gradients(real), strict=True):
        loss = loss + F.l1_loss(a, b)
    for _ in range(2):
        made, real = F.avg_pool2d(made, 2), F.avg_pool2d(real, 2)
        loss = loss + 0.5 * F.l1_loss(made, real)
    return loss


def psnr(made: Tensor, real: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of images in [-1, 1], averaged over the batch."""
    error = (made.clamp(-1, 1) - real).pow(2).mean(dim=(1, 2, 3))
    return (10 * torch.log10(4 / error)).mean()


def to_tensor(images: Array | Tensor) -> Tensor:
    """(N, H, W, 3) uint8 -> (N, 3, H, W) float32 in [-1, 1], channels last in memory."""
    return torch.as_tensor(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def save_half(model: Any, folder: Path) -> None:
    """Save a copy of a diffusers or transformers model in half precision."""
    # nn.Module's own `to`: diffusers' warns of modules to keep in float32 even where there are none.
    nn.Module.to(copied := deepcopy(model), torch.float16)
    copied.save_pretrained(folder)


def unevenness(latents: Tensor) -> Tensor:
    """How far latents (N, c, h, w) are from unit variance and zero mean in every channel, which is what a diffusion
    model likes to find."""
    spread = latents.var(dim=(0, 2, 3))
    return (spread - 1).pow(2).mean() + latents.mean(dim=(0, 2, 3)).pow(2).mean()


def export_scaled(vae: AutoencoderDC, latents: Tensor, folder: Path) -> None:
    """Write `vae/`, its scaling factor set so that such latents have unit spread."""
    vae.register_to_config(scaling_factor=round(1 / float(latents.std()), 4))
    save_half(vae, folder / "vae")


class _Codec(nn.Module):
    """Encoder, some noise, decoder, as one graph to compile. The noise teaches the decoder to take latents that
    a generator got slightly wrong."""

    def __init__(self, vae: AutoencoderDC) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        latents = self.vae.encoder(images)
        return self.vae.decoder(latents + noise), latents


class AutoencoderTask:
    """See `training.loop.Trainable`. The recogniser (teacher or bundled) keeps what makes a face its owner's."""

    def __init__(self, cache: Path, recogniser: Path, *, identity_every: int = 8, identity_weight: float = 0.2) -> None:
        self.faces = FaceTable.load(cache)
        self.held_out = FaceTable.load(cache, held_out=True, limit=256)
        self.recogniser = AlignedRecogniser(recogniser).eval()
        self.identity_every, self.identity_weight = identity_every, identity_weight
        self.model = _Codec(build_autoencoder())

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Any]:
        images = self.faces.crops[rng.integers(len(self.faces), size=size)]
        mirrored = rng.random(size) < 0.5
        images = np.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
        return {
            "images": np.ascontiguousarray(images),
            "judged": bool(rng.random() < 1 / self.identity_every),
        }

    def loss(self, model: nn.Module, batch: dict[str, Any], generator: torch.Generator) -> tuple[Tensor, Metrics]:
        real = to_tensor(batch["images"])
        strength = 0.15 * torch.rand(len(real), 1, 1, 1, generator=generator, device=real.device)
        noise = torch.randn(len(real), 8, 16, 16, generator=generator, device=real.device) * strength
        made, latents = model(real, noise)
        made, latents = made.float(), latents.float()
        loss = reconstruction_loss(made, real)
        loss = loss + 0.01 * unevenness(latents)
        figures: Metrics = {"psnr": psnr(made.detach(), real)}
        if batch["judged"]:
            self.recogniser.to(made.device)
            alike = (self.recogniser(made[:8]) * self.recogniser(real[:8])).sum(-1).mean()
            loss = loss + self.identity_weight * (1 - alike)
            figures["identity"] = alike.detach()
        return loss, figures

    def report(self, model: nn.Module) -> dict[str, float]:
        """PSNR (dB), the recogniser's cosine, and the latents' spread, on held-out faces."""
        home = next(model.parameters()).device
        real = to_tensor(self.held_out.crops).to(home)
        made, latents = (part.float() for part in model(real, torch.zeros(len(real), 8, 16, 16, device=home)))
        self.recogniser.to(home)
        alike = (self.recogniser(made) * self.recogniser(real)).sum(-1).mean()
        return {
            "held_out_psnr": float(psnr(made, real)),
            "held_out_cosine": float(alike),
            "spread": float(latents.std()),
        }

    def export(self, model: nn.Module, folder: Path) -> None:
        """`vae/`, in the diffusers layout, its scaling factor measured so that latents have unit spread."""
        vae = self.model.vae
        with torch.no_grad():
            latents = vae.encoder(to_tensor(self.held_out.crops).to(vae.device))
        export_scaled(vae, latents, folder)
