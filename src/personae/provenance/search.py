"""Where the pattern of the pixel mark lies in a picture, and which chips it bears.

    for place in search(evidence, SCALES): ...       # the likeliest first: Place(scale=1.25, score=9.3, ...)
    chips = chips_at(evidence, place)                # (256,) soft

A crop moves the pattern and, since a picture is looked at in one size, enlarges it. For each scale that comes into
question the evidence is projected onto the waves, and correlated with the sync sequence at every place of a tile (one
Fourier transform).

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


def search(evidence: Array, scales: Sequence[float] = SCALES) -> list[Place]:
    """The likeliest places in evidence (H, W) float32, the best first: at most three, each of another scale, and where
    the pattern lies in a picture that was not cut."""
    tables = _projections(evidence, tuple(scales))
    waves = tables[:, *wave_places()]
    scores = correlated(waves)
    best = scores.reshape(len(scales), -1).max(1)
    found: list[Place] = []
    for index in np.argsort(-best):
        if len(found) == _CANDIDATES:
            break
        if all(abs(np.log(scales[index] / place.scale)) > 2.5 * np.log(_STEP) for place in found):
            row, column = np.unravel_index(int(scores[index].argmax()), scores[index].shape)
            found.append(_refined(evidence, scales[index], (row / _GRID, column / _GRID)))
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


def _phase(first: tuple[float, float]) -> Array:
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


@lru_cache(maxsize=16)
def _bases(count: int, scales: tuple[float, ...], lowest: int) -> Array:
    """(S, count, ...) conjugate exponentials of `count` samples at each scale."""
    return np.stack([exponentials(axis(count, scale), lowest).conj() for scale in scales])


def _projections(evidence: Array, scales: tuple[float, ...]) -> Array:
    """(S, 2R+1, R+1) complex64."""
    height, width = evidence.shape
    across, down = _bases(width, scales, 0), _bases(height, scales, -_REACH)
    flat = across.transpose(1, 0, 2).reshape(width, -1)
    half = (evidence @ flat.real) + 1j * (evidence @ flat.imag)
    half = half.reshape(height, len(scales), -1).transpose(1, 0, 2)
    found: Array = down.transpose(0, 2, 1) @ half
    return found


def correlated(waves: Shaped[Array, "S K"]) -> Float[Array, "S G G"]:
    """(S, K) -> (S, G, G): the correlation with the sync sequence at every place of a tile, in standard deviations."""
    down, across = wave_numbers()
    waves = _whitened(waves)
    product = waves.conj() * signatures()[0]
    spectrum = np.zeros((len(waves), _GRID, _GRID // 2 + 1), np.complex64)
    spectrum[:, down % _GRID, across] = np.where(across == 0, 2, 1) * product
    moved = np.fft.irfft2(spectrum, s=(_GRID, _GRID), axes=(1, 2)) * np.float32(_GRID**2 / 2)
    found: Array = moved * _to_deviations(waves)[:, None, None]
    return found


def _to_deviations(waves: Array) -> Array:
    """(S,) what makes standard deviations of correlations with (S, K): in (2K) dimensions a random direction has a
    cosine of variance 1 / 2K with any other."""
    found: Array = np.sqrt(2 * waves.shape[-1]) / (np.linalg.norm(waves, axis=-1) + 1e-20)
    return found


@lru_cache(maxsize=1)
def _near() -> tuple[list[tuple[float, float]], Array]:
    """Steps around a place of the grid, in tiles down and across, and what each wave (N, K) turns by them."""
    steps = np.linspace(-1, 1, 9) / _GRID
    offsets = [(float(down), float(across)) for down in steps for across in steps]
    return offsets, np.stack([_phase(offset) for offset in offsets])


def _refined(evidence: Array, scale: float, first: tuple[float, float]) -> Place:
    """The best place near one of the grid's: scale and place together, since one makes up for the other."""
    scales = tuple(scale * (1 + (_STEP - 1) * share) for share in np.linspace(-0.8, 0.8, 9))
    waves = _whitened(_projections(evidence, scales)[:, *wave_places()])
    offsets, turns = _near()
    product = waves * (signatures()[0] * _phase(first)).conj()
    near = (product @ turns.conj().T).real * _to_deviations(waves)[:, None]
    index, place = np.unravel_index(int(near.argmax()), near.shape)
    down, across = offsets[int(place)]
    return Place(scale=float(scales[index]), first=(first[0] + down, first[1] + across), score=float(near.max()))
