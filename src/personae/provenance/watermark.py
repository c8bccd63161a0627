"""The mark in the pixels: 64 bits that nobody sees, and that most of what happens to pictures leaves readable.

    marked = mark(pixels, message_of(recipe))       # (H, W, 3) uint8, 128 pixels a side or more
    detect(marked)                                  # Detection(present=True, score=10.9, message=Message(...), ...)

A picture is looked at in one size, its shorter side 256 pixels (of large ones a quarter of their size). A pattern of
waves (`carriers`) is laid over it, as strongly as a small network finds that each place hides (`encoder.onnx`); the
residual, enlarged, is added to the picture. Another network tells the pattern from the picture (`decoder.onnx`);
`search` finds where it lies, and `payload` mends what it says. The networks are trained by `personae train watermark`.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from personae.errors import BadOption, WeightsCorrupt, WeightsMissing
from personae.io import regular
from personae.io.fields import build
from personae.provenance import carriers, payload, search
from personae.provenance.message import Message
from personae.provenance.parts import likely_parts
from personae.shapes import Float, Float32, UInt8
from personae.types import Array

LEAST_SIDE = 128  # pixels
# Of a picture that is looked at: a piece of 32 pixels of a small marked picture can be read at times, of 24 none.
LEAST_READABLE = 24
_LARGEST = 4  # pixels of a canonical pixel at most: larger pictures bear more tiles
_MULTIPLE = 4  # canonical sides are multiples of it
_ROWS = 64  # pixels to which a residual is added at a time
_LONGEST = 1024  # canonical pixels that the networks take at a time, along the longer side
# A picture is looked at for its parts in sizes that double, its shorter side from 128 pixels up to what shows parts of
# 128 pixels at two thirds of the size that they were written in, or to the most that takes seconds.
_SMALLEST, _FINEST, _MOST_PIXELS = 128, 2048, 2 * 2048**2
_REDUCED = search.WIDE[0] * 1.01  # of a pattern, at most
# What a part's score has to reach beyond the threshold: it is the best of so many places that one of 30 unmarked
# pictures reaches the threshold itself.
FOR_PARTS = 0.7
# Of the residual, by the picture's shorter side: what is small has fewer pixels to bear it, and loses more of them.
_SIDES, _STRENGTHS = (128, 256, 512, 1024), (1.0, 0.65, 0.7, 0.8)
# Of a picture longer than so many times its shorter side, as a stranger's of 16 x 60,000 pixels is, only the middle is
# looked at, and it is marked strip by strip: in its canonical size it would take gigabytes.
LONGEST_RATIO = 8
_FACTS = "watermark.json"
_FOLDER = Path(str(files("personae") / "weights" / "watermark"))


@dataclass(frozen=True, kw_only=True)
class Detection:
    """What was found in a picture.

    present: whether it bears the mark: the pattern stands out (`score` reaches the `threshold`), and its message has
        the scheme of this mark and agrees with its check.
    score: how far the pattern stands out, in standard deviations of chance. threshold: what it has to reach; more for
        a part, which is the best of many places.
    message: what it says; None: not present.
    scale: how much larger the pattern lies in the picture than it was written for the picture's size: 1.25, where four
        fifths of a side are left.
    mirrored: whether left and right are exchanged.
    """

    present: bool
    score: float
    threshold: float
    message: Message | None
    scale: float
    mirrored: bool = False


@dataclass(frozen=True, kw_only=True)
class Facts:
    """`watermark.json`, beside the networks.

    encoder, decoder: the sha256 of their files. threshold: of `Detection.score`.
    """

    encoder: str
    decoder: str
    threshold: float

    def __post_init__(self) -> None:
        if not 3 <= self.threshold <= 20:
            raise WeightsCorrupt(f"the threshold of a watermark is between 3 and 20, got {self.threshold}")


class Watermark:
    """The two networks, opened from a folder of `encoder.onnx`, `decoder.onnx` and `watermark.json`. Raises
    `WeightsMissing`, `WeightsCorrupt`."""

    def __init__(self, folder: Path) -> None:
        from personae.reading.onnx_file import Network  # late: brings onnxruntime

        content = regular.read(folder / _FACTS, 1 << 16, WeightsCorrupt, missing=WeightsMissing)
        self.facts = build(Facts, json.loads(content), WeightsCorrupt, f"{folder / _FACTS}")
        self._encoder = Network(
            folder / "encoder.onnx",
            sha256=self.facts.encoder,
            source="canvas",
            results={"residual": (1, None, None)},
            threads=1,
        )
        self._decoder = Network(
            folder / "decoder.onnx",
            sha256=self.facts.decoder,
            source="picture",
            results={"evidence": (1, None, None)},
            threads=1,
        )

    def mark(self, pixels: UInt8[Array, "H W 3"], message: Message) -> UInt8[Array, "H W 3"]:
        """See `mark`."""
        chips, found = payload.encode(message), np.empty_like(pixels)
        for strip in _strips(*pixels.shape[:2]):
            self._mark_strip(pixels[strip], chips, [side.start for side in strip], found[strip])
        return found

    def _mark_strip(self, pixels: Array, chips: Array, first: Sequence[int], found: Array) -> None:
        """Write a strip (h, w, 3), marked, into `found`: the pattern as it lies from the row and column `first` on."""
        side = _side_of(pixels)
        canonical = _canonical(pixels, side)
        tiles = 2 * carriers.TILE * min(pixels.shape[:2]) / side  # pixels of one
        down, across = (
            carriers.axis(length // 2, first=start / tiles)
            for length, start in zip(canonical.shape[:2], first, strict=True)
        )
        canvas = np.concatenate([_unshuffled(canonical), carriers.tile_wave(chips, down, across)[None]])
        parts = [self._encoder(part[None])[0][0, 0] for part in _pieces(canvas)]
        strength = np.float32(np.interp(min(pixels.shape[:2]), _SIDES, _STRENGTHS))
        residual = strength * _enlarged(np.concatenate(parts, axis=_longer(canvas) - 1), pixels.shape[:2])
        for top in range(0, len(pixels), _ROWS):  # a large photo's floats are not all held at once
            rows = slice(top, top + _ROWS)
            found[rows] = np.clip(np.rint(pixels[rows] + residual[rows, :, None]), 0, 255)

    def evidence(self, pixels: UInt8[Array, "H W 3"], side: int) -> Float32[Array, "h w"]:
        """(H, W) float32: what the decoder sees of the pattern, when the picture's shorter side has `side` pixels; of a
        picture longer than `LONGEST_RATIO` times that side, in its middle."""
        canvas = _unshuffled(_canonical(_middle_of_long(pixels), side))
        parts = [self._decoder(part[None])[0][0, 0] for part in _pieces(canvas)]
        return np.concatenate(parts, axis=_longer(canvas) - 1)

    def detect(self, pixels: UInt8[Array, "H W 3"], *, thorough: bool = False) -> Detection:
        """See `detect`."""
        if min(pixels.shape[:2]) < LEAST_READABLE:
            return self._nothing()
        evidence = self.evidence(pixels, carriers.SIDE)
        found = self.judged([evidence])
        if found.present or not thorough:
            return found
        mirrored = replace(self.judged([evidence[:, ::-1]]), mirrored=True)
        if mirrored.present:
            return mirrored
        for side in _sides_of_parts(*pixels.shape[:2]):
            for piece, scales in likely_parts(self.evidence(pixels, side), search.WIDE):
                part = self._best(piece, scales, beyond=FOR_PARTS)
                scaled = replace(part, scale=round(part.scale * carriers.SIDE / side, 3))
                if part.present:
                    return scaled
                found = max(found, scaled, key=lambda one: one.score)
        return found

    def _nothing(self) -> Detection:
        return Detection(present=False, score=0.0, threshold=self.facts.threshold, message=None, scale=1.0)

    def detect_together(self, frames: Sequence[UInt8[Array, "H W 3"]]) -> Detection:
        """See `detect_together`."""
        if min(frames[0].shape[:2]) < LEAST_READABLE:
            return self._nothing()
        return self.judged([self.evidence(frame, carriers.SIDE) for frame in frames])

    def judged(self, evidence: Sequence[Float[Array, "H W"]]) -> Detection:
        """One detection from evidence of one or several pictures that bear the same mark in the same place, such as a
        video's frames."""
        together = np.mean([one / (one.std() + 1e-9) for one in evidence], axis=0)
        return self._best(_middle(together), search.SCALES)

    def _best(self, evidence: Array, scales: tuple[float, ...], *, beyond: float = 0.0) -> Detection:
        threshold, places = self.facts.threshold + beyond, search.search(evidence, scales)
        best, message = places[0], None
        for place in places:
            if place.score >= threshold:
                message = payload.decode(search.chips_at(evidence, place))
                if message is not None:
                    best = place
                    break
        return Detection(
            present=message is not None,
            score=round(best.score, 2),
            threshold=threshold,
            message=message,
            scale=round(best.scale, 3),
        )


def available() -> bool:
    """Whether this version has the networks."""
    return (_FOLDER / _FACTS).is_file()


@cache
def bundled() -> Watermark:
    """The networks in this package. Raises `WeightsMissing`."""
    if not available():
        raise WeightsMissing("this version has no networks for the watermark: train them by `personae train watermark`")
    return Watermark(_FOLDER)


def mark(pixels: UInt8[Array, "H W 3"], message: Message) -> UInt8[Array, "H W 3"]:
    """Pixels (H, W, 3) RGB uint8 with a message in them; the same pixels and message give the same result.

    Raises `BadOption` for a side below 128 pixels, `WeightsMissing` where the networks are not there.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or min(pixels.shape[:2]) < LEAST_SIDE:
        raise BadOption(
            f"a watermark needs (H, W, 3) uint8 pixels, {LEAST_SIDE} a side or more, got {pixels.dtype} {pixels.shape}"
        )
    return bundled().mark(pixels, message)


def detect(pixels: Array, *, thorough: bool = False) -> Detection:
    """Whether pixels (H, W, 3) RGB uint8 bear the mark, and what it says.

    thorough: look also for parts of a picture that bear it by themselves, as an edited face does (`least_part`), for
    mirrored pictures, and for pieces smaller than two thirds of the marked picture; that takes seconds for a large
    photo without one. Of a picture longer than eight times its shorter side only the middle is looked at, and nothing
    is found in one whose shorter side is below 24 pixels.

    Raises `WeightsMissing`.
    """
    return bundled().detect(pixels, thorough=thorough)


def detect_together(frames: Sequence[Array]) -> Detection:
    """As `detect`, from several pictures (H, W, 3) of one size that bear the same message, as a video's frames do: what
    one alone shows too faintly, they show together. Raises `WeightsMissing`, `BadOption` for none or several sizes."""
    if len({frame.shape for frame in frames}) != 1:
        raise BadOption("several pictures are looked at together if they have one size: pass frames of one video")
    return bundled().detect_together(frames)


# ---------------------------------------------------------------------- sizes


def least_part(height: int, width: int) -> int:
    """Pixels a side that a part of a picture needs, so that its own mark is found in it."""
    finest = _sides_of_parts(height, width)[-1]
    return max(LEAST_SIDE, math.ceil(_REDUCED * carriers.SIDE * min(height, width) / finest))


def _strips(height: int, width: int) -> list[tuple[slice, slice]]:
    """Rows and columns of the strips in which a picture is marked: all of it, unless it is longer than `LONGEST_RATIO`
    times its shorter side."""
    shorter, longer = sorted((height, width))
    starts = [0]
    if longer > LONGEST_RATIO * shorter:
        starts = list(range(0, longer - LONGEST_RATIO // 2 * shorter + 1, LONGEST_RATIO // 2 * shorter))
    along = [slice(*ends) for ends in pairwise([*starts, longer])]
    return [(one, slice(0, width)) if height > width else (slice(0, height), one) for one in along]


def _middle_of_long(pixels: Array) -> Array:
    """At most `LONGEST_RATIO` times as long as the shorter side."""
    most = LONGEST_RATIO * min(pixels.shape[:2])
    top, left = (max(0, (length - most) // 2) for length in pixels.shape[:2])
    return pixels[top : top + most, left : left + most]


def _side_of(pixels: Array) -> int:
    """The canonical size of a picture that is to be marked: of its shorter side, in pixels."""
    return max(carriers.SIDE, round(min(pixels.shape[:2]) / _LARGEST))


def _canonical(pixels: Array, side: int) -> Array:
    """(h, w, 3) uint8, the shorter side about `side`, both multiples of 4."""
    height, width = pixels.shape[:2]
    factor = side / min(height, width)
    sides = [max(_MULTIPLE, _MULTIPLE * round(length * factor / _MULTIPLE)) for length in (width, height)]
    if sides == [width, height]:
        return pixels
    filter_ = Image.Resampling.BILINEAR if factor < 1 else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(pixels).resize((sides[0], sides[1]), filter_))


def _unshuffled(pixels: Array) -> Array:
    """(12, H / 2, W / 2) float32 in [-1, 1] of (H, W, 3) uint8, as torch's PixelUnshuffle(2) orders channels."""
    height, width = pixels.shape[:2]
    parts = pixels.reshape(height // 2, 2, width // 2, 2, 3).transpose(4, 1, 3, 0, 2)
    found: Array = parts.reshape(12, height // 2, width // 2).astype(np.float32) / np.float32(127.5) - np.float32(1)
    return found


def _longer(canvas: Array) -> int:
    """The axis of (C, H, W) that is longer."""
    return 1 if canvas.shape[1] > canvas.shape[2] else 2


def _pieces(canvas: Array) -> list[Array]:
    """(C, H, W) in pieces along its longer axis, so that a panorama takes no more memory than a square."""
    axis = _longer(canvas)
    count = -(-canvas.shape[axis] // (_LONGEST // 2))
    cuts = [2 * round(canvas.shape[axis] * part / count / 2) for part in range(1, count)]
    return [np.ascontiguousarray(part) for part in np.split(canvas, cuts, axis=axis)]


def _enlarged(channel: Array, sides: tuple[int, ...]) -> Array:
    """(H, W) float32 of a channel (h, w), smoothly."""
    if channel.shape == tuple(sides):
        return channel
    image = Image.fromarray(np.ascontiguousarray(channel)).resize((sides[1], sides[0]), Image.Resampling.BICUBIC)
    return np.asarray(image)


def _middle(evidence: Array) -> Array:
    """At most six tiles along the longer side, from a whole tile on: the longer a piece, the finer would scales have to
    be searched."""
    most = 6 * carriers.TILE
    starts = [max(0, (length - most) // 2 // carriers.TILE * carriers.TILE) for length in evidence.shape]
    return evidence[starts[0] : starts[0] + most, starts[1] : starts[1] + most]


def _sides_of_parts(height: int, width: int) -> list[int]:
    """In which sizes a picture is looked at for parts of it, the smallest first."""
    shorter = min(height, width)
    longer = min(max(height, width), LONGEST_RATIO * shorter)
    most = min(_FINEST, math.isqrt(_MOST_PIXELS * shorter // longer))
    finest = min(most, math.ceil(carriers.SIDE / LEAST_SIDE * _REDUCED * shorter))
    halves = (finest >> k for k in range(finest.bit_length()))
    return [_SMALLEST, *reversed([side for side in halves if side > 1.25 * _SMALLEST])]
