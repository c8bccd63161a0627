"""Recipe `nano-autoencoder`: 128-px faces <-> (8, 16, 16) latents, for the UNet to live in.

`AutoencoderDC` with plain residual blocks: at this size it trains five times faster than `AutoencoderKL`.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from personae.reading.differentiable import AlignedRecogniser
from personae.shapes import Float
from personae.training.export import export_scaled
from personae.training.face_table import FaceTable
from personae.training.images import psnr, to_tensor
from personae.training.loop import Metrics
from personae.training.losses import unevenness
from personae.training.methods.autoencoder.network import build_autoencoder
from personae.training.methods.autoencoder.noisy_codec import NoisyCodec


def _gradients(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]


def reconstruction_loss(decoded: Float[Tensor, "N 3 H W"], real: Float[Tensor, "N 3 H W"]) -> Float[Tensor, ""]:
    """L1 on pixels, on a three-level pyramid, and on image gradients (which keeps edges sharp)."""
    loss = F.l1_loss(decoded, real)
    for a, b in zip(_gradients(decoded), _gradients(real), strict=True):
        loss = loss + F.l1_loss(a, b)
    for _ in range(2):
        decoded, real = F.avg_pool2d(decoded, 2), F.avg_pool2d(real, 2)
        loss = loss + 0.5 * F.l1_loss(decoded, real)
    return loss


class AutoencoderTask:
    """See `training.loop.Trainable`. The recogniser (teacher or bundled) keeps what makes a face its owner's."""

    def __init__(self, cache: Path, recogniser: Path, *, identity_every: int = 8, identity_weight: float = 0.2) -> None:
        self.faces = FaceTable.load(cache)
        self.held_out = FaceTable.load(cache, held_out=True, limit=256)
        self.recogniser = AlignedRecogniser(recogniser).eval()
        self.identity_every, self.identity_weight = identity_every, identity_weight
        self.model = NoisyCodec(build_autoencoder())

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Any]:
        images = self.faces.crops[rng.integers(len(self.faces), size=size)]
        mirrored = rng.random(size) < 0.5
        images = np.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
        return {
            "images": np.ascontiguousarray(images),
            "judged": bool(rng.random() < 1 / self.identity_every),
        }

    def loss(
        self, model: nn.Module, batch: dict[str, Any], generator: torch.Generator
    ) -> tuple[Float[Tensor, ""], Metrics]:
        real = to_tensor(batch["images"])
        strength = 0.15 * torch.rand(len(real), 1, 1, 1, generator=generator, device=real.device)
        noise = torch.randn(len(real), 8, 16, 16, generator=generator, device=real.device) * strength
        decoded, latents = model(real, noise)
        decoded, latents = decoded.float(), latents.float()
        loss = reconstruction_loss(decoded, real)
        loss = loss + 0.01 * unevenness(latents)
        figures: Metrics = {"psnr": psnr(decoded.detach(), real)}
        if batch["judged"]:
            self.recogniser.to(decoded.device)
            alike = (self.recogniser(decoded[:8]) * self.recogniser(real[:8])).sum(-1).mean()
            loss = loss + self.identity_weight * (1 - alike)
            figures["identity"] = alike.detach()
        return loss, figures

    def report(self, model: nn.Module) -> dict[str, float]:
        """PSNR (dB), the recogniser's cosine, and the latents' spread, on held-out faces."""
        home = next(model.parameters()).device
        real = to_tensor(self.held_out.crops).to(home)
        decoded, latents = (part.float() for part in model(real, torch.zeros(len(real), 8, 16, 16, device=home)))
        self.recogniser.to(home)
        alike = (self.recogniser(decoded) * self.recogniser(real)).sum(-1).mean()
        return {
            "held_out_psnr": float(psnr(decoded, real)),
            "held_out_cosine": float(alike),
            "spread": float(latents.std()),
        }

    def export(self, model: nn.Module, folder: Path) -> None:
        """`vae/`, in the diffusers layout, its scaling factor measured so that latents have unit spread."""
        vae = self.model.vae
        with torch.no_grad():
            latents = vae.encoder(to_tensor(self.held_out.crops).to(vae.device))
        export_scaled(vae, latents, folder)
