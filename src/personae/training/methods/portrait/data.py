"""What a portrait base learns from: latents of heads, several identities of each, and who is who.

    people = Portraits.of_caches(["cache/people", "cache/faces"], encoder)
    drawn = Portraits.of_stream(stream, encoder, people=50_000, views=3)      # on a GPU, in minutes
    everybody = Portraits.joined([people, drawn])

What the networks make of a cache's pictures is stored beside them.

Legend: N pictures, V crops whose identities are kept of each picture, c channels of a latent, D width of an identity.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderDC
from torch import Tensor

from personae.data import shards
from personae.data.people_stream import PeopleStream
from personae.errors import BadData
from personae.io import atomic
from personae.reading import align
from personae.reading.differentiable import AlignedRecogniser
from personae.reading.onnx_file import file_sha256
from personae.training import captions
from personae.training.face_table import FaceTable
from personae.training.frame import CELLS, HEAD
from personae.training.images import to_tensor
from personae.training.jitter import jitter
from personae.training.methods.base.data import COVERED, people_of, sharpness
from personae.training.methods.base.frozen import encoder_key
from personae.types import Array

_AT_ONCE, _ROWS = 32, 1024  # pictures that are encoded together, and that are stored in one file
_SHARPEST = 1 / 3  # the share of a cache's photos that are learnt from: the rest are softer than any studio's
# The sharpness (`base.data.sharpness`) from which a picture is called sharp: about half of the photos learnt from have
# it, and six in seven pictures of drawn people. One measure for both, or the word would mean another thing of each.
_SHARP_FROM = 400.0
_SAME = 0.5  # the least cosine of a view that was drawn to its person's first, by the encoder that conditions
STUDIO, SNAPSHOT = "studio portrait", "snapshot"
SHARP, SOFT = "sharp", "soft"


@dataclass(frozen=True, kw_only=True)
class Portraits:
    """N pictures, plain [0] and mirrored [1].

    latents: (2, N, c, 16, 16) float16, unit spread. vectors: (2, N, V, D) float32, unit norm. inside: (2, N, 16, 16)
    uint8, 1 where a cell lies in the picture. person: (N,) int64, equal for views of one person. measures: what
    captions may say, by side and row; those of photos always name the kind of picture.
    """

    latents: Array
    vectors: Array
    inside: Array
    person: Array
    measures: tuple[list[captions.Measures], list[captions.Measures]]

    def __len__(self) -> int:
        return len(self.person)

    @classmethod
    def of_caches(
        cls,
        caches: Sequence[Path],
        encoder: "Encoder",
        *,
        held_out: bool = False,
        limit: int | None = None,
        views: int = 3,
    ) -> "Portraits":
        """The labelled pictures of several caches, each at most `limit`: of people, all; of photos, the sharpest that
        show a face whole.

        Raises `BadData` for a cache without shards, or one in which nobody is held out if these are wanted.
        """
        parts = []
        for cache in caches:
            table = FaceTable.load(cache, held_out=held_out, limit=limit)
            several = len(set(people_of(table.keys))) < len(table)  # views of people who were drawn
            table = table if several else _best(table)
            if not len(table):
                raise BadData(f"none of the photos in {cache} shows a face whole: prepare others")
            heads = _Heads(table)
            latents, vectors = _encoded(cache, heads, encoder, views)
            inside = np.stack([heads.inside(row) for row in range(len(table))])
            plain = [
                _of_kind(one, drawn=several, sharp=sharp)
                for one, sharp in zip(captions.measure(table), heads.sharp(), strict=True)
            ]
            parts.append(
                cls(
                    latents=latents,
                    vectors=vectors,
                    inside=np.stack([inside, inside[:, :, ::-1]]),
                    person=people_of(table.keys),
                    measures=(plain, [captions.mirrored(one) for one in plain]),
                )
            )
        return cls.joined(parts)

    @classmethod
    def of_stream(
        cls, stream: PeopleStream, encoder: "Encoder", *, people: int, views: int = 3, seed: int = 0, crops: int = 3
    ) -> "Portraits":
        """People drawn here and now, on the stream's device, but for views that lost the person; nobody labels them, so
        captions say the kind alone."""
        generator = torch.Generator(stream.mean.device).manual_seed(seed)

        def batches() -> Iterator[Tensor]:
            for start in range(0, people, _AT_ONCE):
                yield stream.draw(min(_AT_ONCE, people - start), views, generator).images.flatten(0, 1)

        latents, vectors = encoder.both_sides(batches(), crops)
        person = np.arange(people).repeat(views)
        same = (vectors[0, :, 0] * vectors[0, person * views, 0]).sum(-1) >= _SAME  # some views lose the person
        count = int(same.sum())
        plain = [captions.Measures(subject="person", phrases=(STUDIO, SHARP))] * count
        return cls(
            latents=latents[:, same],
            vectors=vectors[:, same],
            inside=np.ones((2, count, CELLS, CELLS), np.uint8),
            person=person[same],
            measures=(plain, plain),
        )

    @classmethod
    def joined(cls, parts: Sequence["Portraits"]) -> "Portraits":
        """All of them; nobody of one part is anybody of another."""
        first, person = 0, []
        for part in parts:
            person.append(part.person + first)
            first += int(part.person.max()) + 1
        rows = {
            name: np.concatenate([getattr(part, name) for part in parts], 1)
            for name in ("latents", "vectors", "inside")
        }
        plain, mirrored = ([one for part in parts for one in part.measures[side]] for side in (0, 1))
        return cls(**rows, person=np.concatenate(person), measures=(plain, mirrored))


class Encoder:
    """Pictures to what is kept of them: latents, and identities of several crops.

    vae: a folder in diffusers' layout. embedder: an `embedder.onnx`. key: a hash of what encodes, for the names of what
    is computed with it."""

    def __init__(self, vae: Path, embedder: Path, device: torch.device) -> None:
        frozen = AutoencoderDC.from_pretrained(vae).requires_grad_(False).to(memory_format=torch.channels_last)
        self.key = encoder_key(frozen) + file_sha256(embedder)
        self.vae, self.device = frozen.to(device), device
        self.recogniser = AlignedRecogniser(embedder, source=HEAD.template).eval().to(device)

    @torch.no_grad()
    def both_sides(self, batches: Iterator[Tensor], views: int, seed: int = 0) -> tuple[Array, Array]:
        """Latents (2, N, c, 16, 16) float16 and identities (2, N, views, D) float32 of images (n, 3, 256, 256) in
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
                vectors[side].append(self._identities(images, views, generator).cpu().numpy())
        return tuple(np.stack([np.concatenate(side) for side in both]) for both in (latents, vectors))  # type: ignore[return-value]

    def _identities(self, images: Tensor, views: int, generator: torch.Generator) -> Tensor:
        """(n, views, D): of the plain crop, and of jittered ones."""
        jittered = [self.recogniser(images, jitter(len(images), generator)) for _ in range(views - 1)]
        return torch.stack([self.recogniser(images), *jittered], 1)


class _Heads:
    """The heads of a table's photos, cut as the template says; what lies beyond a photo repeats its edge."""

    def __init__(self, table: FaceTable) -> None:
        self.table = table
        self.matrices = [HEAD.matrix(points) for points in table.five_points]

    def __len__(self) -> int:
        return len(self.table)

    def batches(self, rows: range) -> Iterator[Tensor]:
        """The heads of some rows, a few at a time."""
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
        """(16, 16) uint8: the cells whose pixels all lie in the photo."""
        return HEAD.inside(self.matrices[row], self.table.shape(row))

    def sharp(self) -> Array:
        """(N,) bool: whether a face is called so."""
        return np.asarray(sharpness(self.table.crops) >= _SHARP_FROM)


def _of_kind(measures: captions.Measures, *, drawn: bool, sharp: bool) -> captions.Measures:
    """With words for the kind of picture: of people who were drawn they may be said, of photos they always are."""
    kind = (STUDIO if drawn else SNAPSHOT, SHARP if sharp else SOFT)
    return replace(measures, phrases=(*measures.phrases, *kind)) if drawn else replace(measures, kind=kind)


def _best(photos: FaceTable) -> FaceTable:
    """Of a table of photos, those worth learning from."""
    sharp = sharpness(photos.crops)
    return photos.where((photos.coverage > COVERED) & (sharp >= np.quantile(sharp, 1 - _SHARPEST)))


def _encoded(cache: Path, heads: _Heads, encoder: Encoder, views: int) -> tuple[Array, Array]:
    """As `Encoder.both_sides`, of all heads; stored beside the cache, so many rows a file, under names that depend on
    the pictures and the networks: what is prepared later is all that has to be encoded then."""
    parts = []
    for start in range(0, len(heads), _ROWS):
        rows = range(start, min(start + _ROWS, len(heads)))
        key = hashlib.sha256(f"{encoder.key}{heads.digest(rows)}{HEAD}{views}".encode()).hexdigest()
        path = cache / f"portraits-{key[:16]}.npz"
        if not path.is_file():
            latents, vectors = encoder.both_sides(heads.batches(rows), views, seed=start)
            atomic.write(path, shards.pack_arrays({"latents": latents, "vectors": vectors}), replace=True)
        parts.append(shards.unpack_arrays(path.read_bytes()))
    return tuple(np.concatenate([part[name] for part in parts], 1) for name in ("latents", "vectors"))  # type: ignore[return-value]
