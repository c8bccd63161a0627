"""The identity encoder: an IR network (He et al. 2016, as ArcFace uses it), small."""

from torch import Tensor, nn

from personae.shapes import Float


class _Block(nn.Module):
    """Pre-activation residual block (He et al. 2016, as ArcFace's IR networks use it)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.PReLU(width),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def _down(inside: int, outside: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(outside),
        nn.PReLU(outside),
    )


class Embedder(nn.Module):
    """(N, 3, 112, 112) in [-1, 1], template `arcface` -> (N, 128) unit vectors. 2.3 M parameters, dense
    convolutions (which AMX runs ten times faster than depthwise ones)."""

    def __init__(self, widths: tuple[int, ...] = (32, 48, 96, 192), depths: tuple[int, ...] = (0, 2, 3, 2)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inside = 3
        for width, depth in zip(widths, depths, strict=True):
            layers += [_down(inside, width), *(_Block(width) for _ in range(depth))]
            inside = width
        layers.append(nn.Conv2d(inside, 128, 1))
        self.trunk = nn.Sequential(*layers)
        # A 7 x 7 depthwise convolution weighs the places of the face, as MobileFaceNet does.
        self.head = nn.Sequential(
            nn.Conv2d(128, 512, 1, bias=False),
            nn.BatchNorm2d(512),
            nn.PReLU(512),
            nn.Conv2d(512, 512, 7, groups=512, bias=False),
            nn.BatchNorm2d(512),
            nn.Flatten(),
            nn.Linear(512, 128),
        )

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
