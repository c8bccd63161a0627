"""appearance.measure(generated, real) -> {"sharpness": 0.82 of the real one's, "grid": 1.1, ...}

Faults the eye sees at once and no recogniser does: softness, a colour cast, a grid. Each figure is a number per
image, averaged; `real` are photographs cropped as the model crops. Images (N, S, S, 3) RGB uint8.
"""

import numpy as np

from personae.evaluation import estimate
from personae.evaluation.estimate import Estimate
from personae.shapes import Float, UInt8
from personae.types import Array

_LUMA = np.array((0.299, 0.587, 0.114), np.float32)


def sharpness(images: UInt8[Array, "N H W 3"]) -> Float[Array, " N"]:
    """(N,) mean absolute Laplacian of the luminance, 0-255 scale: fine detail, and noise."""
    grey = images.astype(np.float32) @ _LUMA
    inner = grey[:, 1:-1, 1:-1]
    around = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
    return np.abs(around - 4 * inner).mean((1, 2))


def grid(images: UInt8[Array, "N H W 3"], period: int = 8) -> float:
    """How far the spectrum of N images stands out at `period` pixels and its harmonics: 1 is not at all.

    A decoder that repeats itself every `period` pixels, those of a cell of its latents, puts its error into exactly
    these frequencies; they are compared with the median of their neighbours, along rows and along columns. The highest
    harmonic, every second pixel, belongs to the period 2 alone: a decoder's last enlargement leaves it.
    """
    grey = images.astype(np.float32) @ _LUMA
    peaks = []
    for axis in (1, 2):
        steps = np.diff(grey, axis=axis)
        steps = np.moveaxis(steps, axis, -1)
        # A window whose length is a multiple of the period puts its harmonics onto whole bins.
        length = steps.shape[-1] // period * period
        power = (np.abs(np.fft.rfft(steps[..., :length] * np.hanning(length), axis=-1)) ** 2).mean((0, 1))
        for harmonic in range(1, max(2, period // 2)):
            k = harmonic * length // period
            near = [i for i in range(max(1, k - 5), min(len(power), k + 6)) if abs(i - k) >= 2]
            neighbours = power[[i for i in near if i % (length // period)]]
            peaks.append(float(power[k] / np.median(neighbours)))
    return max(peaks)


def measure(generated: Array, real: Array, *, period: int = 8, seed: int = 0) -> dict[str, Estimate]:
    """Figures of images (N, S, S, 3) beside those of real crops (M, S, S, 3), both RGB uint8. period: of `grid`."""
    real_sharpness = sharpness(real).mean()
    cast = float(np.abs(generated.mean((0, 1, 2)) - real.mean((0, 1, 2))).mean())
    return {
        "sharpness": estimate.mean(sharpness(generated) / real_sharpness, seed),
        "colour_cast": estimate.plain(cast, len(generated)),
        "contrast": estimate.mean(generated.std((1, 2, 3)) / real.std((1, 2, 3)).mean(), seed),
        "grid": estimate.plain(grid(generated, period), len(generated)),
        "grid_real": estimate.plain(grid(real, period), len(real)),
        "pixel_pairs": estimate.plain(grid(generated, 2), len(generated)),
        "pixel_pairs_real": estimate.plain(grid(real, 2), len(real)),
    }
