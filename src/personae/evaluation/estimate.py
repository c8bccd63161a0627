"""estimate.mean(per_person) -> 0.412 [0.398, 0.425], n = 200

A figure never travels alone: `Estimate` carries its 95 % interval and its sample size. People are resampled,
not images: four images of one person are not four witnesses.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from personae.errors import BadData
from personae.types import Array

RESAMPLES = 2000
_Z = 1.959964  # the normal quantile of a two-sided 95 % interval


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure, its 95 % interval (`low`, `high`; NaN where n = 1 allows none) and how many it rests on."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}], n = {self.n}"

    def as_json(self) -> dict[str, float | int | None]:
        """What a report stores: JSON has no NaN, so an absent bound is null."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        return {name: round(x, 6) if np.isfinite(x) else None for name, x in numbers.items()} | {"n": self.n}


UNKNOWN = Estimate(value=np.nan, low=np.nan, high=np.nan, n=0)


def plain(value: float, n: int) -> Estimate:
    """A figure that rests on `n` of something and for which no interval is estimated."""
    return Estimate(value=value, low=np.nan, high=np.nan, n=n)


def mean(values: Array, seed: int = 0) -> Estimate:
    """The mean of `values` (N,), one number per person, with a percentile bootstrap interval."""
    sample = np.asarray(values, dtype=np.float64)
    return bootstrap(lambda rows: sample[rows].mean(-1), len(sample), seed)


def mean_of_finite(values: Array, seed: int = 0) -> Estimate:
    """The mean over the finite of `values` (N,); `UNKNOWN` if there are none."""
    finite = values[np.isfinite(values)]
    return mean(finite, seed) if len(finite) else UNKNOWN


def ratio(above: Array, below: Array, seed: int = 0) -> Estimate:
    """The mean of `above` (N,) divided by the mean of `below` (N,), over the rows in which both are finite.

    `UNKNOWN` if there are none; NaN, which clears no bar, if the mean of `below` is not positive.
    """
    both = np.isfinite(above) & np.isfinite(below)
    if not both.any():
        return UNKNOWN
    above, below = above[both], below[both]

    def share(rows: Array) -> Array:
        whole = below[rows].mean(-1)
        return np.divide(above[rows].mean(-1), whole, out=np.full(whole.shape, np.nan), where=whole > 0)

    return bootstrap(share, len(above), seed)


def correlation(a: Array, b: Array, seed: int = 0) -> Estimate:
    """Pearson's correlation of (N,) with (N,), with a percentile bootstrap interval; NaN if either is constant."""
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)

    def pearson(rows: Array) -> Array:
        x, y = first[rows], second[rows]
        x, y = x - x.mean(-1, keepdims=True), y - y.mean(-1, keepdims=True)
        spread = np.sqrt((x * x).sum(-1) * (y * y).sum(-1))
        return np.divide((x * y).sum(-1), spread, out=np.full_like(spread, np.nan), where=spread > 0)

    return bootstrap(pearson, len(first), seed)


def bootstrap(statistic: Callable[[Array], Array], n: int, seed: int = 0) -> Estimate:
    """`statistic` of n people with a percentile interval (Efron 1979).

    statistic: takes row numbers (..., n) and gives one number per leading index (...,).
    """
    if n == 0:
        raise BadData("no figure can be made from nobody: the sample is empty")
    value = float(statistic(np.arange(n)[None])[0])
    if n == 1:
        return Estimate(value=value, low=np.nan, high=np.nan, n=1)
    rng = np.random.default_rng(seed)
    drawn = np.concatenate([statistic(rng.integers(0, n, (100, n))) for _ in range(RESAMPLES // 100)])
    low, high = np.nanquantile(drawn, (0.025, 0.975)) if np.isfinite(drawn).any() else (np.nan, np.nan)
    return Estimate(value=value, low=float(low), high=float(high), n=n)


def proportion(hits: Array) -> Estimate:
    """The share of True in (N,) bool, with Wilson's interval, which holds near 0 and 1 where a bootstrap fails."""
    n = len(hits)
    if n == 0:
        raise BadData("no share can be made from nothing: the sample is empty")
    p = float(np.mean(hits))
    middle = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * np.sqrt(p * (1 - p) / n + _Z**2 / (4 * n * n))
    # An end that must be exact is: 0 of n has low = 0, and rounding must not say otherwise.
    low, high = max(0.0, float(middle - half)), min(1.0, float(middle + half))
    return Estimate(value=p, low=min(low, p), high=max(high, p), n=n)
