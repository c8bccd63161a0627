"""People who do not exist, drawn where a training runs, anew for every batch, and never stored.

    stream = PeopleStream.of_wheel(wheel, directions, AlignedLandmarks("motion.onnx", source="ffhq")).to("cuda")
    drawn = stream.draw(people=16, views=2, generator=torch.Generator("cuda").manual_seed(step))
    drawn.images                    # (16, 2, 3, 192, 192) in [-1, 1], aligned as the template says

What `personae prepare people` writes to disk in hours, a GPU draws in minutes: the same generator, the same views, cut
by the reader's own landmarks. No labeller takes part, so what a picture shows is what the motion network reads.

Legend: P people, V views of each, W width of a style, F side of the generator's frame, S side of a crop.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from personae.data.generator import RANDOM_FACE, networks
from personae.data.mobile_stylegan import MappingNet, SynthesisNet
from personae.data.views import GROUPS, JAW, LIGHT, LIMITS, MIX, OPENED, SMILE, TRAITS, TURN, Directions
from personae.reading import align
from personae.reading.differentiable import AlignedLandmarks
from personae.shapes import Float

FRAME = "ffhq"  # the template in which the generator draws, on average
_TRUNCATION = (0.7, 0.9)
_MEAN_OF = 4096  # samples of which the mean style is taken


@dataclass(frozen=True, kw_only=True)
class DrawnPeople:
    """images: (P, V, 3, S, S) float32 in [-1, 1]. angles: (P, V, 2) yaw and pitch in degrees, as the motion network
    reads them in the generator's frame. points: (P, V, 5, 2) of the faces, in [-1, 1] of the generator's frame."""

    images: Tensor
    angles: Tensor
    points: Tensor


class PeopleStream(nn.Module):
    """The generator as a source of training batches, on the device that it is moved to.

    directions: as fitted by `personae prepare people` (its `views.safetensors`). landmarks: reads a picture in the
    template `FRAME`. template, size: of the crops; None: the template's own. at_once: pictures drawn in one call of the
    generator.
    """

    mean: Float[Tensor, " D"]
    vectors: Float[Tensor, "K D"]
    target: Float[Tensor, "5 2"]

    def __init__(
        self,
        mapping: MappingNet,
        synthesis: SynthesisNet,
        directions: Directions,
        landmarks: AlignedLandmarks,
        *,
        template: str = "head",
        size: int | None = None,
        at_once: int = 32,
    ) -> None:
        super().__init__()
        self.mapping, self.synthesis, self.landmarks = mapping, synthesis, landmarks
        self.size, self.at_once = size or align.template(template).size, at_once
        width = directions.vectors.shape[1]
        samples = torch.randn(_MEAN_OF, width, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            self.register_buffer("mean", mapping(samples).mean(0))
        self.register_buffer("vectors", torch.from_numpy(directions.vectors))
        points = np.array(align.template(template).points) * 2 - 1
        self.register_buffer("target", torch.from_numpy(points.astype(np.float32)))
        usual = torch.tensor(align.template(FRAME).points)[None].float() * 2 - 1
        self._enlarged = float(similarity(usual, self.target)[0].abs())  # of a face of the usual size in its frame

    @classmethod
    def of_wheel(
        cls, wheel: Path, directions: Directions, landmarks: AlignedLandmarks, *, sha256: str = RANDOM_FACE.sha256
    ) -> "PeopleStream":
        """With the generator in a wheel. Raises `WeightsCorrupt` for any other file."""
        files = networks(wheel, sha256)
        mapping, synthesis = MappingNet.read(files["Mapping"]), SynthesisNet.read(files["Synthesis"])
        return cls(mapping, synthesis, directions, landmarks).eval()

    @torch.no_grad()
    def draw(self, people: int, views: int, generator: torch.Generator) -> DrawnPeople:
        """People who are as many functions of the generator's state; their first view is as they were drawn."""
        home = self.mean.device
        low, high = _TRUNCATION
        truncation = low + (high - low) * torch.rand(people, 1, generator=generator, device=home)
        z, other = torch.randn(2, people, len(self.mean), generator=generator, device=home)
        w, stranger = (self.mean + truncation * (self.mapping(one) - self.mean) for one in (z, other))
        styles = w[:, None].expand(-1, self.synthesis.rows, -1)
        images, angles, points = self._pictures(styles)
        drawn = [(images, angles, points)]
        for _ in range(views - 1):
            drawn.append(self._pictures(self._changed(styles, stranger, angles, generator)))
        images, angles, points = (torch.stack(parts, 1) for parts in zip(*drawn, strict=True))
        return DrawnPeople(images=images, angles=angles, points=points)

    def _changed(self, styles: Tensor, stranger: Tensor, angles: Tensor, generator: torch.Generator) -> Tensor:
        """Styles (P, rows, W) of another view of everybody: `View.draw`, on the device."""
        count, home = len(styles), styles.device

        def uniform(low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(count, generator=generator, device=home)

        limits, turn = (torch.tensor(pair, device=home) for pair in (LIMITS, TURN))
        goals = angles + turn * torch.randn(count, 2, generator=generator, device=home)
        yaw, pitch = (goals.clamp(-limits, limits) - angles).unbind(1)
        opened = uniform(0, 1) < OPENED
        changes = {
            "yaw": yaw,
            "pitch": pitch,
            "smile": uniform(-SMILE, SMILE),
            "jaw": uniform(*JAW) * opened,
            "light": uniform(-LIGHT, LIGHT),
        }
        changed = styles.clone()
        fine = GROUPS["fine"]
        changed[:, fine] += uniform(0, MIX)[:, None, None] * (stranger[:, None] - styles[:, fine])
        for vector, (name, (group, _)) in zip(self.vectors, TRAITS.items(), strict=True):
            changed[:, GROUPS[group]] += changes[name][:, None, None] * vector
        return changed

    def _pictures(self, styles: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Crops (P, 3, S, S), angles (P, 2) and points (P, 5, 2) of styles (P, rows, W)."""
        parts = [self._some(chunk) for chunk in styles.split(self.at_once)]
        images, angles, points = (torch.cat(one) for one in zip(*parts, strict=True))
        return images, angles, points

    def _some(self, styles: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        frames = self.synthesis(styles).float().clamp(-1, 1)
        angles, points = self.landmarks(frames)
        return self._cut(frames, points), angles[:, :2], points

    def _cut(self, frames: Tensor, points: Tensor) -> Tensor:
        """The crops of frames (N, 3, F, F) whose faces have these points (N, 5, 2): `align.similarity`, on the device.

        The frame is shrunk first until a crop's pixels lie about as dense as its own, so that nothing aliases.
        """
        scale, shift = similarity(points, self.target)
        density = self._enlarged * self.size / frames.shape[-1]
        if density < 1:
            side = max(8, round(frames.shape[-1] * density))
            frames = F.interpolate(frames, size=(side, side), mode="bicubic", antialias=True, align_corners=False)
        steps = (torch.arange(self.size, device=frames.device) + 0.5) / self.size * 2 - 1
        down, right = torch.meshgrid(steps, steps, indexing="ij")
        found = (torch.complex(right, down) - shift[:, None, None]) / scale[:, None, None]
        grid = torch.stack([found.real, found.imag], -1)
        crops = F.grid_sample(frames, grid, mode="bicubic", padding_mode="reflection", align_corners=False)
        return crops.clamp(-1, 1)


def similarity(points: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """(scale, shift), complex (N,): scale x + shift brings points (N, K, 2), as x + iy, closest to target (K, 2) in the
    least squares (Umeyama 1991, without mirroring)."""
    x, goal = torch.view_as_complex(points.contiguous()), torch.view_as_complex(target.contiguous())
    centred, wanted = x - x.mean(1, keepdim=True), goal - goal.mean()
    scale = (centred.conj() * wanted).sum(1) / centred.abs().square().sum(1).clamp_min(1e-12)
    return scale, goal.mean() - scale * x.mean(1)
