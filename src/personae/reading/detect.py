"""detector.detect(pixels (H, W, 3) RGB uint8) -> list[Detection], largest first.

One look at the whole photo, shrunk onto the network's canvas, finds most faces. A second look follows only where
the first cannot be trusted: tiles, when a large photo shows nothing or only small faces; a wide margin, when it
shows nothing, because a tight crop lacks the surroundings that a detector knows faces by.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from personae.errors import BadOption
from personae.reading.network import Network
from personae.types import Array, Detection

_BATCH = 8
_CANDIDATES = 300  # per look, before overlapping ones are dropped
_LARGE = 2  # a photo longer than so many canvases holds detail that the first look lost
_SMALL = 0.1  # of the photo's longer side: if the largest face is smaller, there may be more
_TILE = 0.55  # of the longer side; neighbours overlap by as much as the largest face called small
_MARGIN = 0.4  # of the longer side, on every side


class Detector(Protocol):
    """Where faces are."""

    def detect(self, pixels: Array) -> list[Detection]:
        """The faces of (H, W, 3) RGB uint8, largest first; boxes are clipped to the photo."""
        ...

    def detect_many(self, images: Sequence[Array]) -> list[list[Detection]]:
        """`detect` of each image; sizes may differ."""
        ...


@dataclass(frozen=True, kw_only=True)
class DetectorConfig:
    """The detection network and its thresholds."""

    file: str
    sha256: str
    size: int = 320
    """Side of the square canvas, in pixels."""
    score: float = 0.5
    """A face counts from this score on, in the first look."""
    second_score: float = 0.6
    """The same for second looks: more looks must not mean more false finds."""
    overlap: float = 0.4
    """Of two boxes whose intersection over union is larger, the better scored one stays."""

    def __post_init__(self) -> None:
        for name in ("score", "second_score", "overlap"):
            if not 0 < getattr(self, name) < 1:
                raise BadOption(f"detector {name} must lie between 0 and 1, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class View:
    """A window of a photo, in photo pixels; it may reach beyond the photo."""

    left: float
    top: float
    width: float
    height: float


class OnnxDetector:
    """A `Detector` from an ONNX file: `image` (N, 3, S, S) RGB in [-1, 1] -> `boxes` (N, A, 4) left, top, right,
    bottom and `points` (N, A, 10) in canvas pixels, `scores` (N, A) in 0-1."""

    def __init__(self, folder: Path, config: DetectorConfig, *, threads: int | None = None) -> None:
        self._config = config
        self._network = Network(
            folder / config.file,
            sha256=config.sha256,
            source="image",
            results={"boxes": (None, 4), "points": (None, 10), "scores": (None,)},
            threads=threads,
        )

    def detect(self, pixels: Array) -> list[Detection]:
        """The faces of (H, W, 3) RGB uint8, largest first."""
        return self.detect_many([pixels])[0]

    def detect_many(self, images: Sequence[Array]) -> list[list[Detection]]:
        """`detect` of each image, in batches."""
        sizes = [(image.shape[1], image.shape[0]) for image in images]
        whole = [(i, View(left=0, top=0, width=w, height=h)) for i, (w, h) in enumerate(sizes)]
        first = self._look(images, whole, self._config.score)
        again = [(i, view) for i, size in enumerate(sizes) for view in self._second_views(size, first[i])]
        second = self._look(images, again, self._config.second_score)
        return [
            settle(np.concatenate([a, b]), size, self._config.overlap)
            for a, b, size in zip(first, second, sizes, strict=True)
        ]

    def _second_views(self, size: tuple[int, int], found: Array) -> list[View]:
        """The windows that deserve a second look, given the (n, 15) rows found in the first."""
        longer = max(size)
        views = []
        if not len(found):
            margin = _MARGIN * longer
            views.append(View(left=-margin, top=-margin, width=size[0] + 2 * margin, height=size[1] + 2 * margin))
        largest = max((found[:, 2:4] - found[:, 0:2]).max(axis=1), default=0)
        if longer > _LARGE * self._config.size and largest < _SMALL * longer:
            views += tiles(size)
        return views

    def _look(self, images: Sequence[Array], views: list[tuple[int, View]], score: float) -> list[Array]:
        """Per image, the (n, 15) rows (box, points, score) in photo pixels found through its `views`."""
        rows: list[list[Array]] = [[np.zeros((0, 15), np.float32)] for _ in images]
        for start in range(0, len(views), _BATCH):
            part = views[start : start + _BATCH]
            drawn = [draw(images[i], view, self._config.size) for i, view in part]
            outputs = self._network(np.stack([canvas for canvas, _, _ in drawn]))
            for (i, view), (_, scale, shift), *output in zip(part, drawn, *outputs, strict=True):
                boxes, points, scores = output
                best = np.argsort(-scores, kind="stable")[:_CANDIDATES]
                best = best[scores[best] >= score]
                corners = np.concatenate([boxes[best], points[best]], axis=1).reshape(-1, 7, 2)
                mapped = ((corners + 0.5 - shift) / scale - 0.5).reshape(-1, 14)
                found = np.concatenate([mapped, scores[best, None]], axis=1).astype(np.float32)
                rows[i].append(_uncut(found, view, images[i].shape))
        return [np.concatenate(found) for found in rows]


def tiles(size: tuple[int, int]) -> list[View]:
    """Square windows that cover a photo of `size` (W, H): two along each side that is longer than a tile."""
    side = _TILE * max(size)
    starts = [[0.0] if length <= side else [0.0, length - side] for length in size]
    width, height = (min(side, length) for length in size)
    return [View(left=x, top=y, width=width, height=height) for y in starts[1] for x in starts[0]]


def draw(pixels: Array, view: View, size: int) -> tuple[Array, Array, Array]:
    """The (3, size, size) float32 canvas in [-1, 1] that shows `view`, anchored top left, grey (0) where there is no
    photo; with the `scale` (2,) and `shift` (2,), x and y, that take pixel edges from photo to canvas."""
    extent = np.array((pixels.shape[1], pixels.shape[0]))
    corner, span = np.array((view.left, view.top)), np.array((view.width, view.height))
    zoom = size / span.max()
    near, far = corner.clip(0, None), (corner + span).clip(None, extent)
    offset = np.round((near - corner) * zoom).astype(int)
    shown = np.round((far - near) * zoom).astype(int).clip(1, size - offset)
    start, stop = np.floor(near).astype(int), np.ceil(far).astype(int)
    image = Image.fromarray(np.ascontiguousarray(pixels[start[1] : stop[1], start[0] : stop[0]]))
    image = image.resize(
        (int(shown[0]), int(shown[1])),
        Image.Resampling.BILINEAR,
        box=(*(near - start), *(far - start)),
        reducing_gap=2.0,
    )
    canvas = np.zeros((3, size, size), np.float32)
    part = canvas[:, offset[1] : offset[1] + shown[1], offset[0] : offset[0] + shown[0]]
    part[:] = np.asarray(image, dtype=np.float32).transpose(2, 0, 1) / np.float32(127.5) - np.float32(1)
    scale = shown / (far - near)
    return canvas, scale, offset - near * scale


def _uncut(rows: Array, view: View, shape: tuple[int, ...]) -> Array:
    """The rows without those that a window's inner border cuts through: its neighbour shows them whole."""
    edge = 0.01 * max(view.width, view.height)
    right, bottom = view.left + view.width, view.top + view.height
    keep = np.ones(len(rows), bool)
    if view.left > 0:
        keep &= rows[:, 0] > view.left + edge
    if view.top > 0:
        keep &= rows[:, 1] > view.top + edge
    if right < shape[1]:
        keep &= rows[:, 2] < right - edge
    if bottom < shape[0]:
        keep &= rows[:, 3] < bottom - edge
    return rows[keep]


def settle(rows: Array, size: tuple[int, int], overlap: float) -> list[Detection]:
    """Candidates (n, 15) as detections: boxes clipped to the photo of `size` (W, H), overlapping and impossible ones
    dropped, largest first."""
    rows = rows[np.isfinite(rows).all(axis=1)]
    points = rows[:, 4:14].reshape(-1, 5, 2)
    middle, spread = points.mean(axis=1), np.ptp(points, axis=1).max(axis=1)
    rows = rows[(middle >= 0).all(axis=1) & (middle < size).all(axis=1) & (spread >= 1)]
    boxes = rows[:, :4].clip(0, np.tile(np.array(size) - 1, 2))
    sides = boxes[:, 2:] - boxes[:, :2]
    kept = [i for i in nms(boxes, rows[:, 14], overlap) if sides[i].min() >= 1]
    kept.sort(key=lambda i: -float(sides[i].prod()))
    return [
        Detection(
            box=boxes[i].astype(np.float32),
            points=rows[i, 4:14].reshape(5, 2).astype(np.float32),
            score=float(rows[i, 14]),
        )
        for i in kept
    ]


def nms(boxes: Array, scores: Array, overlap: float) -> Iterable[int]:
    """Non-maximum suppression: indices of the (n, 4) boxes that stay, best score first."""
    order = list(np.argsort(-scores, kind="stable"))
    area = (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1)
    while order:
        best, rest = order[0], np.array(order[1:], dtype=int)
        yield int(best)
        shared = np.minimum(boxes[best, 2:], boxes[rest, 2:]) - np.maximum(boxes[best, :2], boxes[rest, :2])
        both = shared.clip(0).prod(axis=1)
        union = (area[best] + area[rest] - both).clip(1e-6)
        order = list(rest[both / union <= overlap])
