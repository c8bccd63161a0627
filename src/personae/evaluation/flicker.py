"""flicker.warp_error(frames, landmarks).mean(), flicker.high_pass(frames).mean()      # grey levels, 0-255

Does a video change where nothing moves? Two answers:

- **warp error**: a frame is laid over the one before it by the motion of the face's landmarks; what still differs
  inside the face is not motion. It is the short-term temporal loss of Lai et al. 2018, "Learning Blind Video Temporal
  Consistency" (section 4.2), with landmarks in place of optical flow, which would call flicker motion.
- **high pass**: the second difference in time of every pixel, for which a steady motion needs no landmarks. It also
  sees what is around the face, and any motion that is not steady.

Both are for comparing videos of the same person and motion: how much is little depends on what is shown.
Legend: T frames (T, H, W, 3) RGB uint8, K landmarks.
"""

from collections.abc import Sequence

import numpy as np
from scipy.interpolate import LinearNDInterpolator  # type: ignore[import-untyped]
from scipy.ndimage import map_coordinates  # type: ignore[import-untyped]

from personae.errors import BadData
from personae.shapes import Float, UInt8
from personae.types import Array


def warp_error(
    frames: Sequence[UInt8[Array, "H W 3"]] | UInt8[Array, "T H W 3"],
    landmarks: Sequence[Float[Array, "K _"]] | Float[Array, "T K _"],
) -> Float[Array, " t"]:
    """(T - 1,) mean absolute difference, in grey levels, between each frame and the next one laid over it, within the
    face. landmarks: of each frame, (K, 2 or 3) pixels. Raises `BadData` if there are fewer than two."""
    _require(frames, 2)
    if len(landmarks) != len(frames):
        raise BadData(f"{len(frames)} frames need as many sets of landmarks, got {len(landmarks)}")
    pairs = zip(frames[:-1], frames[1:], landmarks[:-1], landmarks[1:], strict=True)
    return np.array([_laid_over(now, later, here[:, :2], there[:, :2]) for now, later, here, there in pairs])


def high_pass(frames: Sequence[UInt8[Array, "H W 3"]] | UInt8[Array, "T H W 3"]) -> Float[Array, " t"]:
    """(T - 2,) root mean square over pixels, in grey levels, of the second difference in time, x(t - 1) - 2 x(t) +
    x(t + 1), over the square root of 6, which makes it the standard deviation of noise that is new in every frame."""
    _require(frames, 3)
    stack = np.stack(list(frames)).astype(np.float32)
    second = stack[:-2] - 2 * stack[1:-1] + stack[2:]
    return np.asarray(np.sqrt((second.reshape(len(second), -1) ** 2).mean(1) / 6))


def _laid_over(now: Array, later: Array, here: Array, there: Array) -> float:
    """How far `later` is from `now` where the mesh of landmarks `here` carries `there`."""
    left, top = np.floor(here.min(0)).astype(int).clip(0)
    right, bottom = np.minimum(np.ceil(here.max(0)).astype(int) + 1, now.shape[1::-1])
    across, down = np.meshgrid(np.arange(left, right), np.arange(top, bottom))
    # Linear within the triangles between landmarks; NaN beyond them.
    places = LinearNDInterpolator(here, there)(np.column_stack([across.ravel(), down.ravel()]))
    within = np.isfinite(places).all(1) & (places >= 0).all(1) & (places <= np.array(later.shape[1::-1]) - 1).all(1)
    if not within.any():
        raise BadData("the landmarks lie outside the picture: nothing can be compared")
    where = places[within][:, ::-1].T
    moved = np.stack([map_coordinates(later[..., c].astype(np.float32), where, order=1) for c in range(3)], -1)
    still = now[down.ravel()[within], across.ravel()[within]]
    return float(np.abs(moved - still).mean())


def _require(frames: Sequence[Array] | Array, count: int) -> None:
    if len(frames) < count:
        raise BadData(f"flicker shows in {count} frames at least, got {len(frames)}")
