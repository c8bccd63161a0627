"""What happens to a picture after it was marked, with a gradient: cut, reduced, enlarged, softened, lit, compressed.

    attack = Attack.drawn(generator)            # of a whole batch; sizes and positions are common to it
    attacked = attack(marked, generator)        # (N, 3, S, S) again, as the detector's canonical picture

Rounding has the gradient of Shin and Song ("JPEG-resistant adversarial images", 2017), so that the encoder learns which
coefficients survive. A real JPEG or WebP takes part now and then; its gradient is that of doing nothing.
"""

import io
import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image
from torch import Tensor

from personae.shapes import Float, Num
from personae.training.images import to_pixels, to_tensor

_LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *(((99,) * 8),) * 4,
)
_TO_YCC = torch.tensor([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
_BACK = torch.linalg.inv(_TO_YCC)


@cache
def _dct() -> Tensor:
    """(8, 8) orthonormal: rows are the frequencies."""
    k, x = np.mgrid[0:8, 0:8]
    matrix = np.cos((2 * x + 1) * k * np.pi / 16) * np.where(k == 0, np.sqrt(1 / 8), 0.5)
    return torch.tensor(matrix, dtype=torch.float32)


def rounded(values: Float[Tensor, " *N"]) -> Float[Tensor, " *N"]:
    """Whole numbers, with a gradient that is steep between two of them and flat at each."""
    whole = values.detach().round()
    soft = whole + (values - whole) ** 3
    return soft + (whole - soft).detach()


def _table(entries: tuple[tuple[int, ...], ...], quality: Tensor) -> Tensor:
    """(N, 1, 1, 8, 8) steps of qualities (N,), as libjpeg scales them."""
    scale = torch.where(quality < 50, 50 / quality, 2 - quality / 50)
    base = torch.tensor(entries, dtype=torch.float32, device=quality.device)
    return (base * scale[:, None, None]).round().clamp(1, 255)[:, None, None]


def _quantised(plane: Tensor, table: Tensor) -> Tensor:
    """(N, H, W) after 8 x 8 blocks of it were quantised by (N, 1, 1, 8, 8)."""
    count, height, width = plane.shape
    dct = _dct().to(plane.device)
    blocks = plane.reshape(count, height // 8, 8, width // 8, 8).transpose(2, 3)
    values = dct @ blocks @ dct.T
    blocks = dct.T @ (rounded(values / table) * table) @ dct
    return blocks.transpose(2, 3).reshape(count, height, width)


def jpeg(images: Float[Tensor, "N 3 H W"], quality: Num[Tensor, " N"]) -> Float[Tensor, "N 3 H W"]:
    """(N, 3, H, W) in [-1, 1] as a JPEG with 4:2:0 chroma of qualities (N,) shows them; sides are multiples of 16."""
    pixels = images * 127.5
    planes = torch.einsum("cd,ndhw->nchw", _TO_YCC.to(images.device), pixels)
    luma = _quantised(planes[:, 0], _table(_LUMA, quality))
    small = F.avg_pool2d(planes[:, 1:], 2)
    table = _table(_CHROMA, quality)
    chroma = torch.stack([_quantised(small[:, channel], table) for channel in (0, 1)], 1)
    chroma = F.interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False)
    joined = torch.cat([luma[:, None], chroma], 1)
    return (torch.einsum("cd,ndhw->nchw", _BACK.to(images.device), joined) / 127.5).clamp(-1, 1)


def real_codec(images: Float[Tensor, "N 3 H W"], quality: int, format: str) -> Float[Tensor, "N 3 H W"]:  # noqa: A002
    """(N, 3, H, W) through Pillow's JPEG or WebP, its gradient that of doing nothing."""
    results = []
    for pixels in to_pixels(images.detach()):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format, quality=quality)
        results.append(np.asarray(Image.open(buffer).convert("RGB")))
    return images + (to_tensor(np.stack(results)).to(images.device) - images).detach()


@dataclass(frozen=True, kw_only=True)
class Attack:
    """One batch's. side: pixels per canonical 128 at which it is lit and compressed; cut: the share of a side that a
    crop keeps; at: where it begins, in shares of what is left. 0 stands for not at all."""

    side: int = 128
    cut: float = 1.0
    at: tuple[float, float] = (0.0, 0.0)
    blur: float = 0.0  # sigma in pixels
    noise: float = 0.0  # grey levels
    light: float = 0.0  # how far brightness, contrast and saturation go, each to either side
    quality: tuple[int, int] = (0, 0)  # of JPEG, lowest and highest
    codec: str = ""  # JPEG or WEBP: the real one
    filter: str = "bilinear"  # of changes of size; or bicubic

    @classmethod
    def drawn(cls, generator: torch.Generator) -> "Attack":
        """Some at once, of any strength; one in five batches goes almost unharmed."""

        def chance(share: float) -> bool:
            return float(torch.rand((), generator=generator, device=generator.device)) < share * hard

        def between(low: float, high: float) -> float:
            return low + (high - low) * float(torch.rand((), generator=generator, device=generator.device))

        hard = between(0.1, 1.25)
        side = 16 * round(between(4, 12.4)) if chance(0.5) else 128
        lowest = int(between(50, 85))
        return cls(
            side=side,
            cut=between(0.67, 1) if chance(0.5) else 1.0,
            at=(between(0, 1), between(0, 1)),
            blur=between(0.3, 1.2) if chance(0.25) else 0.0,
            noise=between(1, 6) if chance(0.2) else 0.0,
            light=0.25 if chance(0.3) else 0.0,
            quality=(max(40, lowest - 10), lowest + 10) if chance(0.6) else (0, 0),
            codec=("JPEG" if between(0, 1) < 0.5 else "WEBP") if chance(0.25) else "",
            filter="bilinear" if between(0, 1) < 0.5 else "bicubic",
        )

    def __call__(self, images: Float[Tensor, "N 3 S S"], generator: torch.Generator) -> Float[Tensor, "N 3 S S"]:
        """(N, 3, S, S) in [-1, 1], S a multiple of 16 -> the same shape."""
        size = images.shape[-1]
        side = max(16, 16 * round(self.side * size / 128 / 16))
        count, (top, left) = round(size * self.cut), self.start(size)
        found = _resized(images[:, :, top : top + count, left : left + count], side, self.filter)
        if self.light:
            found = _lit(found, self.light, generator)
        if self.blur:
            found = _softened(found, self.blur)
        if self.noise:
            noise = torch.randn(found.shape, generator=generator, device=found.device)
            found = found + noise * (self.noise / 127.5)
        found = found.clamp(-1, 1)
        if self.codec:
            found = real_codec(found, sum(self.quality) // 2 or 80, self.codec)
        elif self.quality[1]:
            low, high = self.quality
            draws = torch.rand(len(found), generator=generator, device=found.device)
            found = jpeg(found, low + (high - low) * draws)
        else:  # eight bits
            found = found + (torch.rand(found.shape, generator=generator, device=found.device) - 0.5) / 127.5
        return _resized(found, size, self.filter)

    def start(self, size: int) -> tuple[int, int]:
        """Where the crop begins, in pixels down and across."""
        left_over = size - round(size * self.cut)
        return round(self.at[0] * left_over), round(self.at[1] * left_over)


def _resized(images: Tensor, side: int, mode: str) -> Tensor:
    if images.shape[-1] == side:
        return images
    return F.interpolate(images, size=(side, side), mode=mode, antialias=True, align_corners=False)


def _softened(images: Tensor, sigma: float) -> Tensor:
    reach = max(1, math.ceil(2.5 * sigma))
    x = torch.arange(-reach, reach + 1, device=images.device)
    line = torch.exp(-0.5 * (x / sigma) ** 2)
    line = line / line.sum()
    kernel = (line[:, None] * line).expand(3, 1, -1, -1)
    return F.conv2d(F.pad(images, (reach,) * 4, mode="reflect"), kernel, groups=3)


def _lit(images: Tensor, reach: float, generator: torch.Generator) -> Tensor:
    draws = torch.rand(3, len(images), 1, 1, 1, generator=generator, device=images.device)
    brightness, contrast, saturation = 1 + reach * (2 * draws - 1)
    found = (images + 1) * brightness - 1
    middle = found.mean((1, 2, 3), keepdim=True)
    found = middle + (found - middle) * contrast
    grey = found.mean(1, keepdim=True)
    return grey + (found - grey) * saturation
