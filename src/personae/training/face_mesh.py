"""python -m personae.training.face_mesh cache/faces -o src/personae/weights/face_mesh.safetensors

Fit the face model that pose maps are drawn from (`conditioning.head_mesh.FaceModel`) to a labelled cache: the mean
face, what each blendshape moves, and triangles between the landmarks. Least squares, no licensed head model; held-out
photos are left out. A minute on one core, and the same file each time.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.spatial import Delaunay  # type: ignore[import-untyped]

from personae.conditioning.head_mesh import IRISES, FaceModel, in_photo
from personae.data import shards
from personae.errors import BadData
from personae.reading.rotation import rotation
from personae.training.mirror import mirrored_blendshapes, mirrored_landmarks
from personae.types import BLENDSHAPES, Array

_RIDGE = 1e-3  # per photo, against the variance of a blendshape: one that hardly ever occurs moves next to nothing
_STEEPEST = 60  # degrees of yaw or pitch, beyond which landmarks are guesses
_OPEN = {
    "jawOpen": 0.6,
    "eyeWideLeft": 1.0,
    "eyeWideRight": 1.0,
}  # parts the lips and lids before they are triangulated


def fit(cache: str | Path) -> FaceModel:
    """The model of a cache's training photos. Raises `BadData` if it holds too few."""
    landmarks, angles, blendshapes = _labels(Path(cache))
    mirror, swap = mirrored_landmarks(landmarks.mean(0)), mirrored_blendshapes()
    points = in_photo(landmarks)
    points = points - points.mean(1, keepdims=True)
    points = points @ rotation(angles)  # rows, so this turns back
    points /= np.sqrt((points**2).sum(2).mean(1))[:, None, None]
    # A mirror image is as good a photo: both sides of the face learn from both.
    points = np.concatenate([points, points[:, mirror] * (-1, 1, 1)])
    angles = np.concatenate([angles, angles * (1, -1, -1)])
    blendshapes = np.concatenate([blendshapes, blendshapes[:, swap]])
    # What the labeller's landmarks do wrongly at a turned pose is explained by the pose, and left out of the model.
    turned = np.radians(angles[:, :2])
    nuisance = np.column_stack([turned, turned**2, turned[:, :1] * turned[:, 1:]])
    design = np.column_stack([np.ones(len(points)), blendshapes, nuisance])
    penalty = np.zeros(design.shape[1])
    penalty[1 : 1 + len(BLENDSHAPES)] = _RIDGE * len(points)
    goal = points.reshape(len(points), -1)
    solved = np.linalg.solve(design.T @ design + np.diag(penalty), design.T @ goal)
    solved = solved.reshape(-1, landmarks.shape[1], 3)
    mean, moves = solved[0], solved[1 : 1 + len(BLENDSHAPES)]
    return FaceModel(mean=mean, moves=moves, triangles=_triangles(mean, moves), mirror=mirror)


def _labels(cache: Path) -> tuple[Array, Array, Array]:
    """Landmarks (N, K, 3), angles (N, 3) and blendshapes (N, B) of the training photos that are not in profile."""
    rows = [
        shards.unpack_arrays(parts["labels.npz"])
        for tar in sorted(cache.glob("*.tar"))
        for key, parts in shards.read(tar)
        if not shards.held_out(key)
    ]
    if len(rows) < 2:
        raise BadData(f"{cache} holds {len(rows)} training photos: run `personae prepare PHOTOS -o {cache}` first")
    columns = (
        np.stack([row[name] for row in rows]).astype(np.float64) for name in ("landmarks", "pose", "blendshapes")
    )
    landmarks, angles, blendshapes = columns
    shallow = np.abs(angles[:, :2]).max(1) < _STEEPEST
    return landmarks[shallow], angles[shallow], blendshapes[shallow]


def _triangles(mean: Array, moves: Array) -> Array:
    """(T, 3) Delaunay's triangulation of the mean face unrolled onto a cylinder, lips and lids parted; the irises,
    which slide under the lids, are left out."""
    parted = mean + sum(amount * moves[BLENDSHAPES.index(name)] for name, amount in _OPEN.items())
    around = np.arctan2(parted[:, 0], parted[:, 2] + 2)  # the axis lies behind the ears
    flat = np.column_stack([2 * around, parted[:, 1]])[: IRISES.start]
    triangles = Delaunay(flat).simplices
    a, b, c = (flat[triangles[:, i]] for i in range(3))
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    triangles[area < 0] = triangles[area < 0][:, ::-1]
    return triangles[np.lexsort(triangles.T)]


def main() -> None:
    parser = argparse.ArgumentParser(description="Fit the face model that pose maps are drawn from.")
    parser.add_argument("cache", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    arguments = parser.parse_args()
    fit(arguments.cache).save(arguments.out)


if __name__ == "__main__":
    main()
