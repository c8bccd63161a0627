"""The two networks of the pixel mark: one writes the pattern, one finds it. Both work on samples of two by two pixels.

The pattern itself is not learnt: it is a sum of known waves (`provenance.carriers`). What is learnt is where and how
strongly a picture bears it (`Encoder`), and how to tell it from the picture (`Decoder`), each a regression from every
sample's surroundings, so that a few thousand steps on a CPU suffice.
"""

import torch
from torch import Tensor, nn


def _conv(inside: int, outside: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inside, outside, 3, stride=stride, padding=1)


class Encoder(nn.Module):
    """Picture (N, 3, 2H, 2W) in [-1, 1] and pattern (N, 1, H, W) of unit variance -> residual (N, 1, H, W), of a size
    that its caller sets: the pattern at a strength that the surroundings allow, and what makes the picture itself look
    like it."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.unshuffle = nn.PixelUnshuffle(2)
        self.look = nn.Sequential(_conv(12, width), nn.ReLU(), _conv(width, width), nn.ReLU())
        self.strength = nn.Conv2d(width, 1, 1)
        self.fit = nn.Sequential(_conv(width + 1, width), nn.ReLU(), _conv(width, 1))
        nn.init.zeros_(self.strength.weight)
        nn.init.ones_(self.strength.bias)
        nn.init.normal_(self.fit[2].weight, std=1e-3)
        nn.init.zeros_(self.fit[2].bias)

    def forward(self, picture: Tensor, pattern: Tensor) -> Tensor:
        return self.drawn(self.unshuffle(picture), pattern)

    def drawn(self, samples: Tensor, pattern: Tensor) -> Tensor:
        """The same of a picture's samples (N, 12, H, W)."""
        seen = self.look(samples)
        borne = pattern * nn.functional.softplus(self.strength(seen))
        found: Tensor = borne + self.fit(torch.cat([seen, borne], 1))
        return found


class Decoder(nn.Module):
    """Picture (N, 3, 2H, 2W) in [-1, 1] -> evidence (N, 1, H, W): the pattern as far as each place shows it, near zero
    where the picture hides it."""

    def __init__(self, width: int = 24, inner: int = 40, depth: int = 3) -> None:
        super().__init__()
        self.unshuffle = nn.PixelUnshuffle(2)
        self.fine = nn.Sequential(_conv(12, width), nn.ReLU())
        self.down = nn.Sequential(_conv(width, inner, stride=2), nn.ReLU())
        self.coarse = nn.ModuleList(nn.Sequential(_conv(inner, inner), nn.ReLU()) for _ in range(depth))
        self.up = nn.Sequential(nn.Conv2d(inner, width * 2, 1), nn.PixelShuffle(2))
        self.join = nn.Sequential(_conv(width + width // 2, width), nn.ReLU(), _conv(width, 1))

    def forward(self, picture: Tensor) -> Tensor:
        return self.found(self.unshuffle(picture))

    def found(self, samples: Tensor) -> Tensor:
        """The same of a picture's samples (N, 12, H, W)."""
        fine = self.fine(samples)
        coarse = self.down(fine)
        for block in self.coarse:
            coarse = coarse + block(coarse)
        found: Tensor = self.join(torch.cat([fine, self.up(coarse)], 1))
        return found


class Mark(nn.Module):
    """Both, and the colour of the residual: (3,) of unit length; it begins where a change of luma costs least."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.colour = nn.Parameter(torch.tensor([0.55, 0.8, 0.3]))

    def direction(self) -> Tensor:
        """(1, 3, 1, 1), of unit length."""
        return nn.functional.normalize(self.colour, dim=0)[None, :, None, None]
