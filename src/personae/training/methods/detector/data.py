"""Training pictures for the detector, composed from photos of one face each.

    stage = Stage(FaceTable.load("cache/faces"))
    scene = stage.compose(rng)             # (320, 320, 3) pixels, boxes, points; three to four milliseconds

Seven layouts (`Stage.LAYOUTS`): one photo alone, a face that overruns the picture, a photo in a wide grey margin,
sheets of photos side by side, faces cut out and pasted over anything, crowds of small ones with bodies below them, and
no face at all. A face may be turned any way, mirrored and stretched; its labels are carried along by the same (2, 3)
matrix that draws it.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageFilter

from personae.reading import align
from personae.shapes import Float32, UInt8
from personae.training.augment import photometric, tone_curves
from personae.training.face_table import FaceTable
from personae.training.methods.detector.bodies import draw_body, roll
from personae.training.methods.detector.faceless import beside, flipped, painted_out, paste_mask
from personae.training.methods.detector.rectangles import area, bounds, corners, fit, overlap, swing, turned
from personae.training.networks import CANVAS
from personae.training.textures import colour, texture
from personae.types import Array

_GREY = (128, 128, 128)  # what lies outside of a letterboxed photo: 0 for the network
_MIRRORED = [1, 0, 2, 4, 3]  # the five points of a mirrored face
_SMALLEST = 13.0  # pixels; smaller faces are neither asked for nor punished
_CLEAR = 0.6  # a face counts when so much of its box is to be seen; less, and it is left out of the loss


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A picture and the F faces in it, in its pixels. `ignored` (G, 4): boxes where neither answer is wrong."""

    pixels: UInt8[Array, "S S 3"]  # (320, 320, 3) uint8 RGB
    boxes: Float32[Array, "F 4"]  # (F, 4) float32 left, top, right, bottom; they may reach beyond the picture
    points: Float32[Array, "F 5 2"]  # (F, 5, 2) float32
    ignored: Float32[Array, "G 4"]  # (G, 4) float32


@dataclass
class _Sketch:
    """A scene being drawn."""

    image: Image.Image
    boxes: list[Array] = field(default_factory=list)
    points: list[Array] = field(default_factory=list)
    ignored: list[Array] = field(default_factory=list)

    def finish(self, rng: np.random.Generator) -> Scene:
        """The scene under a random light."""
        return Scene(
            pixels=np.asarray(photometric(self.image, rng)),
            boxes=np.array(self.boxes, np.float32).reshape(-1, 4),
            points=np.array(self.points, np.float32).reshape(-1, 5, 2),
            ignored=np.array(self.ignored, np.float32).reshape(-1, 4),
        )


class Stage:
    """Composes scenes from the rows of a table that show exactly one face. Photos are decoded when needed, at the
    scale needed: a stage costs no memory beyond the table's."""

    def __init__(self, table: FaceTable) -> None:
        self.table = table.where(table.faces == 1)

    LAYOUTS: tuple[tuple[str, float], ...] = (
        ("whole", 0.22),
        ("tight", 0.13),
        ("margin", 0.06),
        ("sheet", 0.15),
        ("group", 0.22),
        ("crowd", 0.1),
        ("empty", 0.12),
    )

    def compose(self, rng: np.random.Generator) -> Scene:
        """One scene in a random layout."""
        names, shares = zip(*self.LAYOUTS, strict=True)
        layout: Callable[[np.random.Generator], Scene] = getattr(self, names[rng.choice(len(names), p=shares)])
        return layout(rng)

    def whole(self, rng: np.random.Generator) -> Scene:
        """One photo or a part of it that holds the face, letterboxed as the reader does it; some turned."""
        sketch = _Sketch(Image.new("RGB", (CANVAS, CANVAS), _GREY))
        row = self._row(rng)
        self._letterbox(sketch, row, self._window(row, rng), rng, CANVAS)
        return sketch.finish(rng)

    def tight(self, rng: np.random.Generator) -> Scene:
        """A face that fills the picture or overruns its edges."""
        sketch = _Sketch(Image.new("RGB", (CANVAS, CANVAS), _GREY))
        row = self._row(rng)
        box = self.table.box[row].astype(np.float64)
        width, height = box[2:] - box[:2]
        loose = rng.uniform(-0.13, 0.12, 4) * (width, height, width, height)
        self._letterbox(sketch, row, box + loose * (-1, -1, 1, 1), rng, CANVAS)
        return sketch.finish(rng)

    def margin(self, rng: np.random.Generator) -> Scene:
        """A photo, often a tight one, with a wide grey margin around it."""
        sketch = _Sketch(Image.new("RGB", (CANVAS, CANVAS), _GREY))
        row = self._row(rng)
        window = self._window(row, rng)
        if rng.random() < 0.6:
            box = self.table.box[row].astype(np.float64)
            window = box + rng.uniform(-0.1, 0.1, 4) * np.tile(box[2:] - box[:2], 2)
        side = CANVAS * rng.uniform(0.4, 0.85)
        self._letterbox(sketch, row, window, rng, side, shift=rng.uniform(0, CANVAS - side, 2))
        return sketch.finish(rng)

    def sheet(self, rng: np.random.Generator, count: int | None = None) -> Scene:
        """Photos side by side; `count` faces (2-6), or any number of them up to nine with faceless tiles between."""
        columns, rows = int(rng.integers(1, 4)), int(rng.integers(1, 4))
        if count is not None:
            columns = int(rng.integers(1, 4)) if count < 5 else 3 if rng.random() < 0.5 else 2
            rows = -(-count // columns)
        sketch = _Sketch(
            self.background(rng) if rng.random() < 0.5 else Image.new("RGB", (CANVAS, CANVAS), colour(rng))
        )
        cells = rng.permutation(columns * rows)
        cell = (
            min(CANVAS / columns, CANVAS / rows) if rng.random() < 0.7 else np.array((CANVAS / columns, CANVAS / rows))
        )
        gap = rng.uniform(0, 0.15)
        for place in cells[:count]:
            corner = np.array((place % columns, place // columns)) * cell
            inner = np.concatenate([corner + gap / 2 * cell, corner + (1 - gap / 2) * cell])
            if count is None and rng.random() < 0.15:
                self._show(sketch, self.faceless(rng), inner)
                continue
            row = self._row(rng)
            window = self._window(row, rng, (inner[2] - inner[0]) / (inner[3] - inner[1]))
            self._draw(sketch, row, fit(window, inner), window, "sharp", rng)
        return sketch.finish(rng)

    def group(self, rng: np.random.Generator, count: int | None = None) -> Scene:
        """`count` faces (any from 1 to 6), cut out softly or with their surroundings, over a background that has
        faceless cut-outs in it as well: what is pasted must tell nothing."""
        sketch = _Sketch(self.background(rng))
        self._distract(sketch, rng)
        wanted = count or int(rng.integers(1, 7))
        largest = CANVAS * (0.95 if wanted == 1 else 0.75 / np.sqrt(wanted))
        smallest = 16.0 if count is None else 30.0
        for _ in range(12 * wanted):
            if len(sketch.boxes) == wanted:
                break
            row, goal = self._row(rng), float(np.exp(rng.uniform(np.log(smallest), np.log(largest))))
            self._paste(sketch, row, goal, rng)
        return sketch.finish(rng)

    def crowd(self, rng: np.random.Generator) -> Scene:
        """Up to 16 small faces, 14 to 48 pixels wide, most of them with a body."""
        sketch = _Sketch(self.background(rng))
        for _ in range(int(rng.integers(2, 17))):
            goal = float(np.exp(rng.uniform(np.log(14), np.log(48))))
            self._paste(sketch, self._row(rng), goal, rng, body=bool(rng.random() < 0.75))
        return sketch.finish(rng)

    def empty(self, rng: np.random.Generator) -> Scene:
        """No face at all."""
        sketch = _Sketch(self.background(rng))
        self._distract(sketch, rng)
        if rng.random() < 0.25:
            sketch.image = sketch.image.filter(ImageFilter.BoxBlur(float(rng.uniform(1, 12))))
        if rng.random() < 0.15:
            sketch.image = sketch.image.point([255 - v for v in range(256)] * 3)
        return sketch.finish(rng)

    def background(self, rng: np.random.Generator) -> Image.Image:
        """(320, 320) RGB without a face: drawn, or from photos whose faces are painted out."""
        if rng.random() < 0.45:
            return texture(rng, CANVAS)
        return self.faceless(rng).resize((CANVAS, CANVAS), Image.Resampling.BILINEAR)

    def faceless(self, rng: np.random.Generator) -> Image.Image:
        """A piece of a photo without a face: painted out, a stretched patch beside the face, or of skin and hair."""
        kind = rng.random()
        if kind < 0.6:
            return flipped(self.painted(rng), rng)
        row = self._row(rng)
        image, scale = self._decode(row, 2.0)
        box = self.table.box[row] / scale
        if kind < 0.8:
            image = image.crop(beside(image.size, box, rng))
        else:
            side = (box[2] - box[0]) * rng.uniform(0.2, 0.42)
            x, y = rng.uniform(np.maximum(box[:2], 0), np.maximum(box[2:] - side, box[:2] + 1))
            image = image.crop((int(x), int(y), int(x + side) + 2, int(y + side) + 2))
        return flipped(image, rng)

    def painted(self, rng: np.random.Generator) -> Image.Image:
        """A photo with its face painted out."""
        row = self._row(rng)
        image, scale = self._decode(row, 2.0 if rng.random() < 0.6 else 1.0)
        return painted_out(image, self.table.box[row] / scale, rng)

    def _row(self, rng: np.random.Generator) -> int:
        return int(rng.integers(len(self.table)))

    def _decode(self, row: int, shrink: float) -> tuple[Image.Image, float]:
        """The photo, decoded at about 1 / `shrink` of its size (JPEG gives 1, 1/2, 1/4, 1/8 almost for free), and
        the scale: photo pixels per decoded pixel."""
        image = Image.open(io.BytesIO(self.table.photos[row]))
        full = image.size
        step = int(2 ** np.clip(np.round(np.log2(max(shrink, 1))), 0, 3))
        if step > 1:
            image.draft("RGB", (full[0] // step, full[1] // step))
        return image.convert("RGB"), full[0] / image.size[0]

    def _extent(self, row: int) -> Array:
        """The photo's own rectangle, from its header."""
        width, height = Image.open(io.BytesIO(self.table.photos[row])).size
        return np.array((-0.5, -0.5, width - 0.5, height - 0.5))

    def _window(self, row: int, rng: np.random.Generator, aspect: float | None = None) -> Array:
        """A part of the photo, or all of it, that holds the face; of width / height `aspect` if it is given."""
        extent, box = self._extent(row), self.table.box[row].astype(np.float64)
        loose = rng.random(4) ** 2 if rng.random() < 0.6 else np.zeros(4)
        outer = np.concatenate([np.minimum(extent[:2], box[:2]), np.maximum(extent[2:], box[2:])])
        window = extent + loose * (np.clip(box, outer[[0, 1, 0, 1]], outer[[2, 3, 2, 3]]) - extent)
        window = np.concatenate([np.maximum(window[:2], extent[:2]), np.minimum(window[2:], extent[2:])])
        if aspect is not None:
            # Trim the longer side, but leave most of the face; what then is missing of the aspect is stretched.
            width, height = window[2:] - window[:2]
            axis, spare = (0, width - height * aspect) if width > height * aspect else (1, height - width / aspect)
            spare = min(spare, 0.25 * (width, height)[axis])
            middle = (box[axis] + box[axis + 2]) / 2
            share = np.clip((middle - window[axis]) / (window[axis + 2] - window[axis]), 0.0, 1.0)
            window[axis] += spare * share
            window[axis + 2] -= spare * (1 - share)
        return window

    def _letterbox(
        self,
        sketch: _Sketch,
        row: int,
        window: Array,
        rng: np.random.Generator,
        side: float,
        shift: Array | tuple[float, float] = (0.0, 0.0),
    ) -> None:
        """Draw `window` of a photo with its longer side `side` pixels long; some turned, over a background."""
        extent = self._extent(row)
        window = np.concatenate([np.maximum(window[:2], extent[:2]), np.minimum(window[2:], extent[2:])])
        size = (window[2:] - window[:2]) * np.exp(rng.normal(0, 0.04, 2))
        corner = np.asarray(shift) - 0.5
        goal = np.concatenate([corner, corner + size * side / size.max()])
        matrix, degrees = fit(window, goal), 0.0
        if rng.random() < 0.4:
            degrees = roll(rng)
            sketch.image = self.background(rng)
        matrix = swing(matrix, (goal[:2] + goal[2:]) / 2, degrees, bool(rng.random() < 0.5))
        self._draw(sketch, row, matrix, window, "sharp", rng)

    def _paste(self, sketch: _Sketch, row: int, goal: float, rng: np.random.Generator, *, body: bool = False) -> None:
        """Put a face `goal` pixels wide somewhere, with a `body` where that hides no other; nothing happens where it
        would hide another."""
        box = self.table.box[row].astype(np.float64)
        middle, size = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
        scale = goal / size[0] * np.exp(rng.normal(0, 0.05, 2))
        half = size * scale / 2
        place = rng.uniform(half * 0.75, np.maximum(CANVAS - half * 0.75, half * 0.75 + 1))
        matrix = np.column_stack([np.diag(scale), place - scale * middle])
        matrix = swing(matrix, place, roll(rng), bool(rng.random() < 0.5))
        edge = ("oval", "soft", "sharp")[rng.choice(3, p=(0.45, 0.25, 0.3))]
        reach = 1.0 + rng.uniform(0.05, 0.4, 4)
        window = np.concatenate([middle - size / 2 * reach[:2], middle + size / 2 * reach[2:]])
        extent = self._extent(row)
        window = np.concatenate([np.maximum(window[:2], extent[:2]), np.minimum(window[2:], extent[2:])])
        patch = bounds(align.apply(matrix, corners(window)))
        face = turned(matrix, box)
        taken = sketch.boxes + sketch.ignored
        if any(overlap(patch, other) > 0.12 * area(other) or overlap(face, other) > 0 for other in taken):
            return
        if body:
            drawn = sketch.image.copy()
            extent = draw_body(drawn, matrix, box, rng)
            if not any(overlap(extent, other) > 0 for other in taken):
                sketch.image = drawn
        self._draw(sketch, row, matrix, window, edge, rng)

    def _draw(
        self, sketch: _Sketch, row: int, matrix: Array, window: Array, edge: str, rng: np.random.Generator
    ) -> None:
        """Draw `window` of a photo under `matrix` (photo -> scene) and note the face, if enough of it shows."""
        shrink = 1 / np.sqrt(abs(np.linalg.det(matrix[:, :2])))
        image, scale = self._decode(row, shrink)
        if rng.random() < 0.5:
            image = image.point(tone_curves(rng, 0.5))
        outline = bounds(align.apply(matrix, corners(window)))
        left, top = np.maximum(np.floor(outline[:2]), 0).astype(int)
        right, bottom = np.minimum(np.ceil(outline[2:]) + 1, CANVAS).astype(int)
        if right - left < 2 or bottom - top < 2:
            return
        inverse = align.invert(matrix)
        linear = inverse[:, :2] / scale
        start = (align.apply(inverse, np.array((left, top), np.float64)) + 0.5) / scale - linear @ (0.5, 0.5)
        data = (*linear[0], start[0], *linear[1], start[1])
        size, affine = (int(right - left), int(bottom - top)), Image.Transform.AFFINE
        inner = (window + 0.5) / scale
        smooth = Image.Resampling.NEAREST if edge == "sharp" else Image.Resampling.BILINEAR
        cover = paste_mask(image.size, inner, edge).transform(size, affine, data, smooth)
        patch = image.transform(size, affine, data, Image.Resampling.BILINEAR)
        sketch.image.paste(patch, (int(left), int(top)), cover)
        self._note(sketch, row, matrix, window)

    def _note(self, sketch: _Sketch, row: int, matrix: Array, window: Array) -> None:
        """Enter the face drawn under `matrix` among the scene's faces, or among what is ignored."""
        box = self.table.box[row].astype(np.float64)
        face = turned(matrix, box)
        visible = overlap(face, np.array((0.0, 0.0, CANVAS, CANVAS))) / area(face) * overlap(box, window) / area(box)
        points = align.apply(matrix, self.table.points[row].astype(np.float64))
        if visible < _CLEAR or min(face[2:] - face[:2]) < _SMALLEST:
            sketch.ignored.append(face)
            return
        sketch.boxes.append(face)
        sketch.points.append(points[_MIRRORED] if np.linalg.det(matrix[:, :2]) < 0 else points)

    def _show(self, sketch: _Sketch, image: Image.Image, rect: Array) -> None:
        """Paste a faceless picture into a rectangle."""
        left, top, right, bottom = (int(v) for v in rect)
        sketch.image.paste(image.resize((max(1, right - left), max(1, bottom - top))), (left, top))

    def _distract(self, sketch: _Sketch, rng: np.random.Generator) -> None:
        """Paste up to four faceless cut-outs, oval or square, as faces are pasted."""
        for _ in range(int(rng.integers(0, 5))):
            image = self.faceless(rng) if rng.random() < 0.7 else texture(rng, 64)
            width = float(np.exp(rng.uniform(np.log(20), np.log(200))))
            size = (int(width), int(width * rng.uniform(0.9, 1.5)))
            cover = paste_mask((48, 48), np.array((0.0, 0.0, 48.0, 48.0)), "oval" if rng.random() < 0.6 else "sharp")
            corner = rng.uniform(-0.3 * width, CANVAS - 0.7 * width, 2)
            sketch.image.paste(image.resize(size), (int(corner[0]), int(corner[1])), cover.resize(size))
