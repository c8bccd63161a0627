"""Where the pattern of the pixel mark lies in a picture, and which chips it bears.

    for place in search(evidence, SCALES): ...       # the likeliest first: Place(scale=1.25, score=9.3, ...)
    chips = chips_at(evidence, place)                # (256,) soft

A crop moves the pattern and, since a picture is looked at in one size, enlarges it. For each scale that comes into
question the evidence is projected onto the waves, and correlated with the sync sequence at every place of a tile.

Letters: H W samples of the evidence, K waves, S scales.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from personae.provenance import carriers
from personae.provenance.carriers import HIGHEST, axis, exponentials, signatures, wave_numbers
from personae.shapes import Float, Shaped
from personae.types import Array

_REACH = int(HIGHEST)
_GRID = 2 * carriers.TILE  # places per axis of a tile
_STEP = 1.012  # from scale to scale
SCALES = tuple(float(_STEP**k) for k in range(-4, 36))  # 0.95 to 1.5: pictures of which two thirds of a side are left
WIDE = tuple(float(_STEP**k) for k in range(-36, 36))  # 0.65 to 1.5: parts of pictures, looked at in sizes that double
_CANDIDATES = 3


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a pattern may lie. scale: its enlargement; first: where in a tile the first sample lies, in tiles down and
    across; score: how far the correlation with the sync sequence stands out, in standard deviations of chance."""

    scale: float
    first: tuple[float, float]
    score: float


def search(evidence: Array, scales: tuple[float, ...] = SCALES) -> list[Place]:
    """The likeliest places in evidence (H, W) float32, the best first: at most three, each of another scale, and where
    the pattern lies in a picture that was not cut."""
    scores, firsts = peaks(_projections(evidence, scales)[:, *wave_places()])
    found: list[Place] = []
    for index in np.argsort(-scores):
        if len(found) == _CANDIDATES:
            break
        if all(abs(np.log(scales[index] / place.scale)) > 2.5 * np.log(_STEP) for place in found):
            found.append(_refined(evidence, scales[index], firsts[index]))
    found.append(_uncut(evidence))
    return sorted(found, key=lambda place: -place.score)


def _uncut(evidence: Array) -> Place:
    waves = _whitened(_projections(evidence, (1.0,))[0, *wave_places()])
    score = (waves @ signatures()[0].conj()).real * _to_deviations(waves)
    return Place(scale=1.0, first=(0.0, 0.0), score=float(score))


def chips_at(evidence: Float[Array, "H W"], place: Place) -> Float[Array, " C"]:
    """(C,) soft chips of the pattern at a place: least squares over the waves, each weighed by how much its ring
    of frequencies holds beside the pattern."""
    down = np.linalg.pinv(exponentials(axis(evidence.shape[0], place.scale), -_REACH))
    across = np.linalg.pinv(exponentials(axis(evidence.shape[1], place.scale), -_REACH))
    table = down @ evidence @ across.T
    numbers = wave_numbers()
    waves = _whitened(table[numbers[0] + _REACH, numbers[1] + _REACH] * _phase(place.first).conj())
    found: Array = (signatures()[1].conj() @ waves).real
    return found


def wave_places() -> tuple[Array, Array]:
    """(K,) rows and columns of the waves in a table (2R+1, R+1)."""
    down, across = wave_numbers()
    return down + _REACH, across


def _phase(first: Sequence[float] | Array) -> Array:
    """(K,) what each wave has turned by where the evidence begins."""
    down, across = wave_numbers()
    found: Array = np.exp(2j * np.pi * (down * first[0] + across * first[1])).astype(np.complex64)
    return found


def _whitened(waves: Array) -> Array:
    """(..., K) with equal power in every ring of frequencies: what the picture leaves in the evidence is stronger in
    low ones."""
    members = _rings()
    power = (np.abs(waves) ** 2) @ members / members.sum(0)
    found: Array = waves / np.sqrt(power @ members.T + 1e-20)
    return found


@lru_cache(maxsize=1)
def _rings() -> Array:
    """(K, R) 1.0 where a wave is of a ring, each two periods wide."""
    radius = (np.hypot(*wave_numbers()) - carriers.LOWEST) // 2
    return (radius[:, None] == np.unique(radius)).astype(np.float32)


def bases(count: int, scales: Sequence[float], lowest: int) -> Array:
    """(S, count, ...) conjugate exponentials of `count` samples at each scale."""
    positions = np.concatenate([axis(count, scale) for scale in scales])
    found: Array = exponentials(positions, lowest).conj().reshape(len(scales), count, -1)
    return found


def as_reals(across: Array) -> Array:
    """(S, W, R+1) complex64 -> (W, 2 S (R+1)) float32: what rows (..., W) are multiplied by for all scales at once; the
    products are complex numbers again."""
    return np.ascontiguousarray(across.transpose(1, 0, 2)).reshape(across.shape[1], -1).view(np.float32)


@lru_cache(maxsize=4)
def _usual_bases(height: int, width: int) -> tuple[Array, Array]:
    return bases(height, SCALES, -_REACH), bases(width, SCALES, 0)


def _projections(evidence: Array, scales: tuple[float, ...]) -> Array:
    """(S, 2R+1, R+1) complex64 of evidence (H, W)."""
    height, width = evidence.shape
    if scales == SCALES:
        down, across = _usual_bases(height, width)
    else:
        down, across = bases(height, scales, -_REACH), bases(width, scales, 0)
    half = (evidence @ as_reals(across)).view(np.complex64)
    half = half.reshape(height, len(scales), -1).transpose(1, 0, 2)
    found: Array = down.transpose(0, 2, 1) @ half
    return found


def peaks(waves: Shaped[Array, "N K"]) -> tuple[Float[Array, " N"], Float[Array, "N 2"]]:
    """The best correlation of waves (N, K) with the sync sequence over all places of a tile: (N,) in standard
    deviations, and (N, 2) where the first sample lies, in tiles down and across."""
    waves = _whitened(waves)
    down, across = _turns_of_grid()
    rows = carriers.square(waves.conj() * signatures()[0]) @ across  # (N, 2R+1, G)
    moved = (down @ np.concatenate([rows.real, rows.imag], axis=1)).reshape(len(waves), -1)
    places = moved.argmax(1)
    best = np.take_along_axis(moved, places[:, None], 1)[:, 0]
    return best * _to_deviations(waves), np.stack(np.divmod(places, _GRID), axis=1) / _GRID


@lru_cache(maxsize=1)
def _turns_of_grid() -> tuple[Array, Array]:
    """(G, 2 (2R+1)) float32, cosines and sines, and (R+1, G) complex64: by what the waves turn from place to place of
    a tile, down and across. Few of a tile's waves are in the ring: two products take less than a Fourier transform."""
    places = np.arange(_GRID) / _GRID
    down, across = exponentials(places, -_REACH), exponentials(places, 0)
    return np.concatenate([down.real, -down.imag], axis=1), np.ascontiguousarray(across.T)


def _to_deviations(waves: Array) -> Array:
    """(S,) what makes standard deviations of correlations with (S, K): in (2K) dimensions a random direction has a
    cosine of variance 1 / 2K with any other."""
    found: Array = np.sqrt(2 * waves.shape[-1]) / (np.linalg.norm(waves, axis=-1) + 1e-20)
    return found


@lru_cache(maxsize=1)
def _near() -> tuple[Array, Array]:
    """Steps (N, 2) around a place of the grid, in tiles down and across, and what each wave (N, K) turns by them."""
    steps = np.linspace(-1, 1, 9) / _GRID
    offsets = np.array([(down, across) for down in steps for across in steps])
    return offsets, np.stack([_phase(offset) for offset in offsets])


def _refined(evidence: Array, scale: float, first: Array) -> Place:
    """The best place near one of the grid's: scale and place together, since one makes up for the other."""
    scales = tuple(scale * (1 + (_STEP - 1) * share) for share in np.linspace(-0.8, 0.8, 9))
    waves = _whitened(_projections(evidence, scales)[:, *wave_places()])
    offsets, turns = _near()
    product = waves * (signatures()[0] * _phase(first)).conj()
    near = (product @ turns.conj().T).real * _to_deviations(waves)[:, None]
    index, place = np.unravel_index(int(near.argmax()), near.shape)
    down, across = first + offsets[int(place)]
    return Place(scale=float(scales[index]), first=(float(down), float(across)), score=float(near.max()))
