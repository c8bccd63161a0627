"""The identity encoder: a MobileFaceNet (Chen et al. 2018), inverted residuals and a depthwise layer for the places."""

from collections.abc import Sequence

from torch import Tensor, nn

from personae.shapes import Float


def _conv(inside: int, outside: int, kernel: int = 1, *, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution whose batch norm is folded into it when it is exported."""
    padding = kernel // 2
    return [
        nn.Conv2d(inside, outside, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(outside),
    ]


class Block(nn.Module):
    """Inverted residual (Sandler et al. 2018): widened, filtered place by place, narrowed; added to what came in where
    neither size nor width changes."""

    def __init__(self, inside: int, outside: int, hidden: int, stride: int = 1) -> None:
        super().__init__()
        self.added = inside == outside and stride == 1
        self.body = nn.Sequential(
            *_conv(inside, hidden),
            nn.ReLU6(),
            *_conv(hidden, hidden, 3, stride=stride, groups=hidden),
            nn.ReLU6(),
            *_conv(hidden, outside),
        )

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N D h w"]:
        return x + self.body(x) if self.added else self.body(x)


class Embedder(nn.Module):
    """(N, 3, 112, 112) in [-1, 1], template `arcface` -> (N, 128) unit vectors. 1 M parameters, 0.22 GMAC.

    widths, depths: channels and blocks at 28, 14 and 7 px; features: channels that the head weighs.
    """

    def __init__(
        self,
        widths: tuple[int, int, int] = (64, 128, 128),
        depths: tuple[int, int, int] = (5, 7, 3),
        features: int = 512,
    ) -> None:
        super().__init__()
        inside = widths[0]
        stem = nn.Sequential(
            *_conv(3, inside, 3, stride=2),
            nn.ReLU6(),
            *_conv(inside, inside, 3, groups=inside),
            nn.ReLU(),
            *_conv(inside, inside),
            nn.ReLU(),
        )
        blocks: list[nn.Module] = []
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            blocks.append(Block(inside, width, inside * (4 if stage else 2), stride=2))
            blocks += [Block(width, width, 2 * width) for _ in range(depth - 1)]
            inside = width
        self.trunk = nn.Sequential(stem, *blocks)
        self.head = nn.Sequential(
            *_conv(inside, features),
            nn.ReLU6(),
            nn.Conv2d(features, features, 7, groups=features, bias=False),
            nn.BatchNorm2d(features),
            nn.Flatten(),
            nn.Linear(features, 128),
        )

    @property
    def units(self) -> Sequence[nn.Module]:
        """Stem, blocks and head, each of which takes what the one before it makes; the last makes raw vectors."""
        return [*self.trunk, self.head]

    def vectors(self, features: Tensor) -> Tensor:
        """Unit vectors (N, 128) of feature maps (N, 128, 7, 7)."""
        vectors = self.head(features).float()
        return vectors / vectors.pow(2).sum(-1, keepdim=True).clamp(min=1e-12).sqrt()

    def forward(self, crops: Tensor) -> Tensor:
        return self.vectors(self.trunk(crops))


class Distilled(nn.Module):
    """The embedder with its spatial feature map laid open, which the teacher's own map supervises."""

    def __init__(self) -> None:
        super().__init__()
        self.embedder = Embedder()

    def forward(self, crops: Float[Tensor, "N 3 S S"]) -> tuple[Float[Tensor, "N D"], Float[Tensor, "N C h w"]]:
        features = self.embedder.trunk(crops)
        return self.embedder.vectors(features), features


class Blockwise(nn.Module):
    """The embedder's units, each by itself: maps (N, C, H, W) that go into each, to what each makes of them, maps
    (N, D, h, w) and, last, raw vectors (N, 128)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedder = Embedder()

    def forward(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """inputs: (N, C, H, W) of each unit. Returns (N, D, h, w) of each, and (N, 128) of the last."""
        return [unit(x) for unit, x in zip(self.embedder.units, inputs, strict=True)]
