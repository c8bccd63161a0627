"""The two networks of the pixel mark: one writes the pattern, one finds it. Both work on samples of two by two pixels,
as `nn.PixelUnshuffle(2)` puts them together.

The pattern itself is not learnt: it is a sum of known waves (`provenance.carriers`). What is learnt is where and how
strongly a picture bears it (`Encoder`), and how to tell it from the picture (`Decoder`), each a regression from every
sample's surroundings, so that a few thousand steps on a CPU suffice.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from personae.shapes import Float

LARGEST = 255 * 10 ** (-41 / 20)  # root mean square of a residual, in grey levels: a PSNR of 41 dB


def _conv(inside: int, outside: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inside, outside, 3, stride=stride, padding=1)


class Encoder(nn.Module):
    """Samples (N, 12, H, W) of a picture in [-1, 1] and pattern (N, 1, H, W) of unit variance -> residual
    (N, 1, H, W), of a size that its caller sets: the pattern as strong as suits each place, and what makes the picture
    look like it."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.look = nn.Sequential(_conv(12, width), nn.ReLU(), _conv(width, width), nn.ReLU())
        self.strength = nn.Conv2d(width, 1, 1)
        last = _conv(width, 1)
        self.fit = nn.Sequential(_conv(width + 1, width), nn.ReLU(), last)
        # Begins with the bare pattern, equally strong everywhere.
        nn.init.zeros_(self.strength.weight)
        nn.init.constant_(self.strength.bias, 1.0)  # type: ignore[arg-type]  # it has one
        nn.init.normal_(last.weight, std=1e-3)

    def forward(self, samples: Tensor, pattern: Tensor) -> Tensor:
        features = self.look(samples)
        borne = pattern * nn.functional.softplus(self.strength(features))
        found: Tensor = borne + self.fit(torch.cat([features, borne], 1))
        return found


class Decoder(nn.Module):
    """Samples (N, 12, H, W) of a picture in [-1, 1] -> evidence (N, 1, H, W): the pattern as far as each place shows
    it, near zero where the picture hides it."""

    def __init__(self, width: int = 24, inner: int = 40, depth: int = 3) -> None:
        super().__init__()
        self.fine = nn.Sequential(_conv(12, width), nn.ReLU())
        self.down = nn.Sequential(_conv(width, inner, stride=2), nn.ReLU())
        self.coarse = nn.ModuleList(nn.Sequential(_conv(inner, inner), nn.ReLU()) for _ in range(depth))
        self.up = nn.Sequential(nn.Conv2d(inner, width * 2, 1), nn.PixelShuffle(2))
        self.join = nn.Sequential(_conv(width + width // 2, width), nn.ReLU(), _conv(width, 1))

    def forward(self, samples: Tensor) -> Tensor:
        fine = self.fine(samples)
        coarse = self.down(fine)
        for block in self.coarse:
            coarse = coarse + block(coarse)
        found: Tensor = self.join(torch.cat([fine, self.up(coarse)], 1))
        return found


class Mark(nn.Module):
    """Both, and how large a residual may be where."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.unshuffle = nn.PixelUnshuffle(2)

    def residual(
        self, samples: Float[Tensor, "N 12 H W"], pattern: Float[Tensor, "N 1 H W"], strength: Float[Tensor, "N 1 1 1"]
    ) -> Float[Tensor, "N 1 H W"]:
        """(N, 1, H, W) grey levels to add to the samples (N, 12, H, W) of a picture. strength (N, 1, 1, 1): their root
        mean square, in grey levels, where nothing hides them; structure hides more (`quietness`)."""
        drawn = self.encoder(samples, pattern)
        shows = (drawn.square() * quietness(samples)).mean((1, 2, 3), keepdim=True)
        power = drawn.square().mean((1, 2, 3), keepdim=True)
        scale = torch.minimum(strength / (shows + 1e-9).sqrt(), LARGEST / (power + 1e-9).sqrt())
        return drawn * scale

    def evidence(self, picture: Float[Tensor, "N 3 _ _"]) -> Float[Tensor, "N 1 H W"]:
        """The decoder's, of a picture (N, 3, 2H, 2W)."""
        found: Tensor = self.decoder(self.unshuffle(picture))
        return found


def quietness(samples: Tensor) -> Tensor:
    """(N, 1, H, W) of samples (N, 12, H, W) in [-1, 1]: 1 where the picture is even and every change shows, down to a
    seventeenth where structure hides four times as much."""
    luma = samples.mean(1, keepdim=True) * 127.5
    mean = F.avg_pool2d(luma, 5, 1, 2, count_include_pad=False)
    spread = F.avg_pool2d(luma.square(), 5, 1, 2, count_include_pad=False) - mean.square()
    return 1 / (1 + spread.clamp(0, 256) / 16)
