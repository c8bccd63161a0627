"""What a portrait base learns from: latents of heads, several identities of each, and who is who.

    people = of_caches(["cache/people", "cache/faces"], encoder)
    drawn = of_stream(stream, encoder, people=50_000, views=3)      # on a GPU, in minutes
    everybody = LatentFaces.joined([people, drawn])

What the networks make of a cache's pictures is stored beside them.

Legend: N pictures, V crops whose identities are kept of each picture, (c, h, w) of a latent, D width of an identity,
S side of a head in pixels.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderDC
from torch import Tensor

from personae.data.people_stream import PeopleStream
from personae.errors import BadData
from personae.reading import align
from personae.reading.differentiable import AlignedRecogniser
from personae.reading.onnx_file import file_sha256
from personae.training import captions
from personae.training.face_table import FaceTable
from personae.training.frame import HEAD
from personae.training.images import to_tensor
from personae.training.jitter import jitter
from personae.training.methods.base.data import VIEWS, LatentFaces, people_of, stored_rows
from personae.training.methods.base.frozen import Identities, encoder_key
from personae.training.picture_kinds import measures, of_drawn, worth_learning
from personae.types import Array

_AT_ONCE = 32  # pictures that are encoded together
_SAME = 0.5  # the least cosine of a view that was drawn to its person's first, by the encoder that conditions


class Encoder:
    """Pictures to what is kept of them: latents, and identities of several crops.

    vae: a folder in diffusers' layout. embedder: an `embedder.onnx`. key: a hash of what encodes, for the names of what
    is computed with it."""

    def __init__(self, vae: Path, embedder: Path, device: torch.device) -> None:
        frozen = AutoencoderDC.from_pretrained(vae).requires_grad_(False).to(memory_format=torch.channels_last)
        self.key = encoder_key(frozen) + file_sha256(embedder)
        self.vae, self.device = frozen.to(device), device
        self.recogniser = AlignedRecogniser(embedder, source=HEAD.template).eval().to(device)
        self._identities = Identities(self.recogniser, embedder)

    @torch.no_grad()
    def both_sides(self, batches: Iterator[Tensor], views: int, seed: int = 0) -> tuple[Array, Array]:
        """Latents (2, N, c, h, w) float16 and identities (2, N, views, D) float32 of images (n, 3, S, S) in
        [-1, 1], as they are and mirrored."""
        generator = torch.Generator(self.device).manual_seed(seed)
        latents: tuple[list[Array], list[Array]] = ([], [])
        vectors: tuple[list[Array], list[Array]] = ([], [])
        for batch in batches:
            for side, images in enumerate((batch, batch.flip(3))):
                images = images.to(self.device).contiguous(memory_format=torch.channels_last)
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
                    found = self.vae.encoder(images).float() * self.vae.config.scaling_factor
                latents[side].append(found.half().cpu().numpy())
                vectors[side].append(self._of_crops(images, views, generator).cpu().numpy())
        return tuple(np.stack([np.concatenate(side) for side in both]) for both in (latents, vectors))  # type: ignore[return-value]

    def _of_crops(self, images: Tensor, views: int, generator: torch.Generator) -> Tensor:
        """(n, views, D): of the plain crop, and of jittered ones."""
        jittered = [self._identities(images, jitter(len(images), generator)) for _ in range(views - 1)]
        return torch.stack([self._identities(images), *jittered], 1)


def of_caches(
    caches: Sequence[Path],
    encoder: Encoder,
    *,
    held_out: bool = False,
    limit: int | None = None,
    views: int = VIEWS,
) -> LatentFaces:
    """Those of the labelled pictures of several caches, each at most `limit`, that are worth learning from.

    Raises `BadData` for a cache without shards, one in which nobody is held out if these are wanted, and one that holds
    nothing worth it.
    """
    return LatentFaces.joined([_of_cache(cache, encoder, held_out, limit, views) for cache in caches])


def _of_cache(cache: Path, encoder: Encoder, held_out: bool, limit: int | None, views: int) -> LatentFaces:
    table = worth_learning(FaceTable.load(cache, held_out=held_out, limit=limit))
    if not len(table):
        raise BadData(f"none of the photos in {cache} shows a face whole: prepare others")
    heads = Heads(table)

    def digest(rows: range) -> str:
        return hashlib.sha256(f"{encoder.key}{heads.digest(rows)}{HEAD}{views}".encode()).hexdigest()

    def encode(rows: range) -> dict[str, Array]:
        latents, vectors = encoder.both_sides(heads.batches(rows), views, seed=rows.start)
        return {"latents": latents, "vectors": vectors}

    arrays = stored_rows(cache, "portraits", len(heads), digest, encode)
    inside = np.stack([heads.inside(row) for row in range(len(heads))])
    plain = measures(table)
    return LatentFaces(
        **arrays,
        inside=np.stack([inside, inside[:, :, ::-1]]),
        person=people_of(table.keys),
        measures=(plain, [captions.mirrored(one) for one in plain]),
    )


def of_stream(
    stream: PeopleStream, encoder: Encoder, *, people: int, views: int = 3, seed: int = 0, crops: int = VIEWS
) -> LatentFaces:
    """People drawn here and now, on the stream's device, but for views that lost the person; nobody labels them, so
    captions say the kind alone."""
    generator = torch.Generator(stream.mean.device).manual_seed(seed)

    def batches() -> Iterator[Tensor]:
        for start in range(0, people, _AT_ONCE):
            yield stream.draw(min(_AT_ONCE, people - start), views, generator).images.flatten(0, 1)

    latents, vectors = encoder.both_sides(batches(), crops)
    person = np.arange(people).repeat(views)
    same = (vectors[0, :, 0] * vectors[0, person * views, 0]).sum(-1) >= _SAME
    plain = [of_drawn()] * int(same.sum())
    return LatentFaces(
        latents=latents[:, same],
        vectors=vectors[:, same],
        inside=np.ones((2, len(plain), HEAD.cells, HEAD.cells), np.uint8),
        person=person[same],
        measures=(plain, plain),
    )


class Heads:
    """The heads of a table's photos, cut as the template says; what lies beyond a photo repeats its edge."""

    def __init__(self, table: FaceTable) -> None:
        self.table = table
        self.matrices = [HEAD.matrix(points) for points in table.five_points]

    def __len__(self) -> int:
        return len(self.table)

    def batches(self, rows: range) -> Iterator[Tensor]:
        """The heads of some rows (n, 3, S, S) in [-1, 1], a few at a time."""
        for start in range(0, len(rows), _AT_ONCE):
            some = rows[start : start + _AT_ONCE]
            yield to_tensor(np.stack([self._head(row) for row in some]))

    def _head(self, row: int) -> Array:
        return align.crop(self.table.photo(row), self.matrices[row], HEAD.side)

    def digest(self, rows: range) -> str:
        """Which pictures some rows are."""
        found = hashlib.sha256()
        for row in rows:
            found.update(self.table.photos[row] + self.matrices[row].tobytes())
        return found.hexdigest()

    def inside(self, row: int) -> Array:
        """(h, w) uint8: the cells whose pixels all lie in the photo."""
        return HEAD.inside(self.matrices[row], self.table.shape(row))
