"""The reader's networks with a gradient, for images in which the face already lies where a template says.

    recogniser = AlignedRecogniser("embedder.onnx", source="portrait")     # frozen
    recogniser(images)                                                     # (N, D) unit, in the reader's space
    name, shape = last_map("embedder.onnx")                                # (E, h, w)
    AlignedMap("embedder.onnx", name)(images)                              # (N, h w, E): one of its maps, flattened
    AlignedMotion("motion.onnx")(images)                                   # (N, 3) degrees, (N, 52)

Training looks through them at what a model makes, likeness guidance at what it is about to make, FaceX at whom it is
told of.
"""

from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from personae.errors import BadData, WeightsCorrupt, WeightsMissing
from personae.io.boundary import errors_as
from personae.reading import align
from personae.reading.box_crop import BOX_CROPS
from personae.reading.embed import OnnxEmbedder
from personae.reading.face_motion import MotionConfig
from personae.reading.insightface import InsightFaceEmbedder
from personae.reading.onnx_file import model_of
from personae.reading.onnx_module import OnnxModule
from personae.reading.reader import FaceReader
from personae.reading.steady import FIVE
from personae.shapes import Float, Float32


def crop_grid(source: str, goal: str, size: int) -> Float[Tensor, "S S 2"]:
    """(size, size, 2) sampling grid for `grid_sample` that cuts template `goal` out of a crop in template
    `source`: where an aligned face lies is known without looking for it."""
    matrix = align.similarity(np.array(align.template(source).points) * 2 - 1, goal, size)
    pixels = np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1).astype(np.float64)
    return torch.from_numpy(align.apply(align.invert(matrix), pixels).astype(np.float32))


def last_map(path: str | Path) -> tuple[str, tuple[int, int, int]]:
    """The last map with places in it that a recogniser makes of a crop: its name in the file, and (E, h, w). Raises
    `BadData` if there is none."""
    model = model_of(path)
    with errors_as(WeightsCorrupt, f"{path} is not an ONNX network whose shapes fit together"):
        graph = onnx.shape_inference.infer_shapes(model).graph
    shapes = {value.name: [side.dim_value for side in value.type.tensor_type.shape.dim] for value in graph.value_info}
    for node in reversed(graph.node):
        shape = shapes.get(node.output[0], [])
        if len(shape) == 4 and min(shape[1:]) > 0 and shape[2] * shape[3] > 1:
            return node.output[0], (shape[1], shape[2], shape[3])
    raise BadData(f"{path} makes no map of known size of a face, which FaceX reads: use another recogniser")


class _Aligned(nn.Module):
    """What both have: a frozen network of `size`-px crops in `template`, and where these lie in images (N, 3, S, S) in
    [-1, 1] of template `source`, S any size.

    No detector finds the face: one fixed similarity cuts it out, where a frontal face's five points would lie. Raises
    `BadData` for a network whose operators `OnnxModule` does not cover.
    """

    grid: Float[Tensor, "1 s s 2"]

    def __init__(
        self,
        path: str | Path,
        *wanted: str,
        source: str = "portrait",
        template: str = "arcface",
        size: int = 112,
    ) -> None:
        super().__init__()
        self.network = OnnxModule(path, *wanted)
        self.register_buffer("grid", crop_grid(source, template, size))
        self._spacing = float((self.grid[0, 1] - self.grid[0, 0]).norm()) / 2  # of a crop's pixels, in image sides

    def outputs(
        self, images: Float[Tensor, "N 3 S S"], jitter: Float[Tensor, "N 2 3"] | None = None
    ) -> list[Float32[Tensor, "N ..."]]:
        """What the network gives for the crops of images (`crops`), float32."""
        return [output.float() for output in self.network.each(self.crops(images, jitter))]

    def crops(
        self, images: Float[Tensor, "N 3 S S"], jitter: Float[Tensor, "N 2 3"] | None = None
    ) -> Float32[Tensor, "N 3 s s"]:
        """What the network sees of images. `jitter` (N, 2, 3), affine maps of the unit square, makes several crops of
        one image differ."""
        grid = self.grid.expand(len(images), -1, -1, -1)
        if jitter is not None:
            grid = torch.einsum("nhwc,ndc->nhwd", F.pad(grid, (0, 1), value=1.0), jitter)
        return F.grid_sample(self._reduced(images.float()), grid, padding_mode="border", align_corners=False)

    def _reduced(self, images: Float[Tensor, "N 3 S S"]) -> Float[Tensor, "N 3 s s"]:
        """Where a crop shrinks its image by two or more, averaged first, as `align.crop` does: nothing aliases, and
        every pixel has its share of the gradient."""
        side = images.shape[-1]
        shrink = int(self._spacing * side)
        return F.adaptive_avg_pool2d(images, side // shrink) if shrink >= 2 else images


class AlignedRecogniser(_Aligned):
    """(N, D) unit vectors of images."""

    def forward(
        self, images: Float[Tensor, "N 3 S S"], jitter: Float[Tensor, "N 2 3"] | None = None
    ) -> Float32[Tensor, "N D"]:
        """`jitter`: see `crops`."""
        return F.normalize(self.outputs(images, jitter)[0], dim=-1)


class AlignedMap(_Aligned):
    """A map of the network by its name in the file, (N, h w, E), of images."""

    def forward(self, images: Float[Tensor, "N 3 S S"]) -> Float32[Tensor, "N I E"]:
        """Maps (N, I, E), I = h w, of images (N, 3, S, S) in [-1, 1]."""
        return self.outputs(images)[0].flatten(2).transpose(1, 2)


class _MotionNetwork(_Aligned):
    """The network of `reading.face_motion`: the pose, and another of its outputs. It looks at crops as its config says:
    unless said, as nano's does."""

    beside_pose: ClassVar[str]

    def __init__(
        self,
        path: str | Path,
        *,
        source: str = "portrait",
        template: str = MotionConfig.template,
        size: int = MotionConfig.size,
    ) -> None:
        super().__init__(path, "pose", self.beside_pose, source=source, template=template, size=size)


class AlignedMotion(_MotionNetwork):
    """Head pose (N, 3), yaw, pitch and roll in degrees, and blendshapes (N, 52), 0-1, of images."""

    beside_pose = "blendshapes"

    def forward(
        self, images: Float[Tensor, "N 3 S S"], jitter: Float[Tensor, "N 2 3"] | None = None
    ) -> tuple[Float32[Tensor, "N 3"], Float32[Tensor, "N 52"]]:
        """`jitter`: see `crops`."""
        pose, blendshapes = self.outputs(images, jitter)
        return pose, blendshapes


class AlignedLandmarks(_MotionNetwork):
    """Head pose (N, 3), degrees, and the five points of each face (N, 5, 2) in [-1, 1] of the image, x then y, of
    images whose faces lie only roughly where the template says."""

    beside_pose = "landmarks"

    def forward(self, images: Float[Tensor, "N 3 S S"]) -> tuple[Float32[Tensor, "N 3"], Float32[Tensor, "N 5 2"]]:
        """Poses (N, 3) and points (N, 5, 2) of images (N, 3, S, S) in [-1, 1]."""
        pose, landmarks = self.outputs(images)
        corner, right, down = self.grid[0, 0], self.grid[0, 1], self.grid[1, 0]
        points = landmarks[:, list(FIVE)]  # in pixels of the crop
        return pose, corner + points[..., :1] * (right - corner) + points[..., 1:2] * (down - corner)


def differentiable_embedder(reader: FaceReader | None, option: str) -> OnnxEmbedder | InsightFaceEmbedder:
    """A reader's recogniser, of whose file `OnnxModule` makes a network; errors call what needs it `option`.

    Raises `WeightsMissing` for another kind, or without a reader.
    """
    if reader is None:
        raise WeightsMissing(f"{option} looks through the model's reader, and this model came without one")
    embedder = reader.embedder
    if isinstance(embedder, InsightFaceEmbedder) and embedder.reads_units:
        return embedder
    if not isinstance(embedder, OnnxEmbedder) or embedder.template in BOX_CROPS:
        raise WeightsMissing(
            f"{option} needs the model's recogniser as a network of aligned crops, and {embedder.space!r} "
            f"({type(embedder).__name__}) is none: leave it out"
        )
    return embedder
