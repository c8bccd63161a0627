"""What drives an animation: one face of a video, read frame by frame.

track = read("talk.mp4", pipe.reader)             # a Track with a hole wherever the face is not seen
track = read("two.mp4", pipe.reader, face=2)      # the second largest of the first frame that shows two
"""

import dataclasses
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from personae.errors import BadOption, NoFaceFound, WeightsMissing
from personae.io import video_file
from personae.reading.reader import FaceReader
from personae.shapes import Float
from personae.types import Array, Face
from personae.video.motion_track import ANGLES, COLUMNS, Track, within_range

SAME_PLACE = 0.3  # intersection over union with the box before: it is the same face, whatever it does
SAME_PERSON = 0.3  # cosine: how alike one that is found elsewhere, after a cut, must be


class Follower:
    """Knows one face again from frame to frame: by where it was, and where that fails, by who it is."""

    def __init__(self, face: int = 1) -> None:
        """face: which one to follow, 1 the largest, in the first frame that shows so many."""
        if face < 1:
            raise BadOption(f"faces are counted from 1, the largest, got {face}")
        self._number = face
        self._box: Array | None = None
        self._sum: Array | None = None  # of its identities so far: their mean is steadier than any one

    def find(self, faces: Sequence[Face]) -> Face | None:
        """The followed one of a frame's faces, largest first, read with their identities; None if it is not there."""
        if self._box is None or self._sum is None:
            chosen = faces[self._number - 1] if len(faces) >= self._number else None
        else:
            chosen = self._known(faces, self._box, self._sum / np.linalg.norm(self._sum))
        if chosen is not None and chosen.identity is not None:
            self._box = chosen.detection.box
            self._sum = chosen.identity.vector + (0 if self._sum is None else self._sum)
        return chosen

    @staticmethod
    def _known(faces: Sequence[Face], box: Array, person: Array) -> Face | None:
        def place(face: Face) -> float:
            return overlap(face.detection.box, box)

        def alike(face: Face) -> float:
            return -1.0 if face.identity is None else float(face.identity.vector @ person)

        near = [face for face in faces if place(face) >= SAME_PLACE]
        if near:  # two that cross each other: the one that is in the better place and more alike
            return max(near, key=lambda face: place(face) + alike(face))
        return max((face for face in faces if alike(face) >= SAME_PERSON), key=alike, default=None)


def overlap(a: Float[Array, " 4"], b: Float[Array, " 4"]) -> float:
    """Intersection over union of two boxes (4,): left, top, right, bottom."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = float(np.prod(sides.clip(0)))
    areas = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]))
    return shared / (areas - shared) if areas > shared else 0.0


def read(
    path: str | Path,
    reader: FaceReader,
    *,
    face: int = 1,
    limits: video_file.Limits | None = None,
    on_frame: Callable[[int], None] = lambda count: None,
) -> Track:
    """One face of a video as a track, not smoothed. limits: how far it is read. on_frame: hears how many frames are
    read.

    Raises `BadVideo`; `NoFaceFound` if no frame shows the face; `WeightsMissing` for a reader that measures no motion.
    """
    if reader.motion is None:
        raise WeightsMissing("this model's reader measures no pose and no expression: use one that does")
    follower = Follower(face)
    rows: list[Array] = []
    for pixels in video_file.frames(path, limits):
        rows.append(_row(follower.find(reader.read(pixels))))
        on_frame(len(rows))
    motion = np.stack(rows)
    if np.isnan(motion).all():
        which = "a face" if face == 1 else f"{face} faces at once"
        raise NoFaceFound(f"none of the {len(rows)} frames of {path} shows {which}: give another video")
    return Track(fps=video_file.probe(path).fps, motion=within_range(motion))


def _row(face: Face | None) -> Array:
    if face is None or face.motion is None:
        return np.full(len(COLUMNS), np.nan)
    angles = dataclasses.asdict(face.motion.pose)
    return np.array([*(angles[name] for name in ANGLES), *face.motion.blendshapes.astype(np.float64)])


def spans(numbers: Sequence[int]) -> str:
    """Frame numbers for people: `0-3, 17`."""
    runs = [[n for _, n in run] for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])]
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
