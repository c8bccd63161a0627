"""The colours of one picture of a face, taken to those of another: skin, contrast, the side its light comes from.

    change = skin_to_skin(crop, goal, where)       # where: (S, S) bool, mostly skin
    crop = change.on(crop)

Colours are taken as log odds, log(v / (255 - v)): a shift there leaves black black and white white, and never blows out
a highlight, however different two skins are. What has no colour of its own (teeth, the white of an eye, a pupil) gets
none: it follows in brightness alone.

Legend: S side of the crop, M pixels.
"""

from dataclasses import dataclass

import numpy as np

from personae.shapes import Bool, Float, Num, UInt8
from personae.types import Array

_STEPS = 12  # of the robust fit
_TUKEY = 3.5  # spreads from the fit beyond which a pixel counts for nothing
_LEAST_SPREAD = 0.05  # log odds: of a face as smooth as paint
_CONTRAST = 2.0  # at most, either way
_STEEPEST = 4.0  # log odds from one side of the crop to the other
ENOUGH = 64  # pixels
_MOST = 8192  # pixels that are looked at


@dataclass(frozen=True, kw_only=True)
class Change:
    """What is done to each pixel of a crop `size` pixels wide. First in log odds: `gain` times, `shift` (3,) more, and
    `slope` (2,) more from the left to the right border and from top to bottom; of the shift, what differs between the
    channels is for pixels as coloured as `skin` (3,) is, its channels' log odds less their mean. Then `added` (3,) grey
    levels."""

    size: int
    gain: float = 1.0
    shift: Float[Array, " 3"] | None = None
    slope: tuple[float, float] = (0.0, 0.0)
    skin: Float[Array, " 3"] | None = None
    added: Float[Array, " 3"] | None = None

    def at(self, pixels: Num[Array, "M 3"], places: Num[Array, "M 2"]) -> Float[Array, "M 3"]:
        """(M, 3) 0-255, float, of pixels (M, 3) at places (M, 2) of the crop."""
        result: Array = np.asarray(pixels, np.float32)
        if self.shift is not None:
            odds = _odds(result)
            common = float(self.shift.mean())
            toned = self._toned(odds)[:, None] * (self.shift - common)
            light = (places / self.size - 0.5) @ np.array(self.slope)
            odds = self.gain * odds + common + toned + light[:, None]
            result = 256 * _share(odds) - 0.5
        return result if self.added is None else result + self.added

    def on(self, crop: UInt8[Array, "S S 3"]) -> UInt8[Array, "S S 3"]:
        """A crop (S, S, 3) uint8 after it."""
        y, x = np.mgrid[0 : len(crop), 0 : len(crop)]
        places = np.stack([x.ravel(), y.ravel()], -1)
        pixels = self.at(crop.reshape(-1, 3), places)
        return np.asarray(np.round(pixels).clip(0, 255).astype(np.uint8).reshape(crop.shape))

    def _toned(self, odds: Float[Array, "M 3"]) -> Float[Array, " M"]:
        """(M,) 0-1: how much of the skin's own colour is in a pixel."""
        if self.skin is None:
            return np.ones(len(odds), np.float32)
        own = odds - odds.mean(1, keepdims=True)
        return np.asarray((own @ self.skin / (self.skin @ self.skin)).clip(0, 1))


def skin_to_skin(crop: UInt8[Array, "S S 3"], goal: UInt8[Array, "S S 3"], where: Bool[Array, "S S"]) -> Change:
    """What gives `crop` (S, S, 3) the skin of `goal` (S, S, 3), both where `where` (S, S) bool says.

    Each of the two is described by itself, so that they need not show the same in the same place: a plane through the
    brightness of its skin, by Tukey's biweight, and the colour and the spread around it. What deviates far, as glasses
    do and hair across a brow, counts for nothing.
    """
    y, x = np.nonzero(where)
    if len(y) < ENOUGH:
        return Change(size=len(crop))
    every = -(-len(y) // _MOST)
    y, x = y[::every], x[::every]
    places = np.stack([x, y], -1) / len(crop) - 0.5
    (ours, our_slope, our_spread), (theirs, slope, spread) = (_skin(one[y, x], places) for one in (crop, goal))
    # Half way between the other's contrast in log odds and one's own in grey levels: skin that becomes much lighter, or
    # much darker, would lose its features, or be all features.
    own_levels, their_levels = (float((_share(one) * (1 - _share(one))).mean()) for one in (ours, theirs))
    gain = float(np.sqrt(spread / our_spread * own_levels / their_levels).clip(1 / _CONTRAST, _CONTRAST))
    right, down = (slope - gain * our_slope).clip(-_STEEPEST, _STEEPEST).tolist()
    own = ours - ours.mean()
    return Change(
        size=len(crop),
        gain=gain,
        shift=theirs - gain * ours,
        slope=(right, down),
        skin=own if np.abs(own).max() > _LEAST_SPREAD else None,
    )


def _skin(
    pixels: Num[Array, "M 3"], places: Float[Array, "M 2"]
) -> tuple[Float[Array, " 3"], Float[Array, " 2"], float]:
    """Of pixels (M, 3) at places (M, 2), -0.5 to 0.5: the log odds (3,) of the skin among them in the middle, the slope
    (2,) of its brightness, the spread around that."""
    odds = _odds(pixels.astype(np.float32))
    bright = odds.mean(1)
    plane = np.column_stack([np.ones(len(places)), places])
    fit, weights = np.array([np.median(bright), 0.0, 0.0]), np.ones(len(places))
    spread = _LEAST_SPREAD
    for _ in range(_STEPS):
        off = bright - plane @ fit
        spread = max(1.4826 * float(np.median(np.abs(off))), _LEAST_SPREAD)
        weights = np.square((1 - np.square(off / (_TUKEY * spread))).clip(0, None))
        weighted = plane * weights[:, None]
        # A little of a flat plane, for skin that shows in one spot alone.
        fit = np.linalg.solve(weighted.T @ plane + np.diag([0, 1, 1]), weighted.T @ bright)
    level = odds - (places @ fit[1:])[:, None]
    skin = weights > 0.25
    return np.median(level[skin], axis=0), fit[1:], spread


def _share(odds: Float[Array, " *N"]) -> Float[Array, " *N"]:
    """0-1 of log odds."""
    return np.asarray(1 / (1 + np.exp(-odds)))


def _odds(pixels: Num[Array, " *N"]) -> Float[Array, " *N"]:
    """Of 0-255, each level taken at its middle, so that black and white have some, too."""
    share = (pixels.clip(0, 255) + 0.5) / 256
    return np.asarray(np.log(share / (1 - share)))
