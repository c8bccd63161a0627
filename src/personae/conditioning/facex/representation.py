"""FORD: one face decomposed into named tokens, so that each may come from another photo (FaceX, arXiv 2401.00551).

    measured = measure(aligned, FaceModel.bundled())       # what needs no weights of ours
    decomposer = Decomposer(backbone, 64, width=192, positions=16, map_width=512)
    tokens = decomposer(FaceMeasures.stack([measured]), maps)

Identity: the recogniser's last spatial map, flattened (`identity`). Appearance: a trainable backbone with a feature
pyramid, averaged over each region (`skin` ... `surroundings`). Motion and light: the 3-D face's `pose`,
`expression`, `texture` (colours of regions), `light` (spherical harmonics, Ramamoorthi and Hanrahan 2001) and `gaze`.

The paper reads the last five from a licensed 3DMM and a gaze network; here they come from our own landmarks,
blendshapes and mesh.

Legend: F faces; R = 7 regions; G = 32, side of the grid on which regions are averaged; S side of a crop; I positions
of the recogniser's map, E its channels; C width of a token.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from personae.conditioning.head_mesh import FaceModel
from personae.conditioning.pose_map import render
from personae.reading.aligned import Aligned, resized
from personae.reading.region_table import REGIONS
from personae.shapes import Float, Float32, UInt8
from personae.types import BLENDSHAPES, Array, Pose

GRID = 32
HARMONICS = 9
_COLOURED = ("skin", "brows", "mouth", "hair")  # regions whose mean colour is the texture's
MEASURES = {
    "pose": 3,  # degrees / 30
    "expression": len(BLENDSHAPES),
    "texture": 3 * len(_COLOURED) + 3,  # mean colours, then the spread of the skin's, 0-1
    "light": 3 * HARMONICS,
    "gaze": 4,  # to the subject's left, and up, of the right and of the left eye, -1 to 1
}
TOKENS = ("identity", *REGIONS, *MEASURES)
DEGREES = 30.0  # of a pose's unit
_RIDGE = 0.02  # a face shows half of all normals: what it does not show stays small


@dataclass(frozen=True, kw_only=True)
class FaceMeasures:
    """What is measured of F faces without weights of ours.

    Attributes:
        crops: (F, S, S, 3) RGB uint8.
        regions: (F, R, G, G) float32, the share of each cell in each region; sums to 1 over R.
        pose, expression, texture, light, gaze: (F, n) float32, n as in `MEASURES`.
    """

    crops: UInt8[Array, "F S S 3"]
    regions: Float32[Array, "F R G G"]
    pose: Float32[Array, "F 3"]
    expression: Float32[Array, "F 52"]
    texture: Float32[Array, "F 15"]
    light: Float32[Array, "F 27"]
    gaze: Float32[Array, "F 4"]

    @classmethod
    def stack(cls, faces: "Sequence[FaceMeasures]") -> "FaceMeasures":
        """The rows of all, one after the other."""
        return cls(**{part.name: np.concatenate([getattr(face, part.name) for face in faces]) for part in fields(cls)})


def measure(face: Aligned, model: FaceModel) -> FaceMeasures:
    """The measures of one face, F = 1."""
    return measures_of(face.crop, face.landmarks, face.pose, face.blendshapes, face.shares(GRID), model)


def measures_of(
    crop: UInt8[Array, "S S 3"],
    landmarks: Float[Array, "K 3"],
    pose: Pose,
    blendshapes: Float[Array, " 52"],
    shares: Float[Array, "R G G"],
    model: FaceModel,
) -> FaceMeasures:
    """The measures of one face, F = 1, of what `Aligned` has under these names; shares: `Aligned.shares(GRID)`."""
    small = reduced(crop, GRID)
    marks = resized(landmarks, len(crop), GRID)
    return FaceMeasures(
        crops=crop[None],
        regions=shares[None],
        pose=pose_numbers(pose)[None],
        expression=blendshapes.astype(np.float32)[None],
        texture=texture(small, shares)[None],
        light=light(small, shares, marks, model)[None],
        gaze=gaze(blendshapes)[None],
    )


def reduced(crop: UInt8[Array, "S S 3"], side: int) -> Float32[Array, "s s 3"]:
    """(side, side, 3) float32, 0-1, of a crop (S, S, 3) uint8, S a multiple of side: averaged."""
    cell = len(crop) // side
    return crop.reshape(side, cell, side, cell, 3).mean((1, 3), dtype=np.float32) / 255


def pose_numbers(pose: Pose) -> Float32[Array, " 3"]:
    """(3,) yaw, pitch, roll, about 1 where a head is turned far."""
    return np.array((pose.yaw, pose.pitch, pose.roll), np.float32) / DEGREES


def texture(small: Float[Array, "G G 3"], shares: Float[Array, "R G G"]) -> Float32[Array, " 15"]:
    """(15,) of a reduced crop (G, G, 3) and its regions (R, G, G)."""
    means = [_mean(small, shares[REGIONS.index(name)]) for name in _COLOURED]
    skin = shares[REGIONS.index("skin")]
    return np.concatenate([*means, np.sqrt(_mean((small - means[0]) ** 2, skin))]).astype(np.float32)


def _mean(values: Array, weights: Array) -> Array:
    return np.asarray((values * weights[..., None]).sum((0, 1)) / (weights.sum() + 1e-3))


def light(
    small: Float[Array, "G G 3"], shares: Float[Array, "R G G"], marks: Float[Array, "K 3"], model: FaceModel
) -> Float32[Array, " 27"]:
    """(27,) by colour: the nine coefficients of the light that makes the mesh at `marks` (K, 3), pixels of the reduced
    crop, look like the skin, by least squares."""
    normals = render(marks, model.triangles, GRID).astype(np.float32) / 127.5 - 1
    lit = (shares[REGIONS.index("skin")] > 0.5) & (normals[..., 2] > 0)  # the background's black is a normal of -1
    basis = harmonics(normals[lit])
    square = basis.T @ basis + _RIDGE * max(len(basis), 1) * np.eye(HARMONICS, dtype=np.float32)
    return np.asarray(np.linalg.solve(square, basis.T @ small[lit]).T.reshape(-1), np.float32)


def harmonics(normals: Float[Array, "M 3"]) -> Float32[Array, "M 9"]:
    """(M, 9) real spherical harmonics up to the second order of unit normals (M, 3), each of mean square 1."""
    x, y, z = normals.T
    one = np.ones_like(x)
    first = [one, 3**0.5 * x, 3**0.5 * y, 3**0.5 * z]
    second = [
        15**0.5 * x * y,
        15**0.5 * y * z,
        15**0.5 * x * z,
        5**0.5 / 2 * (3 * z * z - 1),
        15**0.5 / 2 * (x * x - y * y),
    ]
    return np.stack([*first, *second], 1).astype(np.float32)


def gaze(blendshapes: Float[Array, " 52"]) -> Float32[Array, " 4"]:
    """(4,) of (52,): which way each eye looks, in and out being opposite for the two."""

    def look(name: str) -> float:
        return float(blendshapes[BLENDSHAPES.index(f"eyeLook{name}")])

    right = look("InRight") - look("OutRight"), look("UpRight") - look("DownRight")
    left = look("OutLeft") - look("InLeft"), look("UpLeft") - look("DownLeft")
    return np.array((*right, *left), np.float32)


# ---------------------------------------------------------------------- networks


def trunk(channels: int, widths: Sequence[int]) -> nn.Sequential:
    """Images (N, channels, S, S) to maps (N, widths[-1], S / (2 * 2^len), ...): a stem of 4 x 4 cells, then one
    residual convolution per width, each after the first halving the sides."""
    layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], 4, 4), Residual(widths[0])]
    for before, after in itertools.pairwise(widths):
        layers += [nn.Conv2d(before, after, 2, 2), Residual(after)]
    return nn.Sequential(*layers)


class Residual(nn.Module):
    """x + conv(silu(norm(x)))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.conv = nn.GroupNorm(8, width), nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Float[Tensor, "N W h w"]) -> Float[Tensor, "N W h w"]:
        """Maps (N, W, h, w) of the same shape."""
        return x + self.conv(F.silu(self.norm(x)))


class RegionEncoder(nn.Module):
    """phi_Reg: crops (F, 3, S, S) and regions (F, R, G, G) to (F, R, width).

    The backbone's last map is read at once, twice and four times its size (ViTDet's simple pyramid, Li et al. 2022)
    and averaged over each region at each size.
    """

    def __init__(self, backbone: nn.Module, channels: int, width: int) -> None:
        super().__init__()
        half = channels // 2
        self.backbone = backbone
        self.up = nn.ModuleList([nn.ConvTranspose2d(channels, half, 2, 2), nn.ConvTranspose2d(half, half, 2, 2)])
        self.flat = nn.ModuleList([nn.Linear(size, width) for size in (channels, half, half)])

    def forward(self, crops: Float[Tensor, "F 3 S S"], shares: Float[Tensor, "F R G G"]) -> Float[Tensor, "F R W"]:
        """A vector for each region: of crops (F, 3, S, S) in [-1, 1] and shares (F, R, G, G), (F, R, width)."""
        features = self.backbone(crops)
        pooled = torch.zeros((), device=crops.device)
        for level, flat in enumerate(self.flat):
            if level:
                features = F.silu(self.up[level - 1](features))
            weights = F.adaptive_avg_pool2d(shares.to(features), features.shape[-2:]).flatten(2)
            weights = weights / weights.sum(-1, keepdim=True).clamp(min=1e-3)
            pooled = pooled + flat(weights @ features.flatten(2).transpose(1, 2))
        return pooled


class Decomposer(nn.Module):
    """Measured faces and the recogniser's maps to tokens by name, (F, n, C) each; `counts` says n."""

    def __init__(self, backbone: nn.Module, channels: int, *, width: int, positions: int, map_width: int) -> None:
        super().__init__()
        self.counts = {"identity": positions, **dict.fromkeys(REGIONS, 1), "pose": 1, "expression": 4, "texture": 1}
        self.counts |= {"light": 1, "gaze": 1}
        self.regions = RegionEncoder(backbone, channels, width)
        self.identity = nn.Sequential(nn.LayerNorm(map_width), nn.Linear(map_width, width))
        self.measures = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Linear(size, width), nn.SiLU(), nn.Linear(width, self.counts[name] * width))
                for name, size in MEASURES.items()
            }
        )

    def forward(
        self,
        crops: Float[Tensor, "F 3 S S"],
        shares: Float[Tensor, "F R G G"],
        maps: Float[Tensor, "F I E"],
        measures: dict[str, Float[Tensor, "F _"]],
    ) -> dict[str, Float[Tensor, "F _ C"]]:
        """crops (F, 3, S, S) in [-1, 1]; shares (F, R, G, G); maps (F, I, E); measures (F, n) by name."""
        each = self.regions(crops, shares)
        tokens = {"identity": self.identity(maps)}
        tokens |= {name: each[:, index : index + 1] for index, name in enumerate(REGIONS)}
        for name, network in self.measures.items():
            tokens[name] = network(measures[name]).unflatten(-1, (self.counts[name], -1))
        return tokens
