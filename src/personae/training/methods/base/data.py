"""Labelled faces as the UNet sees them: latents, identities, and prompts that hold."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderDC

from personae.reading import align
from personae.reading.differentiable import AlignedRecogniser
from personae.sampling.fast import modes
from personae.training.face_table import FaceTable
from personae.training.images import to_tensor
from personae.training.jitter import jitter
from personae.types import Array


@dataclass(frozen=True, kw_only=True)
class PromptMix:
    """Shares of the prompt kinds; the rest is the identity prompt alone."""

    empty: float = 0.1
    words: float = 0.1
    both: float = 0.25


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What the UNet trains on, row by row, plain [0] and mirrored [1]."""

    latents: Array  # (2, N, 8, 16, 16) float16, unit spread
    vectors: Array  # (2, N, V, D) float32: V views of each face
    inside: Array  # (2, N, 16, 16) uint8: latent cells whose pixels lie in the photo


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def encode(vae: AutoencoderDC, images: Array) -> Array:
    home = modes.device_for(None)
    vae.to(home)
    with torch.no_grad(), torch.autocast(home.type, torch.bfloat16):
        batches = (to_tensor(np.ascontiguousarray(images[i : i + 64])) for i in range(0, len(images), 64))
        latents = torch.cat([vae.encoder(batch.to(home)).float() for batch in batches])
    return (latents * vae.config.scaling_factor).cpu().numpy().astype(np.float16)


def views_of(embedder: AlignedRecogniser, images: Array, count: int, seed: int) -> Array:
    """(N, count, D): the plain crop and jittered ones, so that no single crop's vector is learnt by heart."""
    home = modes.device_for(None)
    rng, result = torch.Generator(home).manual_seed(seed), []
    embedder.to(home)
    with torch.no_grad(), torch.autocast(home.type, torch.bfloat16):
        for start in range(0, len(images), 64):
            batch = to_tensor(np.ascontiguousarray(images[start : start + 64])).to(home)
            views = [embedder(batch)]
            for _ in range(count - 1):
                views.append(embedder(batch, jitter(len(batch), rng)))
            result.append(torch.stack(views, 1))
    return torch.cat(result).cpu().numpy()


def inside(table: FaceTable, size: int) -> Array:
    """(N, 16, 16) uint8: cells of 8 x 8 crop pixels that lie wholly inside the photo."""
    cells = []
    for row in range(len(table)):
        side = 224  # FairFace's padded crops
        seen = align.coverage(table.matrix[row], size, (side, side))
        cells.append(seen.reshape(16, size // 16, 16, size // 16).all((1, 3)))
    return np.stack(cells).astype(np.uint8)


def sharpness(crops: Array) -> Array:
    """(N,) variance of the Laplacian of the grey crop, on its middle half: low means blurred."""
    grey = crops.mean(-1, dtype=np.float32)[:, 24:104, 24:104]
    laplacian = (
        -4 * grey[:, 1:-1, 1:-1] + grey[:, 2:, 1:-1] + grey[:, :-2, 1:-1] + grey[:, 1:-1, 2:] + grey[:, 1:-1, :-2]
    )
    return laplacian.var(axis=(1, 2))
