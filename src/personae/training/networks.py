"""The reader's networks that find faces and read their motion.

    boxes, points, logits = DetectorNet()(images)        # (N, 3, 320, 320) float in [-1, 1]
    landmarks, pose, blendshapes = MotionNet(mean)(crops)  # (N, 3, 128, 128) float in [-1, 1]

Dense 3 x 3 convolutions with few channels throughout: AMX trains them ten times faster than depthwise ones.
Everything is decoded inside the network, so that the exported graph needs no code beside it.
"""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name torch's own documentation uses
from torch import Tensor, nn

from personae.types import BLENDSHAPES, Array

CANVAS = 320  # side of the detector's input
STRIDES = (8, 16, 32, 64)
LANDMARKS = 478


def _conv(inside: int, outside: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, stride, 1, bias=False), nn.BatchNorm2d(outside), nn.ReLU(inplace=True)
    )


class _Residual(nn.Module):
    """Two 3 x 3 convolutions, `middle` channels between them, around a shortcut."""

    def __init__(self, width: int, middle: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(width, middle), nn.Conv2d(middle, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.body(x))


def anchor_grid(size: int = CANVAS) -> tuple[Array, Array]:
    """Where the detector's A predictions stand: centres (A, 2) in pixels (centres at integers), strides (A,)."""
    centres, strides = [], []
    for stride in STRIDES:
        places = np.arange(size // stride, dtype=np.float32) * stride + (stride - 1) / 2
        x, y = np.meshgrid(places, places)
        centres.append(np.stack([x.ravel(), y.ravel()], -1))
        strides.append(np.full(x.size, stride, np.float32))
    return np.concatenate(centres), np.concatenate(strides)


class DetectorNet(nn.Module):
    """An anchor-free detector (FCOS, Tian et al. 2019) over four strides with a top-down path; 0.59 M parameters.

    forward: (N, 3, 320, 320) in [-1, 1] -> boxes (N, A, 4) left, top, right, bottom and points (N, A, 10), both in
    pixels of the canvas, and logits (N, A). A = 2125.
    """

    centres: Tensor
    strides: Tensor

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64, 96, 80), neck: int = 48) -> None:
        super().__init__()
        a, b, c, d, e = widths
        self.stem = nn.Sequential(_conv(3, a, 2), _conv(a, b, 2), _Residual(b, b))
        self.stages = nn.ModuleList(
            [
                nn.Sequential(_conv(b, c, 2), _Residual(c, c)),
                nn.Sequential(_conv(c, d, 2), _Residual(d, 48)),
                nn.Sequential(_conv(d, e, 2), _Residual(e, 32)),
                _conv(e, neck, 2),
            ]
        )
        self.laterals = nn.ModuleList([nn.Conv2d(width, neck, 1) for width in (c, d, e, neck)])
        # One head per stride: batch statistics of different strides must not be averaged into one.
        self.heads = nn.ModuleList(
            [nn.Sequential(_conv(neck, neck), _conv(neck, neck), nn.Conv2d(neck, 15, 1)) for _ in STRIDES]
        )
        for head in self.heads:
            out = head[-1]  # type: ignore[index]
            nn.init.normal_(out.weight, std=0.01)
            nn.init.zeros_(out.bias)
            nn.init.constant_(out.bias[:1], -4.0)  # few places hold a face
        centres, strides = anchor_grid()
        self.register_buffer("centres", torch.from_numpy(centres), persistent=False)
        self.register_buffer("strides", torch.from_numpy(strides)[:, None], persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.stem(images)
        levels = []
        for stage, lateral in zip(self.stages, self.laterals, strict=True):
            x = stage(x)
            levels.append(lateral(x))
        for i in range(len(levels) - 2, -1, -1):
            levels[i] = levels[i] + F.interpolate(levels[i + 1], scale_factor=2.0, mode="nearest")
        maps = [head(level).flatten(2) for head, level in zip(self.heads, levels, strict=True)]
        raw = torch.cat(maps, dim=2).transpose(1, 2).float()
        reach = raw[..., 1:5].clamp(-4, 4).exp() * (2 * self.strides)
        boxes = torch.cat([self.centres - reach[..., :2], self.centres + reach[..., 2:]], dim=-1)
        points = self.centres.repeat(1, 5) + raw[..., 5:] * (2 * self.strides)
        return boxes, points, raw[..., 0]


class MotionNet(nn.Module):
    """Landmarks, head pose and blendshapes of one aligned face; 1.3 M parameters.

    forward: (N, 3, 128, 128) in [-1, 1], template `motion` -> landmarks (N, 478, 3) in pixels of the crop, pose
    (N, 3) yaw, pitch, roll in degrees, relative to the crop, blendshapes (N, 52) in 0-1. `mean` (478, 3) is the
    mean shape in the crop, to which the network adds its corrections.
    """

    mean: Tensor

    def __init__(self, mean: Array | None = None, widths: tuple[int, ...] = (24, 40, 72, 112, 144)) -> None:
        super().__init__()
        a, b, c, d, e = widths
        self.trunk = nn.Sequential(
            _conv(3, a, 2),
            _conv(a, b, 2),
            _Residual(b, b),
            _Residual(b, b),
            _conv(b, c, 2),
            _Residual(c, c),
            _Residual(c, c),
            _conv(c, d, 2),
            _Residual(d, 72),
            _Residual(d, 72),
            _conv(d, e, 2),
            _Residual(e, 72),
            nn.Conv2d(e, 48, 1, bias=False),
            nn.BatchNorm2d(48),
            nn.ReLU(inplace=True),
        )
        self.shape = nn.Sequential(nn.Linear(48 * 16, 128), nn.ReLU(inplace=True), nn.Linear(128, LANDMARKS * 3 + 3))
        self.expression = nn.Sequential(nn.Linear(48 * 16, 64), nn.ReLU(inplace=True), nn.Linear(64, len(BLENDSHAPES)))
        shape = np.zeros((LANDMARKS, 3), np.float32) if mean is None else mean.astype(np.float32)
        self.register_buffer("mean", torch.from_numpy(shape))

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = self.trunk(crops).flatten(1)
        shape = self.shape(features).float()
        landmarks = self.mean + 8 * shape[:, 3:].unflatten(1, (LANDMARKS, 3))
        return landmarks, 20 * shape[:, :3], self.expression(features).float().sigmoid()
