"""A reading's jitter taken off without taking off the motion: filters over time, none of them late.

    steady = smoothed(track, "savgol")        # or "one-euro", or "none"

Every number is read off each frame anew, so a head at rest trembles by the reader's error. Both filters look ahead as
well as back, since the whole track is there: what they leave lags behind nothing. Frames without a face stay so; the
filter runs over them along a straight line.

- `savgol`: a quadratic fitted to the frames within 0.12 s either side, two at least (Savitzky and Golay 1964): peaks as
  short as a blink keep their height, and a frame depends on its neighbours alone.
- `one-euro`: a low pass that opens with speed (Casiez, Roussel and Vogel 2012), run forwards and backwards and
  averaged: steadier where nothing moves, and blinks lose height.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from scipy.signal import savgol_filter  # type: ignore[import-untyped]

from personae.errors import unknown_name
from personae.shapes import Float
from personae.types import Array
from personae.video.motion_track import ANGLES, COLUMNS, Track, within_range

_REACH = 0.12  # seconds either side
_MIN_CUTOFF, _SPEED_CUTOFF = 1.5, 1.0  # Hz
_ROLL = COLUMNS.index("roll")
# What counts as one: so many degrees, so much of a blendshape.
_UNITS = np.array([15.0] * len(ANGLES) + [1.0] * (len(COLUMNS) - len(ANGLES)))


def savgol(values: Float[Array, "T C"], fps: float) -> Float[Array, "T C"]:
    """(T, C) as fitted quadratics; (T, C) unchanged if it is too short for one."""
    window = 2 * max(2, round(_REACH * fps)) + 1
    window = min(window, len(values) - 1 + len(values) % 2)  # odd, and no longer than there is
    return values if window < 5 else np.asarray(savgol_filter(values, window, 2, axis=0))


def one_euro(
    values: Float[Array, "T C"], fps: float, *, min_cutoff: float = _MIN_CUTOFF, beta: float = _SPEED_CUTOFF
) -> Float[Array, "T C"]:
    """(T, C) after the filter of Casiez et al. 2012, forwards and backwards, averaged.

    min_cutoff: Hz, at rest: lower is steadier. beta: Hz by which a unit of speed per second raises it.
    """
    backwards = _one_euro(values[::-1], fps, min_cutoff, beta)[::-1]
    return np.asarray((_one_euro(values, fps, min_cutoff, beta) + backwards) / 2)


def _one_euro(values: Float[Array, "T C"], fps: float, min_cutoff: float, beta: float) -> Float[Array, "T C"]:
    """Algorithm 1 of the paper, with its 1 Hz for the speed's own low pass."""
    result, speed = values.astype(np.float64), np.zeros(values.shape[1])
    for t in range(1, len(values)):
        share = _share(1.0, fps)
        speed = share * (values[t] - values[t - 1]) * fps + (1 - share) * speed
        follow = _share(min_cutoff + beta * np.abs(speed), fps)
        result[t] = follow * values[t] + (1 - follow) * result[t - 1]
    return result


def _share(cutoff: float | Array, fps: float) -> Array:
    """How much of a new sample an exponential low pass of `cutoff` Hz takes (equation 7)."""
    return np.asarray(1 / (1 + fps / (2 * np.pi * np.asarray(cutoff))))


SMOOTHERS: dict[str, Callable[[Array, float], Array]] = {
    "none": lambda values, fps: values,
    "savgol": savgol,
    "one-euro": one_euro,
}


def smoothed(track: Track, name: str) -> Track:
    """`track` with every number filtered over time by a row of `SMOOTHERS`. Raises `BadOption` for another."""
    if name not in SMOOTHERS:
        raise unknown_name("smoothing", name, SMOOTHERS)
    if not track.visible.any():
        return track
    fps = float(track.fps)
    motion = within_range(SMOOTHERS[name](bridged(track.motion) / _UNITS, fps) * _UNITS)
    motion[~track.visible] = np.nan
    return dataclasses.replace(track, motion=motion)


def without_gaps(track: Track) -> Track:
    """`track` without gaps: along a straight line between the frames around one, still before the first and after the
    last that shows the face. Needs one that does."""
    return dataclasses.replace(track, motion=within_range(bridged(track.motion)))


def bridged(motion: Float[Array, "T 55"]) -> Float[Array, "T 55"]:
    """A track's (T, 3 + B) with rows of NaN filled in between their neighbours; its roll goes on beyond 180 degrees
    where the track jumps to -180, since nothing moves there."""
    visible = ~np.isnan(motion[:, 0])
    known, at, times = motion[visible], np.flatnonzero(visible), np.arange(len(motion))
    known[:, _ROLL] = np.unwrap(known[:, _ROLL], period=360)
    return np.stack([np.interp(times, at, column) for column in known.T], 1)
