"""Where in a picture a part may lie that bears the pattern of the pixel mark by itself, as an edited face does.

    for piece, scales in likely_parts(evidence, WIDE): ...       # the likeliest first: evidence of it alone

The picture is looked at in windows of four by four tiles, each half a window from the next. What the pattern adds to a
window is faint where it fills only a quarter of it, so each window that may hold some is widened first, and cut to the
rectangle in which the waves that were found stand out most.

Letters: H W samples of the evidence, S scales, R C blocks, K waves.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from personae.provenance import carriers, search
from personae.shapes import Float
from personae.types import Array

_BLOCK = 2 * carriers.TILE  # samples of half a window's side
_STEP = 16  # samples, by which rectangles differ
_LEAST = 2 * carriers.TILE // _STEP  # steps of a rectangle's side: two tiles
_CANDIDATES = 4  # windows of a picture that are looked at closely
_BESIDE = 2  # scales to either side of the one that was found


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """A window that may hold some of the pattern. row, column: of its first block; scale: the index of a scale; first:
    where in a tile the evidence's first sample lies, in tiles down and across."""

    score: float
    row: int
    column: int
    scale: int
    first: tuple[float, float]


def likely_parts(
    evidence: Float[Array, "H W"], scales: Sequence[float]
) -> list[tuple[Float[Array, "h w"], tuple[float, ...]]]:
    """Pieces of the evidence (H, W) in which the pattern may lie, at most four, each with the scales that come into
    question for it."""
    candidates = sorted(_candidates(evidence, tuple(scales)), key=lambda one: -one.score)[:_CANDIDATES]
    found = []
    for one in candidates:
        near = slice(max(0, one.scale - _BESIDE), one.scale + _BESIDE + 1)
        found.append((_cut_to_pattern(evidence, one, scales[one.scale]), tuple(scales[near])))
    return found


# ---------------------------------------------------------------------- windows


def _candidates(evidence: Array, scales: tuple[float, ...]) -> Iterator[_Candidate]:
    """The best scale and place of every window."""
    down, across = search.wave_places()
    for row, (above, below) in enumerate(pairwise(_padded(_block_rows(evidence, scales)))):
        blocks = (above + below)[:, down, :, across].transpose(2, 1, 0)  # (C, S, K)
        for column in range(max(1, len(blocks) - 1)):
            scores, firsts = search.peaks(blocks[column : column + 2].sum(0))
            scale = int(scores.argmax())
            first = float(firsts[scale, 0]), float(firsts[scale, 1])
            yield _Candidate(score=float(scores[scale]), row=row, column=column, scale=scale, first=first)


def _padded(rows: Iterator[Array]) -> Iterator[Array]:
    """The same, with zeros behind an only one."""
    first = next(rows)
    yield first
    count = 1
    for row in rows:
        yield row
        count += 1
    if count == 1:
        yield np.zeros_like(first)


def _block_rows(evidence: Array, scales: tuple[float, ...]) -> Iterator[Array]:
    """(S, 2R+1, C, R+1) complex64 for each row of blocks: evidence projected onto the waves, block by block, their
    phases counted from the evidence's first sample; what is no whole block is filled up with zeros."""
    height, width = evidence.shape
    columns = -(-width // _BLOCK)
    flat, down = _bases(scales)
    turns = _turns(columns, scales, 0)[:, None]
    for row, top in enumerate(range(0, height, _BLOCK)):
        strip = np.zeros((_BLOCK, columns * _BLOCK), np.float32)
        some = evidence[top : top + _BLOCK]
        strip[: len(some), :width] = some
        blocks = strip.reshape(_BLOCK * columns, _BLOCK)
        half = (blocks @ flat).view(np.complex64)  # (_BLOCK * C, S * (R+1))
        half = half.reshape(_BLOCK, columns, len(scales), -1).transpose(2, 0, 1, 3)
        table = down.transpose(0, 2, 1) @ half.reshape(len(scales), _BLOCK, -1)
        table = table.reshape(len(scales), table.shape[1], columns, -1)
        turned = _turns(row + 1, scales, -int(carriers.HIGHEST))[:, -1]
        yield table * turns * turned[:, :, None, None]


@lru_cache(maxsize=4)
def _bases(scales: tuple[float, ...]) -> tuple[Array, Array]:
    """What a block's rows and columns are multiplied by: (block, 2 S (R+1)) float32, (S, block, 2R+1) complex64."""
    across, down = search.bases(_BLOCK, scales, 0), search.bases(_BLOCK, scales, -int(carriers.HIGHEST))
    return search.as_reals(across), down


@lru_cache(maxsize=32)
def _turns(count: int, scales: tuple[float, ...], lowest: int) -> Array:
    """(S, count, ...) what the waves turn by up to each of `count` blocks."""
    starts = np.arange(count) * (_BLOCK / carriers.TILE)
    return np.stack([carriers.exponentials(starts / scale, lowest).conj() for scale in scales])


# ---------------------------------------------------------------------- the part in a window


def _cut_to_pattern(evidence: Array, one: _Candidate, scale: float) -> Array:
    """The rectangle around a window in which the waves that are known to be there stand out most."""
    corner = [max(0, index * _BLOCK - _BLOCK) for index in (one.row, one.column)]
    around = evidence[corner[0] : corner[0] + 4 * _BLOCK, corner[1] : corner[1] + 4 * _BLOCK]
    start = [first + place / (carriers.TILE * scale) for first, place in zip(one.first, corner, strict=True)]
    rows, columns = (carriers.axis(length, scale, first) for length, first in zip(around.shape, start, strict=True))
    pattern = carriers.sync_wave(rows, columns)
    agreement, power = _summed(around * pattern), _summed(np.square(around))
    tops, bottoms = _intervals(len(agreement))
    lefts, rights = _intervals(agreement.shape[1])

    def in_rectangles(sums: Array) -> Array:
        strips = sums[bottoms] - sums[tops]
        found: Array = strips[:, rights] - strips[:, lefts]
        return found

    stands_out = in_rectangles(agreement) / np.sqrt(in_rectangles(power) + 1e-9)
    vertical, horizontal = np.unravel_index(int(stands_out.argmax()), stands_out.shape)
    return around[
        _STEP * tops[vertical] : _STEP * bottoms[vertical], _STEP * lefts[horizontal] : _STEP * rights[horizontal]
    ]


def _summed(values: Array) -> Array:
    """(h, w) -> sums over all above and to the left, at every step; the last step may be a short one."""
    rows = np.add.reduceat(values, np.arange(0, values.shape[0], _STEP), axis=0)
    both = np.add.reduceat(rows, np.arange(0, values.shape[1], _STEP), axis=1)
    return np.pad(both.cumsum(0, dtype=np.float64).cumsum(1), ((1, 0), (1, 0)))


def _intervals(edges: int) -> tuple[Array, Array]:
    """First and last edge of every interval of `_LEAST` steps or more; of the whole, if it is shorter."""
    first, last = np.triu_indices(edges, min(_LEAST, edges - 1))
    return first, last
