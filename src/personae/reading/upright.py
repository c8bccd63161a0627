"""sights = Finder(detector, motion).find([pixels, ...])     # per photo, every face measured as if it stood upright

The detector finds faces that stand about upright, and its score says little about one that does not. What it finds is
therefore measured until the landmarks hold still (`steady`). Where they do not, and where the detector saw something
too weakly, the place is looked at again from eight sides. From each of the best the face is measured, stood upright by
what was measured, and looked at by the detector once more: which side was right, and whether there is a face at all,
is what the detector then says. Only what held still at first is a face whatever it says: a side must be worth more to
take its place.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from personae.reading.detect import Detector, Found, nms
from personae.reading.face_motion import MotionReader
from personae.reading.steady import LIMIT, STILL, Look, steady, tilt_of
from personae.shapes import UInt8
from personae.types import Array, Detection, Motion

_TURNS = tuple(range(0, 360, 45))  # degrees clockwise in which a doubtful face is tried
_TURNED = 4  # weak candidates of a photo that are looked at from eight sides, strongest first
_SIDES, _SIDE = 3, 0.5  # of the eight, how many are measured: the best scored, if they score as much
# Scores of a face that holds still: 95 % of held-out photos reach the first at first sight, and are taken as they were
# seen; what reaches the second once it is stood upright is taken as it stands then. All else is looked at from eight
# sides, and stays as it was seen unless a side is worth more.
_CLEAR, _SURE = 0.8, 0.85
# What counts at first sight but does not hold still there must reach the first of these when it is stood upright from
# one of its sides, or the second if it holds still then: faces in profile and such as overrun the picture do not, and
# stay if they were clear (two of 150 photos: .78 and .87; of what is no face, coins reach .62, a retina .31). What
# counts at second sight only must be clear there and hold about still (a cat's face gets .79), or be sure. The same is
# required of a side that takes the place of what held still as it was seen.
_SOME, _SOME_STILL = 0.7, 0.65
# A head that leans further than the first (degrees), though the detector saw one upright, must be worth the second.
# A face turned to its side (yaw 30-50), level but restless under the landmarks, is otherwise read upside down: 7 of
# 1,564 held-out photos, worth .62 to .766 there; 70 rotated photos of 14 people, read as turned: from .774 on.
# A space suit on its side, scored .76, was the astronaut's largest face.
_LEANING, _LEANS = 30, 0.77
_PENALTY = 2.0  # of the score, for each eye distance by which the landmarks move: to choose between sides
# From which score on a weak candidate that holds still is a face: as the detector saw it (from the second on, about
# still), and stood upright from the best of eight sides, of which one may look like a face by chance.
_FIRM, _FIRMER, _FIRM_FROM_SIDES = 0.6, 0.7, 0.75
_LEAST = _SOME_STILL  # what scores less, stood upright, is no face by any of these
_OVERLAP = 0.4  # of two boxes whose intersection over union is larger, the better scored one stays


class SearchingDetector(Detector, Protocol):
    """A detector that also says what it is not sure of, and looks at a place from all sides."""

    def search(self, images: Sequence[UInt8[Array, "_ _ 3"]], *, doubtful: bool = False) -> list[Found]:
        """Faces and weak candidates of each image (H, W, 3) RGB uint8; sizes may differ. doubtful: look everywhere and
        at everything weak, as if no face had counted."""
        ...

    def turned(self, pixels: UInt8[Array, "H W 3"], candidate: Detection, turns: Sequence[float]) -> list[Detection]:
        """The face at `candidate` in windows turned by so many degrees clockwise, best first, as far as they show one;
        points and box in the photo's pixels."""
        ...


@dataclass(frozen=True, kw_only=True)
class Sight:
    """One face: `detection`, its points those of the landmarks where `motion` was measured."""

    detection: Detection
    motion: Motion | None = None


class Finder:
    """Finds and measures the faces of photos. Equal photos give equal faces, alone or among others."""

    def __init__(self, detector: SearchingDetector, motion: MotionReader) -> None:
        self._detector, self._motion = detector, motion

    def find(self, images: Sequence[UInt8[Array, "_ _ 3"]]) -> list[list[Sight]]:
        """The faces of each image (H, W, 3) RGB uint8, largest first."""
        found = self._detector.search(images)
        return [self._measured(pixels, one) for pixels, one in zip(images, found, strict=True)]

    def _measured(self, pixels: UInt8[Array, "H W 3"], found: Found) -> list[Sight]:
        sights = self._faces(pixels, found, _TURNED)
        if not sights and found.counted:
            # What counted was no face, and kept the detector from looking further: a hand beside a face on its side.
            (again,) = self._detector.search([pixels], doubtful=True)
            sights = self._faces(pixels, again.without(found), _TURNED - len(found.weak))
        if not sights:
            return []
        boxes = np.stack([sight.detection.box for sight in sights])
        distinct = [sights[i] for i in nms(boxes, np.array([sight.detection.score for sight in sights]), _OVERLAP)]
        return sorted(distinct, key=lambda sight: -float((sight.detection.box[2:] - sight.detection.box[:2]).prod()))

    def _faces(self, pixels: UInt8[Array, "H W 3"], found: Found, turns: int) -> list[Sight]:
        """The faces among what was found; so many of the weak candidates are looked at from eight sides."""
        sights = [self._sure(pixels, one, _first) for one in found.faces]
        sights += [self._sure(pixels, one, _later) for one in found.later]
        sights += [self._unsure(pixels, one, turn=i < turns) for i, one in enumerate(found.weak)]
        return [sight for sight in sights if sight is not None]

    def _sure(self, pixels: UInt8[Array, "H W 3"], found: Detection, holds: Callable[["_Stood"], bool]) -> Sight | None:
        """A face that the detector counts: as it was seen, if it holds still so; or from its best side, if it `holds`
        there and is worth more. None if it does neither."""
        look, as_is = steady(self._motion, pixels, found.points), None
        if look is not None and look.settled:
            as_is = _Stood(sight=_sight(found, look), score=found.score, moved=look.moved)
            if found.score >= _CLEAR:
                return as_is.sight
            again = self._stood(pixels, found, look)
            if again is not None and again.score >= _SURE:
                return again.sight
        best = self._from_sides(pixels, found, holds)
        if best is None and as_is is None and look is not None and holds is _first and found.score >= _CLEAR:
            return _sight(found, look)  # in profile, say: no side shows it better than it was seen
        return _better(as_is, best)

    def _unsure(self, pixels: UInt8[Array, "H W 3"], candidate: Detection, *, turn: bool) -> Sight | None:
        """A weak candidate, if it holds still as it was seen, or (`turn`) from a side from which it is seen well."""
        as_is, best = None, None
        if candidate.score >= _FIRM:
            look = steady(self._motion, pixels, candidate.points)
            if look is not None and look.moved < (LIMIT if candidate.score >= _FIRMER else STILL):
                as_is = _Stood(sight=_sight(candidate, look), score=candidate.score, moved=look.moved)
                as_is = as_is if _leans_rightly(as_is) else None
        if turn:
            best = self._from_sides(pixels, candidate, _from_weak)
        return _better(as_is, best)

    def _from_sides(
        self, pixels: UInt8[Array, "H W 3"], found: Detection, holds: Callable[["_Stood"], bool]
    ) -> "_Stood | None":
        """The face as it `holds` best when it is stood upright by what is measured from one of the best sides."""
        stood = []
        for side in self._detector.turned(pixels, found, _TURNS)[:_SIDES]:
            if side.score < _SIDE:
                break
            look = steady(self._motion, pixels, side.points)
            if look is not None and (one := self._stood(pixels, replace(found, box=side.box), look)) is not None:
                stood.append(one)
        return max((one for one in stood if holds(one)), key=lambda one: one.worth, default=None)

    def _stood(self, pixels: UInt8[Array, "H W 3"], found: Detection, look: Look) -> "_Stood | None":
        """What the detector, and then the motion reader, see of a face that is stood upright by a `look` at it."""
        upright = self._detector.turned(pixels, found, (look.tilt,))
        if not upright or upright[0].score < _LEAST:
            return None
        again = steady(self._motion, pixels, upright[0].points)
        if again is None:
            return None
        sight = _sight(replace(upright[0], score=max(found.score, upright[0].score)), again)
        return _Stood(sight=sight, score=upright[0].score, moved=again.moved)


@dataclass(frozen=True, kw_only=True)
class _Stood:
    """A face, stood upright or as it was seen: the detector's `score` of it, and how far its landmarks `moved` in the
    last look."""

    sight: Sight
    score: float
    moved: float

    @property
    def tilt(self) -> float:
        """Degrees clockwise by which its eyes are turned."""
        return tilt_of(self.sight.detection.points)

    @property
    def worth(self) -> float:
        """What to choose between sides by."""
        return self.score - _PENALTY * self.moved


def _leans_rightly(stood: _Stood) -> bool:
    """Whether the head leans no further than heads do, or is worth to be seen so."""
    return abs(stood.tilt) <= _LEANING or stood.worth >= _LEANS


def _first(stood: _Stood) -> bool:
    """Whether what counts at first sight is a face, by how it is seen upright."""
    return stood.score >= (_SOME_STILL if stood.moved < STILL else _SOME) and _leans_rightly(stood)


def _later(stood: _Stood) -> bool:
    """The same of what counts at second sight only."""
    return stood.score >= (_CLEAR if stood.moved < LIMIT else _SURE)


def _from_weak(stood: _Stood) -> bool:
    """The same of what no look was sure of."""
    return stood.score >= _FIRM_FROM_SIDES and stood.moved < LIMIT


def _better(as_is: _Stood | None, best: _Stood | None) -> Sight | None:
    """A face as it was seen, or as it is from its best side."""
    sights = [one for one in (as_is, best) if one is not None]
    return max(sights, key=lambda one: one.worth).sight if sights else None


def _sight(found: Detection, look: Look) -> Sight:
    return Sight(detection=look.of(found), motion=look.motion)
