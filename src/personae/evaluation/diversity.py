"""diversity.measure(images, motions, features, real_motions) -> {"pose_spread": ..., "pixel_distance": ...}

Is a person generated four ways, or one way four times? Distances between the images of one person, and how far
their poses and expressions spread, beside the spread across real photos of different people.
"""

from collections.abc import Callable, Sequence

import numpy as np

from personae.errors import BadData
from personae.evaluation import estimate
from personae.evaluation.estimate import Estimate
from personae.types import Array, Motion


def pixel_distance(images: Array) -> float:
    """Mean root-mean-square difference between all pairs of M images (M, H, W, 3) RGB uint8, 0-1."""
    flat = images.reshape(len(images), -1).astype(np.float32) / 255
    return _over_pairs(lambda i, j: float(np.sqrt(np.mean((flat[i] - flat[j]) ** 2))), len(images))


def feature_distance(features: Array) -> float:
    """Mean 1 - cosine between all pairs of M feature vectors (M, D)."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    return _over_pairs(lambda i, j: float(1 - unit[i] @ unit[j]), len(features))


def spread(motions: Sequence[Motion]) -> tuple[float, float]:
    """(pose, expression) of some motions: the standard deviation in degrees, averaged over yaw and pitch, and that
    of the 52 blendshapes, averaged. NaN for fewer than two."""
    if len(motions) < 2:
        return float("nan"), float("nan")
    poses = np.array([(m.pose.yaw, m.pose.pitch) for m in motions])
    shapes = np.stack([m.blendshapes for m in motions])
    return float(poses.std(0, ddof=1).mean()), float(shapes.std(0, ddof=1).mean())


def measure(
    images: Array,
    motions: Sequence[Sequence[Motion | None]],
    features: Array,
    real_motions: Sequence[Motion],
    *,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Diversity within P people of M >= 2 images each.

    images: (P, M, H, W, 3) RGB uint8; motions[p][m]: None where no face was found, such images are left out;
    features: (P, M, D) of the realism backbone; real_motions: of different people's photos.
    """
    if images.shape[1] < 2:
        raise BadData(f"diversity needs at least two images per person, got {images.shape[1]}: raise --images")
    spreads = np.array([spread([m for m in person if m is not None]) for person in motions])
    finite = spreads[np.isfinite(spreads).all(1)]
    pose, expression = spread(real_motions)
    figures = {
        "pixel_distance": estimate.mean(np.array([pixel_distance(person) for person in images]), seed),
        "feature_distance": estimate.mean(np.array([feature_distance(person) for person in features]), seed),
    }
    if len(finite):
        figures["pose_spread"] = estimate.mean(finite[:, 0], seed)
        figures["expression_spread"] = estimate.mean(finite[:, 1], seed)
    if np.isfinite(pose):
        real = len(real_motions)
        figures["pose_spread_real"] = estimate.plain(pose, real)
        figures["expression_spread_real"] = estimate.plain(expression, real)
    return figures


def _over_pairs(distance: Callable[[int, int], float], count: int) -> float:
    return float(np.mean([distance(i, j) for i in range(count) for j in range(i)]))
