"""What generated faces do, as the motion network reads it, with a gradient: a loss on what was requested.

judge = MotionJudge("motion.onnx", "portrait", blendshapes.std(0))
pose, shapes = judge.read(images)
loss = judge.off(images, {"pose": pose, "expression": shapes})

Legend: M images.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from personae.conditioning.facex.representation import DEGREES
from personae.reading.differentiable import AlignedMotion
from personae.shapes import Float
from personae.training.jitter import jitter as jittered
from personae.training.phrases import readings
from personae.types import Array

_DEGREES = 15.0  # an error of the pose that counts as much as a spread of a blendshape
_MORE = 2.0  # spreads of a change, beyond which it counts no more
_LEAST = 0.03  # spread of a blendshape over the photos, for what is read back


class MotionJudge:
    """A motion network that looks at images aligned in `template`. spread: (52,) of each blendshape over the photos;
    those that hardly vary are not judged."""

    def __init__(self, path: Path, template: str, spread: Array) -> None:
        self._network = AlignedMotion(path, source=template).eval()
        self._varies = np.flatnonzero(spread > _LEAST)
        self._spread = torch.from_numpy(spread[self._varies])

    def read(self, images: Tensor, jitter: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Pose (M, 3) in degrees and blendshapes (M, 52) of images (M, 3, S, S) in [-1, 1], each through its own
        crop (M, 2, 3)."""
        pose, shapes = self._network.to(images.device)(images, jitter)
        return pose, shapes

    def readings(
        self, images: Float[Tensor, "M 3 S S"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "M Q"]:
        """(M, Q) of `phrases.READINGS`. generator: for a jittered crop of each face; None: the plain one."""
        return readings(*self.read(images, None if generator is None else jittered(len(images), generator)), images)

    def off(
        self,
        images: Float[Tensor, "M 3 S S"],
        wanted: Mapping[str, Float[Tensor, "M _"]],
        *,
        jitter: Float[Tensor, "M 2 3"] | None = None,
        before: Float[Tensor, "M 52"] | None = None,
    ) -> Float[Tensor, ""]:
        """How far pose and blendshapes read off images are from those wanted, measures by name (Huber's), in
        spreads. jitter: as `read`; without it, what pleases the network in one crop alone is learnt, too. before: as
        `expression_off`."""
        pose, shapes = self.read(images, jitter)
        turned = F.smooth_l1_loss(pose / _DEGREES, wanted["pose"] * DEGREES / _DEGREES)
        return turned + self.expression_off(shapes, wanted["expression"], before)

    def expression_off(
        self, shapes: Float[Tensor, "M 52"], wanted: Float[Tensor, "M 52"], before: Float[Tensor, "M 52"] | None = None
    ) -> Float[Tensor, ""]:
        """The same of blendshapes (M, 52) alone: in spreads, so that a wink counts as much as a smile. before: (M, 52)
        those that a face is to change from; the further, the more each counts, at most three times."""
        varies = torch.from_numpy(self._varies).to(shapes.device)
        spread = self._spread.to(shapes.device)
        off = F.smooth_l1_loss(shapes[:, varies] / spread, wanted[:, varies] / spread, reduction="none")
        if before is not None:
            off = off * (1 + ((wanted - before)[:, varies] / spread).abs().clamp(max=_MORE))
        return off.mean()
