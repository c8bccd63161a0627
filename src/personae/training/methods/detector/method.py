"""Recipe `nano-detector`: faces in whole photos, from 5 % of the width to beyond its edge.

Scenes are composed as the training goes (`data`); labels are the teacher's boxes and points.
Loss: quality focal loss (Li et al., "Generalized Focal Loss", 2020), GIoU, and L1 on the five points.
"""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import skimage.data
import torch
import torch.nn.functional as F  # noqa: N812 - the name torch's own documentation uses
from PIL import Image, ImageFilter
from torch import Tensor, nn

from personae.reading.detect import DetectorConfig, OnnxDetector
from personae.reading.onnx_file import file_sha256
from personae.shapes import Float, Shaped
from personae.training.export_onnx import export_onnx
from personae.training.face_table import FaceTable
from personae.training.images import to_tensor
from personae.training.loop import Metrics
from personae.training.methods.detector.data import Scene, Stage
from personae.training.networks import CANVAS, STRIDES, DetectorNet, anchor_grid
from personae.types import Array

_CENTRES, _CELLS = anchor_grid()
# Which stride answers for a face, by the root of its box's area in pixels; where two meet, the other is excused.
_LIMITS = np.array([(0, 38), (38, 80), (80, 165), (165, np.inf)], np.float32)
_SHARED = 1.3
_RADIUS = 1.4  # strides between a face's middle and the places that answer for it
# scikit-image's pictures without a face: no photo of theirs trains anything.
_FACELESS = (
    "brick cat cell checkerboard clock coffee coins grass gravel horse hubble_deep_field immunohistochemistry logo "
    "microaneurysms moon page retina rocket text"
)


def assign(scene: Scene) -> dict[str, Array]:
    """What each of the A places is to answer: `label` (A,) 1 face, 0 none, -1 either; `box` (A, 4); `points` (A, 10)
    as x, y five times."""
    label = np.zeros(len(_CENTRES), np.float32)
    box, points = np.zeros((len(_CENTRES), 4), np.float32), np.zeros((len(_CENTRES), 10), np.float32)
    level = np.repeat(np.arange(len(STRIDES)), [(CANVAS // s) ** 2 for s in STRIDES])
    low, high = _LIMITS[level].T
    for rect in scene.ignored:
        label[_inside(rect)] = -1
    areas = np.prod(scene.boxes[:, 2:] - scene.boxes[:, :2], axis=1)
    for i in np.argsort(-areas):  # the smaller of two faces has the last word
        rect, size = scene.boxes[i], np.sqrt(areas[i])
        middle = np.clip((rect[:2] + rect[2:]) / 2, 0, CANVAS - 1)
        distance = np.hypot(*(_CENTRES - middle).T) / _CELLS
        near, mine = _inside(rect) & (distance < _RADIUS), (size >= low) & (size < high)
        label[near & ~mine & (size >= low / _SHARED) & (size < high * _SHARED)] = -1
        chosen = near & mine
        if not chosen.any():
            chosen[np.argmin(np.where(mine, distance, np.inf))] = True
        label[chosen], box[chosen], points[chosen] = 1, rect, scene.points[i].reshape(-1)
    return {"label": label, "box": box, "points": points}


def _inside(rect: Array) -> Array:
    return np.asarray((np.abs(_CENTRES - (rect[:2] + rect[2:]) / 2) < (rect[2:] - rect[:2]) / 2).all(1))


def overlap(a: Float[Tensor, "*N 4"], b: Float[Tensor, "*N 4"]) -> tuple[Float[Tensor, " *N"], Float[Tensor, " *N"]]:
    """IoU and GIoU of paired boxes (..., 4)."""
    shared = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - shared
    hull = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).prod(-1)
    iou = shared / union.clamp(min=1e-6)
    return iou, iou - (hull - union) / hull.clamp(min=1e-6)


class _Shipped(nn.Module):
    """The detector as the reader folder's contract wants it: scores instead of logits."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        boxes, points, logits = self.net(images)
        return boxes, points, logits.sigmoid()


class DetectorTask:
    """See `training.loop.Trainable`. `tested`: held-out photos in a report."""

    def __init__(self, cache: Path, *, tested: int = 400) -> None:
        self.stage = Stage(FaceTable.load(cache))
        self.held_out = Stage(FaceTable.load(cache, held_out=True))
        self.tested = min(tested, len(self.held_out.table))
        self.model = DetectorNet()

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Array]:
        """`images` (N, 320, 320, 3) uint8 and the answers of `assign`, (N, A, ...)."""
        scenes = [self.stage.compose(rng) for _ in range(size)]
        answers = [assign(scene) for scene in scenes]
        stacked = {name: np.stack([answer[name] for answer in answers]) for name in answers[0]}
        return {"images": np.stack([scene.pixels for scene in scenes]), **stacked}

    def loss(
        self, model: nn.Module, batch: dict[str, Shaped[Tensor, " ..."]], generator: torch.Generator
    ) -> tuple[Float[Tensor, ""], Metrics]:
        boxes, points, logits = model(to_tensor(batch["images"]))
        label = torch.as_tensor(batch["label"])
        face = label > 0
        goal_box, goal_points = (torch.as_tensor(batch[name])[face] for name in ("box", "points"))
        iou, giou = overlap(boxes[face], goal_box)
        # The score is to be the box's quality: what suppression then keeps is the best box, not a lucky one.
        quality = label.clamp(min=0)
        quality[face] = iou.detach().clamp(min=0.3)
        weight = (quality - logits.sigmoid()).detach().pow(2) * (label >= 0)
        count = face.sum().clamp(min=1)
        score_loss = (weight * F.binary_cross_entropy_with_logits(logits, quality, reduction="none")).sum() / count
        size = (goal_box[:, 2:] - goal_box[:, :2]).prod(-1).clamp(min=1).sqrt()
        off = (points[face] - goal_points).abs().mean(-1) / size
        box_loss, point_loss = (1 - giou).sum() / count, off.sum() / count
        loss = score_loss + box_loss + 5 * point_loss
        figures = {"score": score_loss, "box": box_loss, "points": point_loss, "iou": iou.sum() / count}
        return loss, {name: value.detach() for name, value in figures.items()}

    def report(self, model: nn.Module) -> dict[str, float]:
        """The issue's measures on held-out photos, through the exported file and the reader's own detector.

        Shares of: single faces and tight crops found (one of the boxes overlaps the teacher's by half or more),
        faceless pictures with a find, composed pictures of two to six faces counted right; the mean distance of
        the five points from the teacher's, of the eye distance; the score that 99 % of the faceless stay under.
        """
        with TemporaryDirectory() as folder:
            self.export(model, Path(folder))
            file = Path(folder) / "detector.onnx"
            config = DetectorConfig(file=file.name, sha256=file_sha256(file))
            detector = OnnxDetector(file.parent, config, threads=1)
            low = OnnxDetector(
                file.parent,
                DetectorConfig(file=file.name, sha256=config.sha256, score=0.05, second_score=0.05),
                threads=1,
            )
            faceless = faceless_pictures(self.held_out, 200)
            tops = [max((d.score for d in low.detect(picture)), default=0.0) for picture in faceless]
            return {
                **self._found(detector),
                "false_finds": float(np.mean([bool(detector.detect(picture)) for picture in faceless])),
                "faceless_p99_score": float(np.quantile(tops, 0.99)),
                "counted_right": self._counted(detector, 100),
            }

    def _found(self, detector: OnnxDetector) -> dict[str, float]:
        table = self.held_out.table
        whole, tight, off, scores = [], [], [], []
        for row in range(self.tested):
            photo, box = table.photo(row), table.box[row]
            right = [d for d in detector.detect(photo) if _iou(d.box, _clipped(box, photo)) >= 0.5]
            whole.append(bool(right))
            if right:
                best = max(right, key=lambda d: d.score)
                eyes = np.linalg.norm(table.points[row, 0] - table.points[row, 1])
                off.append(float(np.linalg.norm(best.points - table.points[row], axis=1).mean() / eyes))
                scores.append(best.score)
            left, top, right, bottom = _clipped(box, photo).round().astype(int)
            crop = photo[top : bottom + 1, left : right + 1]
            goal = np.array((0, 0, crop.shape[1] - 1, crop.shape[0] - 1), np.float32)
            tight.append(any(_iou(d.box, goal) >= 0.5 for d in detector.detect(crop)))
        figures = {"single_found": np.mean(whole), "tight_found": np.mean(tight)}
        if off:
            figures |= {"points_off": np.mean(off), "score_p2": np.quantile(scores, 0.02)}
        return {name: float(value) for name, value in figures.items()}

    def _counted(self, detector: OnnxDetector, pictures: int) -> float:
        rng, right = np.random.default_rng(1), 0
        for i in range(pictures):
            layout: Callable[..., Scene] = (self.held_out.sheet, self.held_out.group)[i % 2]
            scene = layout(rng, 2 + (i // 2) % 5)
            right += len(detector.detect(scene.pixels)) == len(scene.boxes) + len(scene.ignored)
        return right / pictures

    def export(self, model: nn.Module, folder: Path) -> None:
        """`detector.onnx`, and the torch weights beside it."""
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), folder / "detector.pt")
        names = ["boxes", "points", "scores"]
        export_onnx(_Shipped(model), torch.zeros(2, 3, CANVAS, CANVAS), folder / "detector.onnx", ["image"], names)


def _clipped(box: Array, photo: Array) -> Array:
    return np.clip(box, 0, np.array((photo.shape[1], photo.shape[0]) * 2) - 1)


def _iou(a: Array, b: Array) -> float:
    return float(overlap(torch.as_tensor(a), torch.as_tensor(b))[0])


def faceless_pictures(stage: Stage, count: int) -> list[Array]:
    """`count` pictures (H, W, 3) uint8 without a face, always the same: scikit-image's samples and pieces of them,
    photos whose face is painted out (plain, blurred, inverted), and textures."""
    rng = np.random.default_rng(0)
    samples = [_rgb(getattr(skimage.data, name)()) for name in _FACELESS.split()]
    pictures = samples[:count]
    for i in range(count - len(pictures)):
        if i % 3 == 0:
            whole = samples[i // 3 % len(samples)]
            side = int(rng.uniform(0.3, 0.9) * min(whole.shape[:2]))
            top, left = (int(rng.integers(0, n - side + 1)) for n in whole.shape[:2])
            pictures.append(np.ascontiguousarray(whole[top : top + side, left : left + side]))
            continue
        image = stage.background(rng) if i % 3 == 1 else stage.painted(rng)
        if i % 2:
            image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(1, 6))))
        elif i % 5 < 2:
            image = image.point([255 - v for v in range(256)] * 3)
        pictures.append(np.asarray(image))
    return pictures


def _rgb(pixels: Array) -> Array:
    """Any of scikit-image's samples as (H, W, 3) uint8, at most 640 px long."""
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * 255
    image = Image.fromarray(pixels).convert("RGB")
    image.thumbnail((640, 640))
    return np.asarray(image)
