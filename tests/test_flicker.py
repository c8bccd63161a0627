"""Flicker: none in a still or in a steady motion, its own size in noise, and no confusion of motion with it."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from personae.errors import BadData
from personae.evaluation import flicker

RNG = np.random.default_rng(0)
SMOOTH = (gaussian_filter(RNG.uniform(0, 255, (96, 96, 3)), (4, 4, 0)) - 100).clip(0, 255)
MARKS = RNG.uniform(30, 60, (50, 3))


def noisy(count: int, spread: float) -> list[np.ndarray]:
    noise = np.random.default_rng(1).normal(0, spread, (count, 96, 96, 3))
    return [np.round(np.full((96, 96, 3), 128) + one).clip(0, 255).astype(np.uint8) for one in noise]


def test_a_still_has_none() -> None:
    frames = [SMOOTH.astype(np.uint8)] * 4
    assert flicker.warp_error(frames, [MARKS] * 4).tolist() == [0, 0, 0]
    assert flicker.high_pass(frames).tolist() == [0, 0]


@pytest.mark.parametrize("spread", [4.0, 12.0])
def test_noise_is_measured_as_what_it_is(spread: float) -> None:
    frames = noisy(6, spread)
    assert flicker.high_pass(frames).mean() == pytest.approx(spread, rel=0.03)
    # The mean absolute difference of two normal numbers: 2 / sqrt(pi) of their standard deviation.
    assert flicker.warp_error(frames, [MARKS] * 6).mean() == pytest.approx(spread * 2 / np.sqrt(np.pi), rel=0.05)


def test_motion_that_landmarks_tell_is_not_flicker() -> None:
    frames = [np.roll(SMOOTH, 3 * t, axis=1).astype(np.uint8) for t in range(4)]
    marks = [MARKS + np.array((3 * t, 0, 0)) for t in range(4)]
    told = flicker.warp_error(frames, marks)
    assert told.shape == (3,)
    assert told.max() < 1e-3
    assert flicker.warp_error(frames, [MARKS] * 4).min() > 1


def test_a_face_that_grows_is_followed_too() -> None:
    across, down = np.meshgrid(np.arange(96.0), np.arange(96.0))

    def grown(scale: float) -> np.ndarray:
        values = [128 + 60 * np.sin(((x - 48) / scale) / 6) for x in (across, down, (across + down) / 2)]
        return np.round(np.stack(values, -1)).astype(np.uint8)

    marks = [(MARKS - 48) * scale + 48 for scale in (1, 1.2)]
    frames = [grown(1), grown(1.2)]
    assert flicker.warp_error(frames, marks).max() < 1  # what is left is rounding and resampling
    assert flicker.warp_error(frames, [marks[0]] * 2).min() > 3


def test_too_little_to_measure() -> None:
    frames = noisy(2, 1)
    with pytest.raises(BadData, match="2 frames at least, got 1"):
        flicker.warp_error(frames[:1], [MARKS])
    with pytest.raises(BadData, match="3 frames at least, got 2"):
        flicker.high_pass(frames)
    with pytest.raises(BadData, match="as many sets of landmarks"):
        flicker.warp_error(frames, [MARKS])
    with pytest.raises(BadData, match="outside the picture"):
        flicker.warp_error(frames, [MARKS + 300] * 2)
