"""The networks that nano's trainings use and do not change: the autoencoder and the identity encoder."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from diffusers import AutoencoderDC
from torch import Tensor

from personae.errors import BadData
from personae.reading.differentiable import AlignedRecogniser
from personae.reading.onnx_file import Network, file_sha256
from personae.sampling.fast import modes
from personae.sampling.fast.precision import best_dtype
from personae.shapes import Float, Float32
from personae.training.jitter import jitter
from personae.training.small_decoder import SmallDecoder
from personae.types import Array


class Identities:
    """Whom images show, as `AlignedRecogniser` sees them, without a gradient: on a CPU by ONNX Runtime, which takes
    less than half of the time. recogniser: of the file at `path`."""

    def __init__(self, recogniser: AlignedRecogniser, path: Path) -> None:
        self._recogniser = recogniser
        self._network = Network(path, sha256=file_sha256(path), source="crop", results={"identity": (None,)})

    def to(self, device: torch.device) -> None:
        """Compute there from now on."""
        self._recogniser.to(device)

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
    """vae: a folder in diffusers' layout. embedder: an `embedder.onnx`. template: in which pictures show faces. small:
    a `SmallDecoder`'s folder, for what is judged; None: the autoencoder decodes that, too.

    `encoder_key`: a hash of what encodes. `key`: of that and of what identifies, for the names of what is computed with
    them. Raises `BadData` for a small decoder of other latents."""

    def __init__(self, vae: Path, embedder: Path, template: str, small: Path | None = None) -> None:
        self.vae = AutoencoderDC.from_pretrained(vae).requires_grad_(False).to(memory_format=torch.channels_last)
        self.embedder = AlignedRecogniser(embedder, source=template).eval()
        self._identities = Identities(self.embedder, embedder)
        self.encoder_key = encoder_key(self.vae)
        self.key = self.encoder_key + file_sha256(embedder)
        self._small = None if small is None else SmallDecoder.load(small)
        if self._small is not None and self._small.key != self.encoder_key:
            raise BadData(f"{small} decodes another encoder's latents: move its run away, and train it again")

    @torch.no_grad()
    def both_sides(
        self, batches: Iterator[Float32[Tensor, "n 3 S S"]], views: int, seed: int = 0
    ) -> tuple[Float[Array, "2 N c h w"], Float32[Array, "2 N V D"]]:
        """Latents (2, N, c, h, w) float16 of unit spread, and `views` identities of each picture (2, N, views, D), of
        images (n, 3, S, S) in [-1, 1], as they are and mirrored."""
        generator = torch.Generator(modes.device_for(None)).manual_seed(seed)
        pairs = [[self._encoded(side, views, generator) for side in (batch, batch.flip(3))] for batch in batches]
        latents, vectors = (
            np.stack([np.concatenate([pair[side][part] for pair in pairs]) for side in (0, 1)]) for part in (0, 1)
        )
        return latents, vectors

    @torch.no_grad()
    def one_side(
        self, batches: Iterator[Float32[Tensor, "n 3 S S"]]
    ) -> tuple[Float[Array, "N c h w"], Float32[Array, "N D"]]:
        """The same of images as they are, and the identities of their plain crops."""
        parts = [self._encoded(batch, 1, torch.Generator(modes.device_for(None))) for batch in batches]
        latents, vectors = (np.concatenate([part[number] for part in parts]) for number in (0, 1))
        return latents, vectors[:, 0]

    def _encoded(self, images: Tensor, views: int, generator: torch.Generator) -> tuple[Array, Array]:
        """Latents (n, c, h, w) and identities (n, views, D): of the plain crop, and of jittered ones, so that no single
        crop's vector is learnt by heart."""
        home = modes.device_for(None)
        self.vae.to(home)
        self.embedder.to(home)
        images = images.to(home).contiguous(memory_format=torch.channels_last)
        with autocast(home):
            latents = self.vae.encoder(images).float() * self.vae.config.scaling_factor
        jittered = [self._identities(images, jitter(len(images), generator)) for _ in range(views - 1)]
        vectors = torch.stack([self._identities(images), *jittered], 1)
        return latents.half().cpu().numpy(), vectors.cpu().numpy()

    def decode(self, latents: Tensor) -> Tensor:
        """Images (N, 3, S, S) float32 of latents (N, c, h, w), with a gradient and not clamped."""
        images: Tensor = self.vae.decoder(latents / self.vae.config.scaling_factor)
        return images.float()

    def for_judges(self, latents: Float[Tensor, "N c h w"]) -> Float[Tensor, "N 3 H W"]:
        """The same for judges inside a training: by the small decoder, if there is one, at a fraction of the cost."""
        if self._small is None:
            return self.decode(latents)
        images: Tensor = self._small.to(latents.device)(latents)
        return images

    def likeness(self, images: Tensor, vectors: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(N,) cosines of the identities in images (N, 3, S, S) to vectors (N, D), as the identity encoder sees them.

        generator: for a jittered crop of each image; None: the plain one.
        """
        found = self.embedder(images) if generator is None else self.embedder(images, jitter(len(images), generator))
        return (found * vectors).sum(-1)


def encoder_key(vae: AutoencoderDC) -> str:
    """A hash of what makes latents of pictures: a decoder that is trained further changes nothing of them."""
    found = hashlib.sha256(str(vae.config.scaling_factor).encode())
    for name, weights in sorted(vae.encoder.state_dict().items()):
        found.update(name.encode() + weights.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def autocast(home: torch.device) -> torch.autocast:
    """To bfloat16 where that is faster: elsewhere it is emulated, ten times slower than float32."""
    return torch.autocast(home.type, torch.bfloat16, enabled=best_dtype(home) is torch.bfloat16)
