"""Two kinds of pictures that a base of heads learns from, people who were drawn and photos: which of them, in which
shares, and what captions say of each.

    table = worth_learning(FaceTable.load(["cache/faces", "cache/people"]))
    plain = measures(table)
    rows = Kinds.of(plain).rows(rng, 64)        # 60 % people who were drawn
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from personae.shapes import Bool, Float, Int, UInt8
from personae.training import captions
from personae.training.face_table import FaceTable
from personae.types import Array

STUDIO, SNAPSHOT = "studio portrait", "snapshot"
SHARP, SOFT = "sharp", "soft"
COVERED = 0.93  # the share of a crop that must lie inside its photo
_SHARPEST = 1 / 3  # the share of the photos that are learnt from: the rest are softer than any studio's
# The sharpness from which a picture is called sharp: about half of the photos learnt from have it, and six in seven
# pictures of drawn people. One measure for both, or the word would mean another thing of each.
_SHARP_FROM = 400.0
_DRAWN = 0.6  # the share of people who were drawn, beside photos
_AT_ONCE = 512  # crops


def sharpness(crops: UInt8[Array, "N S S 3"]) -> Float[Array, " N"]:
    """(N,) variance of the Laplacian of the grey crop, as `prepare` cuts it, on its middle half: low means blurred."""
    starts = range(0, len(crops), _AT_ONCE)  # all at once, 80,000 crops would take ten gigabytes
    return np.concatenate([np.empty(0, np.float32), *(_sharpness(crops[at : at + _AT_ONCE]) for at in starts)])


def _sharpness(crops: Array) -> Array:
    grey = crops[:, 24:104, 24:104].mean(-1, dtype=np.float32)
    laplacian = (
        -4 * grey[:, 1:-1, 1:-1] + grey[:, 2:, 1:-1] + grey[:, :-2, 1:-1] + grey[:, 1:-1, 2:] + grey[:, 1:-1, :-2]
    )
    return np.asarray(laplacian.var(axis=(1, 2)))


def worth_learning(table: FaceTable) -> FaceTable:
    """Of a table with crops as `prepare` cuts them, everybody who was drawn, and the sharpest of the photos that show a
    face whole."""
    photos = ~table.drawn
    if not photos.any():
        return table
    sharp = sharpness(table.crops)
    least = np.quantile(sharp[photos], 1 - _SHARPEST)
    return table.where(table.drawn | ((table.coverage > COVERED) & (sharp >= least)))


def measures(table: FaceTable) -> list[captions.Measures]:
    """What captions may say of a table's pictures, with words for their kind: of people who were drawn these may be
    said, of photos they always are."""
    sharp = sharpness(table.crops) >= _SHARP_FROM
    return [_of_kind(*row) for row in zip(captions.measure(table), table.drawn, sharp, strict=True)]


def of_drawn() -> captions.Measures:
    """Of somebody who was drawn and whom nobody labelled."""
    return _of_kind(captions.Measures(subject="person", phrases=()), drawn=True, sharp=True)


def _of_kind(plain: captions.Measures, drawn: bool, sharp: bool) -> captions.Measures:
    kind = (STUDIO if drawn else SNAPSHOT, SHARP if sharp else SOFT)
    return replace(plain, phrases=(*plain.phrases, *kind)) if drawn else replace(plain, kind=kind)


@dataclass(frozen=True)
class Kinds:
    """photos: (N,) bool, which of the pictures are photos."""

    photos: Bool[Array, " N"]

    @classmethod
    def of(cls, plain: Sequence[captions.Measures]) -> "Kinds":
        """By what captions say."""
        return cls(np.array([bool(one.kind) for one in plain]))

    def rows(self, rng: np.random.Generator, size: int) -> Int[Array, " M"]:
        """(size,) pictures of both kinds in their shares; of one kind alone, evenly."""
        if self.photos.all() or not self.photos.any():
            return rng.integers(len(self.photos), size=size)
        drawn, photos = (rng.choice(np.flatnonzero(which), size) for which in (~self.photos, self.photos))
        return np.where(rng.random(size) < _DRAWN, drawn, photos)

    def balanced(self, shares: Float[Array, " N"]) -> Float[Array, " N"]:
        """How often each picture is drawn, (N,) of sum 1: by `shares` (N,) among those of its kind."""
        if self.photos.all() or not self.photos.any():
            return shares / shares.sum()
        parts = ((~self.photos, _DRAWN), (self.photos, 1 - _DRAWN))
        return np.asarray(sum(shares * which * part / shares[which].sum() for which, part in parts))
