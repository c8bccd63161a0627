"""Recipes `nano-motion` and `nano-motion-made`: landmarks, head pose and expression of an aligned face, after the
teacher's.

Faces are cut once, with room around them; a batch turns, shifts and scales them, and the targets move along. The second
recipe goes on with the first one's network, on photos and on pictures that FaceX generated (`generated_faces`) alike: a
network that knows photos alone flatters what was generated to please it.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name torch's own documentation uses
from PIL import Image, ImageDraw
from torch import Tensor, nn

from personae.reading import align
from personae.reading.rotation import image_turn, turn
from personae.shapes import Float, Shaped
from personae.training.augment import photometric
from personae.training.export_onnx import export_onnx
from personae.training.face_table import FaceTable
from personae.training.images import to_tensor
from personae.training.loop import Metrics
from personae.training.methods.motion.generated_faces import GeneratedFaces
from personae.training.mirror import mirrored_blendshapes, mirrored_landmarks
from personae.training.networks import MotionNet
from personae.training.textures import colour
from personae.types import BLENDSHAPES, Array

_SIDE = 128  # of the network's crop
_WIDE = 160  # of the crops kept in memory: the same scale, with room to jitter
# Landmarks that expression is read from: lips and lids, brows, irises (MediaPipe's numbering).
_TELLING = (
    "0 7 13 14 17 33 37 39 40 46 52 53 55 61 63 65 66 70 78 80 81 82 84 87 88 91 95 105 107 133 144 145 146 153 154 "
    "155 157 158 159 160 161 163 173 178 181 185 191 246 249 263 267 269 270 276 282 283 285 291 293 295 296 300 308 "
    "310 311 312 314 317 318 321 324 334 336 362 373 374 375 380 381 382 384 385 386 387 388 390 398 402 405 409 415 "
    "466 468 469 470 471 472 473 474 475 476 477"
)
_HELD_OUT_EVERY = 16  # one in so many of the pictures made is for the report
_WATCHED = ("mouthSmile", "jawOpen", "eyeBlink")


class _Cut:
    """N faces as wide crops in template `motion`, with their targets in the crop's frame."""

    def __init__(self, faces: FaceTable | GeneratedFaces) -> None:
        size = len(faces)
        self.crops = np.empty((size, _WIDE, _WIDE, 3), np.uint8)
        self.landmarks = np.empty_like(faces.landmarks)
        turns = np.empty(size)
        for row in range(size):
            matrix = align.similarity(faces.points[row], "motion", _SIDE)
            turns[row] = image_turn(matrix)
            scale = np.sqrt(np.linalg.det(matrix[:, :2]))
            self.landmarks[row, :, :2] = align.apply(matrix, faces.landmarks[row, :, :2])
            self.landmarks[row, :, 2] = faces.landmarks[row, :, 2] * scale
            matrix[:, 2] += (_WIDE - _SIDE) / 2
            self.crops[row] = align.crop(faces.photo(row), matrix, _WIDE)
        self.pose = turn(faces.pose, turns).astype(np.float32)
        self.blendshapes = faces.blendshapes


class MotionTask:
    """See `training.loop.Trainable`. Targets are in the frame of the 128 px crop; `pose` is relative to it."""

    def __init__(
        self,
        cache: Path,
        *,
        limit: int | None = None,
        start: Path | None = None,
        generated: GeneratedFaces | None = None,
    ) -> None:
        """start: weights to go on with. generated: pictures that are half of every batch; some of them are held
        out and reported on (`made_...`)."""
        self.faces = _Cut(FaceTable.load(cache, limit=limit))
        self.held_out = {"": _Cut(FaceTable.load(cache, held_out=True, limit=limit))}
        self.generated = None
        if generated is not None:
            keep = len(generated) // _HELD_OUT_EVERY
            self.generated, self.held_out["made_"] = (
                _Cut(generated.rows(keep, len(generated))),
                _Cut(generated.rows(0, keep)),
            )
        mean = self.faces.landmarks.mean(0)
        self.mirror = mirrored_landmarks(mean), mirrored_blendshapes()
        mean = (mean + mean[self.mirror[0]] * (-1, 1, 1) + (_SIDE - 1, 0, 0)) / 2
        self.model = MotionNet(mean)
        if start is not None:
            self.model.load_state_dict(torch.load(start, weights_only=True))
        self.landmark_weights = torch.ones(mean.shape[0], 1)
        self.landmark_weights[[int(i) for i in _TELLING.split()]] = 3
        # Squared errors of a blendshape count as shares of its variance; rare ones are not blown up to noise.
        weights = 1 / (self.faces.blendshapes.var(0) + 2e-3)
        weights *= [3.0 if name.startswith(_WATCHED) else 1.0 for name in BLENDSHAPES]
        self.shape_weights = torch.from_numpy((weights / weights.size).astype(np.float32))

    def _view(self, rng: np.random.Generator) -> tuple[Array, Array, Array, Array]:
        """One jittered crop and its landmarks, pose, blendshapes."""
        faces = self.faces if self.generated is None or rng.random() < 0.5 else self.generated
        row = int(rng.integers(len(faces.crops)))
        degrees, scale = (
            float(np.clip(rng.normal(0, 7), -18, 18)),
            float(np.exp(np.clip(rng.normal(0, 0.07), -0.17, 0.17))),
        )
        a = np.radians(degrees)
        linear = scale * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
        middle = np.full(2, (_SIDE - 1) / 2)
        matrix = np.column_stack([linear, middle - linear @ middle + rng.normal(0, 2.5, 2)])
        landmarks = faces.landmarks[row] * np.float32(scale)
        landmarks[:, :2] = align.apply(matrix, faces.landmarks[row, :, :2])
        pose, blendshapes = turn(faces.pose[row], degrees), faces.blendshapes[row]
        # Pillow puts pixel centres at 0.5, the wide crop has its own margin.
        inverse = align.invert(matrix)
        start = inverse[:, 2] + 0.5 + (_WIDE - _SIDE) / 2 - inverse[:, :2] @ (0.5, 0.5)
        data = (*inverse[0, :2], start[0], *inverse[1, :2], start[1])
        smooth = Image.Resampling.BICUBIC if rng.random() < 0.5 else Image.Resampling.BILINEAR
        image = Image.fromarray(faces.crops[row]).transform((_SIDE, _SIDE), Image.Transform.AFFINE, data, smooth)
        if rng.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            landmarks = landmarks[self.mirror[0]] * (-1, 1, 1) + (_SIDE - 1, 0, 0)
            pose, blendshapes = pose * (-1, 1, -1), blendshapes[self.mirror[1]]
        image = photometric(image, rng)
        if rng.random() < 0.25:
            _occlude(image, rng)
        return np.asarray(image), landmarks, pose, blendshapes

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Array]:
        """`crops` (N, 128, 128, 3) uint8, `landmarks` (N, 478, 3), `pose` (N, 3), `blendshapes` (N, 52)."""
        crops, *targets = zip(*(self._view(rng) for _ in range(size)), strict=True)
        names = ("landmarks", "pose", "blendshapes")
        return {"crops": np.stack(crops)} | {
            name: np.stack(t).astype(np.float32) for name, t in zip(names, targets, strict=True)
        }

    def loss(
        self, model: nn.Module, batch: dict[str, Shaped[Tensor, " ..."]], generator: torch.Generator
    ) -> tuple[Float[Tensor, ""], Metrics]:
        landmarks, pose, shapes = model(to_tensor(batch["crops"]))
        goal = torch.as_tensor(batch["landmarks"])
        # A face in profile has its eyes close together: its errors would drown all others.
        eyes = (goal[:, 468, :2] - goal[:, 473, :2]).norm(dim=-1).clamp(min=24)[:, None, None]
        weights = self.landmark_weights.to(goal.device)
        off = (landmarks - goal).abs() / eyes * weights / weights.mean()
        landmark_loss = off[..., :2].mean() + 0.2 * off[..., 2].mean()
        pose_loss = F.smooth_l1_loss(pose, torch.as_tensor(batch["pose"]), beta=2.0)
        error = (shapes - torch.as_tensor(batch["blendshapes"])).pow(2).mean(0)
        shape_loss = (error * self.shape_weights.to(error.device)).sum()
        loss = 10 * landmark_loss + 0.1 * pose_loss + shape_loss
        return loss, {
            "landmarks": landmark_loss.detach(),
            "pose": pose_loss.detach(),
            "blendshapes": shape_loss.detach(),
        }

    def report(self, model: nn.Module) -> dict[str, float]:
        """The issue's measures on held-out faces: `landmarks_off` mean distance in the picture, of the distance
        between the irises; mean absolute angles; correlations of the watched blendshapes (left and right pooled). Of
        pictures that were made, too, if there are any."""
        return {kind + name: value for kind, faces in self.held_out.items() for name, value in _read(model, faces)}

    def export(self, model: nn.Module, folder: Path) -> None:
        """`motion.onnx`, and the torch weights beside it."""
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), folder / "motion.pt")
        names = ["landmarks", "pose", "blendshapes"]
        export_onnx(model, torch.zeros(2, 3, _SIDE, _SIDE), folder / "motion.onnx", ["crop"], names)


def _read(model: nn.Module, faces: _Cut) -> Iterator[tuple[str, float]]:
    """How well a network reads faces, as `MotionTask.report` says: figures by name."""
    margin = (_WIDE - _SIDE) // 2
    crops = faces.crops[:, margin:-margin, margin:-margin]
    home = next(model.parameters()).device
    parts = [model(to_tensor(crops[i : i + 64]).to(home)) for i in range(0, len(crops), 64)]
    landmarks, pose, shapes = (torch.cat(p).float().cpu().numpy() for p in zip(*parts, strict=True))
    goal = faces.landmarks
    eyes = np.linalg.norm(goal[:, 468, :2] - goal[:, 473, :2], axis=-1).clip(1)
    off = np.linalg.norm((landmarks - goal)[..., :2], axis=-1).mean(1) / eyes
    yield from {"landmarks_off": float(off.mean()), "landmarks_off_median": float(np.median(off))}.items()
    angles = np.abs(pose - faces.pose)
    yield from ((f"{name}_off", float(angles[:, i].mean())) for i, name in enumerate(("yaw", "pitch", "roll")))
    for name in _WATCHED:
        columns = [i for i, shape in enumerate(BLENDSHAPES) if shape in (name, name + "Left", name + "Right")]
        pair = shapes[:, columns].ravel(), faces.blendshapes[:, columns].ravel()
        yield name, float(np.corrcoef(*pair)[0, 1])


def _occlude(image: Image.Image, rng: np.random.Generator) -> None:
    """Cover a part of the picture, in place: a hand, a microphone, a cup are not expressions."""
    draw = ImageDraw.Draw(image)
    width, height = rng.uniform(0.1, 0.4, 2) * _SIDE
    x, y = rng.uniform(-0.1, 1.0, 2) * _SIDE
    shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
    shape((x, y, x + width, y + height), fill=colour(rng))
