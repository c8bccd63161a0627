"""The pattern of the pixel mark, as numbers: which waves carry it.

    pattern = tile_wave(chips, axis(128), axis(128))     # (128, 128): the pattern on a canonical picture

A square tile of 64 canonical pixels is repeated over the picture (the picture's shorter side is 256 canonical pixels,
whatever its size), so that any crop holds whole tiles. Its waves are the tile's harmonics in a ring of frequencies that
JPEG and reduction leave alone. Their amplitudes, a vector of `WAVES` complex numbers, are a fixed sequence for finding
the pattern (`sync`) plus each chip's own signature; all these are orthogonal.

Letters: K waves, C chips, H W samples. A sample is two canonical pixels.
"""

from functools import cache

import numpy as np

from personae.provenance.payload import CHIPS
from personae.shapes import Float, Float32, Shaped
from personae.types import Array

SIDE = 256  # canonical pixels of a picture's shorter side
TILE = 32  # samples of the tile's side: a picture has four by four
LOWEST, HIGHEST = 4.0, 12.0  # of the ring: periods per tile
SYNC_SHARE = 0.3  # of the pattern's energy
_SEED = 0x9E50  # of the signatures; another seed is another mark that this detector does not see


def axis(count: int, scale: float = 1.0, first: float = 0.0) -> Array:
    """(count,) positions of samples in periods of the tile, when the pattern is enlarged `scale` times and the first
    sample lies `first` tiles into it."""
    return np.arange(count) / (TILE * scale) + first


@cache
def wave_numbers() -> tuple[Array, Array]:
    """(K,) periods per tile down and across: one of each pair of opposite waves in the ring."""
    reach = int(HIGHEST)
    down, across = np.mgrid[-reach : reach + 1, 0 : reach + 1]
    radius = np.hypot(down, across)
    half = (across > 0) | (down > 0)
    inside = half & (radius >= LOWEST) & (radius <= HIGHEST)
    return down[inside], across[inside]


@cache
def signatures() -> tuple[Array, Array]:
    """`sync` (K,) and `chips` (C, K) complex64: orthonormal as real vectors of twice the length."""
    waves = len(wave_numbers()[0])
    rng = np.random.default_rng(_SEED)
    mixed, _ = np.linalg.qr(rng.normal(size=(2 * waves, 2 * waves)))
    paired = (mixed[:, :waves] + 1j * mixed[:, waves:]).astype(np.complex64)
    rest = paired[CHIPS:]
    return rest.sum(0) / np.float32(np.sqrt(len(rest))), paired[:CHIPS]


def amplitudes(chips: Array) -> Array:
    """(..., K) complex64 of (..., C) chips of -1 and +1: unit energy."""
    sync, each = signatures()
    payload = chips.astype(np.float32) @ each / np.float32(np.sqrt(CHIPS))
    found: Array = np.float32(np.sqrt(SYNC_SHARE)) * sync + np.float32(np.sqrt(1 - SYNC_SHARE)) * payload
    return found


def square(waves: Array) -> Array:
    """(..., K) -> (..., 2R+1, R+1): the amplitudes at their places, zero elsewhere."""
    down, across = wave_numbers()
    reach = int(HIGHEST)
    found = np.zeros((*waves.shape[:-1], 2 * reach + 1, reach + 1), waves.dtype)
    found[..., down + reach, across] = waves
    return found


def exponentials(positions: Float[Array, " n"], lowest: int) -> Shaped[Array, "n K"]:
    """(count, HIGHEST - lowest + 1) complex64: e^(2 pi i k x) for k = lowest ... HIGHEST; lowest: 0 or less."""
    turn = np.exp(2j * np.pi * np.asarray(positions))[:, None]
    # Powers by multiplication: an exponential of each would be most of what a search takes.
    upward = np.cumprod(np.concatenate([np.ones_like(turn), *(turn,) * int(HIGHEST)], axis=1), axis=1)
    found: Array = np.concatenate([upward[:, -lowest:0:-1].conj(), upward], axis=1).astype(np.complex64)
    return found


def tile_wave(chips: Float[Array, " C"], down: Float[Array, " H"], across: Float[Array, " W"]) -> Float32[Array, "H W"]:
    """(H, W) float32 of unit variance over whole tiles: the pattern at positions (in tiles) down and across."""
    return _wave(amplitudes(chips), down, across)


def sync_wave(down: Float[Array, " H"], across: Float[Array, " W"]) -> Float32[Array, "H W"]:
    """(H, W) float32 of unit variance over whole tiles: what all patterns have in common."""
    return _wave(signatures()[0], down, across)


def _wave(waves: Array, down: Array, across: Array) -> Array:
    """(H, W) float32 of amplitudes (K,)."""
    wave = exponentials(down, -int(HIGHEST)) @ square(waves) @ exponentials(across, 0).T
    found: Array = wave.real.astype(np.float32) * np.float32(np.sqrt(2))
    return found
