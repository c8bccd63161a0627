"""The networks that nano's trainings use and do not change: the autoencoder and the identity encoder."""

import hashlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from diffusers import AutoencoderDC
from torch import Tensor

from personae.reading.differentiable import AlignedRecogniser
from personae.reading.onnx_file import Network, file_sha256
from personae.sampling.fast import modes
from personae.sampling.fast.precision import best_dtype
from personae.shapes import Float, Float32
from personae.training.images import to_tensor
from personae.training.jitter import jitter
from personae.types import Array

_AT_ONCE = 64


class Identities:
    """Whom images show, as `AlignedRecogniser` sees them, without a gradient: on a CPU by ONNX Runtime, which takes
    less than half of the time. recogniser: of the file at `path`."""

    def __init__(self, recogniser: AlignedRecogniser, path: Path) -> None:
        self._recogniser = recogniser
        self._network = Network(path, sha256=file_sha256(path), source="crop", results={"identity": (None,)})

    @torch.no_grad()
    def __call__(
        self, images: Float[Tensor, "N 3 S S"], jitter: Float[Tensor, "N 2 3"] | None = None
    ) -> Float32[Tensor, "N D"]:
        """(N, D) unit vectors, on the device of the images (N, 3, S, S) in [-1, 1]. jitter: see `crops`."""
        if images.device.type != "cpu":
            return self._recogniser(images, jitter)
        (found,) = self._network(self._recogniser.crops(images, jitter).float().contiguous().numpy())
        return F.normalize(torch.from_numpy(found), dim=-1)


class FrozenNetworks:
    """vae: a folder in diffusers' layout. embedder: an `embedder.onnx`. template: in which pictures show faces.

    `key`: a hash of what encodes, for the names of what is computed with it."""

    def __init__(self, vae: Path, embedder: Path, template: str) -> None:
        self.vae = AutoencoderDC.from_pretrained(vae).requires_grad_(False).to(memory_format=torch.channels_last)
        self.embedder = AlignedRecogniser(embedder, source=template).eval()
        self._identities = Identities(self.embedder, embedder)
        self.key = encoder_key(self.vae) + file_sha256(embedder)

    def encode(self, images: Array) -> Array:
        """(N, c, h, w) float16 latents, scaled to unit spread, of (N, S, S, 3) uint8 crops."""
        home = modes.device_for(None)
        self.vae.to(home)
        with torch.no_grad(), autocast(home):
            parts = (to_tensor(np.ascontiguousarray(part)) for part in _parts(images))
            latents = torch.cat([self.vae.encoder(part.to(home)).float() for part in parts])
        return (latents * self.vae.config.scaling_factor).cpu().numpy().astype(np.float16)

    def views(self, images: Array, count: int, seed: int) -> Array:
        """(N, count, D) identities of (N, S, S, 3) uint8 crops: of the plain crop and of jittered ones, so that no
        single crop's vector is learnt by heart."""
        home = modes.device_for(None)
        rng, result = torch.Generator(home).manual_seed(seed), []
        self.embedder.to(home)
        with torch.no_grad(), autocast(home):
            for part in _parts(images):
                batch = to_tensor(np.ascontiguousarray(part)).to(home)
                views = [self._identities(batch)]
                for _ in range(count - 1):
                    views.append(self._identities(batch, jitter(len(batch), rng)))
                result.append(torch.stack(views, 1))
        return torch.cat(result).cpu().numpy()

    def decode(self, latents: Tensor) -> Tensor:
        """Images (N, 3, S, S) float32 of latents (N, c, h, w), with a gradient and not clamped."""
        images: Tensor = self.vae.decoder(latents / self.vae.config.scaling_factor)
        return images.float()

    def likeness(self, images: Tensor, vectors: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(N,) cosines of the identities in images (N, 3, S, S) to vectors (N, D), as the identity encoder sees them.

        generator: for a jittered crop of each image; None: the plain one.
        """
        found = self.embedder(images) if generator is None else self.embedder(images, jitter(len(images), generator))
        return (found * vectors).sum(-1)


def _parts(images: Array) -> list[Array]:
    return [images[start : start + _AT_ONCE] for start in range(0, len(images), _AT_ONCE)]


def encoder_key(vae: AutoencoderDC) -> str:
    """A hash of what makes latents of pictures: a decoder that is trained further changes nothing of them."""
    found = hashlib.sha256(str(vae.config.scaling_factor).encode())
    for name, weights in sorted(vae.encoder.state_dict().items()):
        found.update(name.encode() + weights.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def autocast(home: torch.device) -> torch.autocast:
    """To bfloat16 where that is faster: elsewhere it is emulated, ten times slower than float32."""
    return torch.autocast(home.type, torch.bfloat16, enabled=best_dtype(home) is torch.bfloat16)
