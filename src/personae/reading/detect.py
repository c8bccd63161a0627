"""detector.detect(pixels (H, W, 3) RGB uint8) -> list[Detection], largest first.

One look at the whole photo, shrunk onto the network's canvas, finds most faces. What it saw too weakly to count, a
small or a tilted face as much as a stone, is looked at again through a window around it. Where nothing counts, the
photo is looked at with a wide margin, because a tight crop lacks the surroundings that a detector knows faces by, and
lying on its other sides; a large photo with nothing or only small faces is looked at tile by tile.

Legend: a row is box (4), points (10) and score, in pixels of the photo.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from personae.errors import BadOption
from personae.reading import align
from personae.reading.onnx_file import Network, OnnxPart
from personae.shapes import Bool, Float, Float32, UInt8
from personae.types import Array, Detection

_BATCH = 8
_CANDIDATES = 300  # per look, before overlapping ones are dropped
_SMALL = 0.1  # of the photo's longer side: if the largest face is smaller, there may be more
_MARGIN = 0.4  # of the longer side, on every side
# On held-out photos pasted into textures, 83 % of the faces 10 px wide on the canvas and 98 % of those of 16 px score
# more, and so do 95 % of the large ones that lie on their side or stand on their head; of textures without a face 10 %.
_WEAK = 0.3
_BESIDE = (
    0.45  # the same beside a face that counts: most photos show no other, and every look costs as much as the first
)
# Tiles' sides as shares of the photo's longer side, coarse to fine; each must hold more than so many canvases' detail.
_LEVELS = ((0.55, 1.0), (0.3, 1.0), (0.16, 2.0))
_LAP = 0.18  # of a tile's side, by which neighbours overlap at least
_FINE = 32.0  # canvas pixels: where a tile shows faces smaller than this, there may be some too small for it
_WINDOW = 90.0  # canvas pixels that a face is wide in a window cut for it
_ALIKE = (0.6, 1.6)  # faces so much smaller or larger share a window
_WINDOWS = 40  # per photo and level: the strongest candidates first
_SIDES = (90, 180, 270)
# Two boxes are one face, seen in two looks, if so much of the smaller lies in the larger, and it is no smaller than so
# much of it (a face on a shirt is another), or if their intersection over union is larger than so much.
_WITHIN, _PART, _OVERLAP = 0.7, 0.2, 0.4


class Detector(Protocol):
    """Where faces are."""

    def detect(self, pixels: UInt8[Array, "H W 3"]) -> list[Detection]:
        """The faces of (H, W, 3) RGB uint8, largest first; boxes are clipped to the photo."""
        ...

    def detect_many(self, images: Sequence[UInt8[Array, "_ _ 3"]]) -> list[list[Detection]]:
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
    overlap: float = _OVERLAP
    """Of two boxes whose intersection over union is larger, the better scored one stays."""

    def __post_init__(self) -> None:
        for name in ("score", "second_score", "overlap"):
            if not 0 < getattr(self, name) < 1:
                raise BadOption(f"detector {name} must lie between 0 and 1, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class View:
    """A window of a photo, in photo pixels; it may reach beyond the photo. `turn`: degrees clockwise by which the
    window lies turned about its middle, so that a face tilted as much stands upright in it; only of square ones."""

    left: float
    top: float
    width: float
    height: float
    turn: float = 0.0

    @classmethod
    def around(cls, centre: Float[Array, " 2"], side: float, turn: float = 0.0) -> "View":
        """The square of `side` photo pixels around `centre` (2,)."""
        left, top = (float(middle) + 0.5 - side / 2 for middle in centre)
        return cls(left=left, top=top, width=side, height=side, turn=turn)


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a search of one photo found: `faces` that count at first sight, `later` ones that do so at a second, largest
    first, and `weak` candidates that no look was sure of, strongest first."""

    faces: list[Detection]
    later: list[Detection]
    weak: list[Detection]

    @property
    def counted(self) -> list[Detection]:
        """All that count, largest first."""
        return sorted(self.faces + self.later, key=lambda one: -float((one.box[2:] - one.box[:2]).prod()))

    def without(self, other: "Found") -> "Found":
        """What this search found where the `other` one found nothing."""
        known = [one.box for one in other.faces + other.later + other.weak]
        boxes = np.array(known).reshape(-1, 4)

        def new(kind: list[Detection]) -> list[Detection]:
            return [one for one in kind if not _same(one.box[None], boxes, _OVERLAP).any()]

        return Found(faces=new(self.faces), later=new(self.later), weak=new(self.weak))


class OnnxDetector(OnnxPart):
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

    def detect(self, pixels: UInt8[Array, "H W 3"]) -> list[Detection]:
        """The faces of (H, W, 3) RGB uint8, largest first."""
        return self.detect_many([pixels])[0]

    def detect_many(self, images: Sequence[UInt8[Array, "_ _ 3"]]) -> list[list[Detection]]:
        """`detect` of each image, in batches."""
        return [found.counted for found in self.search(images)]

    def search(self, images: Sequence[UInt8[Array, "_ _ 3"]], *, doubtful: bool = False) -> list[Found]:
        """Faces and weak candidates of each image; the first look at them is made in batches.

        doubtful: look everywhere and at everything weak, as if no face had counted.
        """
        whole = [[View(left=0, top=0, width=image.shape[1], height=image.shape[0])] for image in images]
        first = self._look(images, whole)
        return [self._again(image, rows, doubtful) for image, rows in zip(images, first, strict=True)]

    def turned(self, pixels: UInt8[Array, "H W 3"], candidate: Detection, turns: Sequence[float]) -> list[Detection]:
        """The face at `candidate`, as it is seen in windows turned by so many degrees clockwise, best first; only
        turns in which something is seen there at all."""
        centre, width = (
            (candidate.box[:2] + candidate.box[2:]) / 2,
            float((candidate.box[2:] - candidate.box[:2]).max()),
        )
        side = width * self._config.size / _WINDOW
        views = [View.around(centre, side, turn) for turn in turns]
        rows_by_view = self._look([pixels] * len(views), [[view] for view in views])
        size = (pixels.shape[1], pixels.shape[0])
        near = [
            rows[np.abs(rows[:, :4].reshape(-1, 2, 2).mean(1) - centre).max(1) < width / 2] for rows in rows_by_view
        ]
        best = [settle(rows[rows[:, 14].argmax()][None], size, self._config.overlap) for rows in near if len(rows)]
        return sorted((one for found in best for one in found), key=lambda one: -one.score)

    def _again(self, pixels: UInt8[Array, "H W 3"], first: Float[Array, "n 15"], doubtful: bool) -> Found:
        """What the later looks leave of the rows (n, 15) of the first."""
        size = (pixels.shape[1], pixels.shape[0])
        longer, config = max(size), self._config
        # A later look must be surer: more looks must not mean more false finds.
        sure = first[first[:, 14] >= config.score]
        rows = merged(np.concatenate([sure, first[first[:, 14] < config.score]]), config.overlap)
        rows, looked = self._windows(pixels, rows, np.zeros((0, 4)), doubtful)
        if doubtful or not self._counted(rows, sure).any():
            rows = merged(np.concatenate([rows, *self._look([pixels], [elsewhere(size)])]), config.overlap)
            rows, looked = self._windows(pixels, rows, looked, doubtful)
        for share, canvases in _LEVELS:
            faces = rows[self._counted(rows, sure)]
            widths = (faces[:, 2:4] - faces[:, :2]).max(axis=1)
            if share * longer <= canvases * config.size or max(widths, default=0) >= _SMALL * longer:
                break
            if len(faces) and share != _LEVELS[0][0] and min(widths) * config.size >= 2 * _FINE * share * longer:
                break
            rows = merged(np.concatenate([rows, *self._look([pixels], [tiles(size, share)])]), config.overlap)
            rows, looked = self._windows(pixels, rows, looked, doubtful)
        first, counted = self._first(rows, sure), self._counted(rows, sure)
        weak = ~counted & (rows[:, 14] >= (_WEAK if doubtful or not counted.any() else _BESIDE))
        kinds = [settle(rows[kind], size, config.overlap) for kind in (first, counted & ~first, weak)]
        return Found(faces=kinds[0], later=kinds[1], weak=sorted(kinds[2], key=lambda one: -one.score))

    def _counted(self, rows: Float[Array, "n 15"], sure: Float[Array, "m 15"]) -> Bool[Array, " n"]:
        """(n,) bool: the rows that count as faces: those that the first look was `sure` of, and those that a later look
        is sure enough of."""
        return np.asarray((rows[:, 14] >= self._config.second_score) | self._first(rows, sure))

    def _first(self, rows: Float[Array, "n 15"], sure: Float[Array, "m 15"]) -> Bool[Array, " n"]:
        """(n,) bool: the rows that the first look was `sure` of, even where a later look shows them better."""
        return np.array([_same(row[None, :4], sure[:, :4], self._config.overlap).any() for row in rows], bool)

    def _windows(self, pixels: Array, rows: Array, looked: Array, doubtful: bool) -> tuple[Array, Array]:
        """Rows with what windows around the weak ones show in their place, and the boxes looked at so far."""
        weak = rows[:, 14] < self._config.score
        known = np.array([_same(row[None, :4], looked).any() for row in rows], bool)
        strong = rows[:, 14] >= (_WEAK if doubtful or weak.all() else _BESIDE)
        views, covered = windows(rows[weak & ~known & strong], self._config.size, _WINDOWS)
        if not views:
            return rows, looked
        # The closer look decides: what it does not see at all was nothing.
        left = rows[[not (row[None] == covered).all(1).any() for row in rows]]
        closer = self._look([pixels], [views])[0]
        return merged(np.concatenate([left, closer]), self._config.overlap), np.concatenate([looked, covered[:, :4]])

    def _look(self, images: Sequence[Array], views: Sequence[Sequence[View]]) -> list[Array]:
        """Per image, the (n, 15) rows seen through its `views`, from the weakest that may be a face."""
        rows: list[list[Array]] = [[np.zeros((0, 15), np.float32)] for _ in images]
        todo = [(i, view) for i, some in enumerate(views) for view in some]
        for start in range(0, len(todo), _BATCH):
            part = todo[start : start + _BATCH]
            drawn = [draw(images[i], view, self._config.size) for i, view in part]
            outputs = self._network(np.stack([canvas for canvas, _ in drawn]))
            for (i, view), (_, matrix), *output in zip(part, drawn, *outputs, strict=True):
                boxes, points, scores = output
                best = np.argsort(-scores, kind="stable")[:_CANDIDATES]
                best = best[scores[best] >= _WEAK]
                back = align.invert(matrix)
                mapped = align.apply(back, points[best].reshape(-1, 5, 2).astype(np.float64)).reshape(-1, 10)
                found = np.concatenate([_upright(boxes[best], back), mapped, scores[best, None]], axis=1)
                found = found.astype(np.float32)
                rows[i].append(found if view.turn else _uncut(found, view, images[i].shape))
        return [np.concatenate(found) for found in rows]


def tiles(size: tuple[int, int], share: float) -> list[View]:
    """Square windows, `share` of the longer side wide, that cover a photo of `size` (W, H) and overlap."""
    side = share * max(size)
    lap = _LAP * side
    spans = [max(0.0, length - side) for length in size]
    counts = [1 if not span else 1 + int(np.ceil(span / (side - lap))) for span in spans]
    starts = [np.linspace(0, span, count).tolist() for span, count in zip(spans, counts, strict=True)]
    width, height = (min(side, length) for length in size)
    return [View(left=x, top=y, width=width, height=height) for y in starts[1] for x in starts[0]]


def elsewhere(size: tuple[int, int]) -> list[View]:
    """How else a photo of `size` (W, H) that shows nothing is looked at: with a wide margin, and from its other sides
    with half of that."""
    longer, middle = max(size), (np.array(size) - 1) / 2
    margin = _MARGIN * longer
    wide = View(left=-margin, top=-margin, width=size[0] + 2 * margin, height=size[1] + 2 * margin)
    return [wide, *(View.around(middle, longer + margin, turn) for turn in _SIDES)]


def windows(rows: Float[Array, "n 15"], size: int, most: int) -> tuple[list[View], Float[Array, "m 15"]]:
    """At most so many windows that show the rows (n, 15) as large as a detector of `size` canvas pixels knows faces
    best, the strongest first, neighbours of about one size in one; and the rows (m, 15) that they show."""
    views: list[View] = []
    covered, left = [np.zeros((0, 15), np.float32)], rows[np.argsort(-rows[:, 14], kind="stable")]
    while len(left) and len(views) < most:
        sides = (left[:, 2:4] - left[:, :2]).max(axis=1)
        view = View.around((left[0, :2] + left[0, 2:4]) / 2, float(sides[0]) * size / _WINDOW)
        start, edge = np.array((view.left, view.top)), 0.1 * view.width
        alike = ((left[:, :2] > start + edge) & (left[:, 2:4] < start + view.width - edge)).all(1)
        alike &= (sides >= _ALIKE[0] * sides[0]) & (sides <= _ALIKE[1] * sides[0])
        alike[0] = True
        views.append(view)
        covered.append(left[alike])
        left = left[~alike]
    return views, np.concatenate(covered)


def draw(pixels: UInt8[Array, "H W 3"], view: View, size: int) -> tuple[Float32[Array, "3 S S"], Float[Array, "2 3"]]:
    """The (3, size, size) float32 canvas in [-1, 1] that shows `view`, grey (0) where there is no photo, and the (2, 3)
    matrix that takes photo pixels to the canvas's. A view that is not turned lies in the top left."""
    if view.turn:
        return _draw_turned(pixels, view, size)
    extent = np.array((pixels.shape[1], pixels.shape[0]))
    corner, span = np.array((view.left, view.top)), np.array((view.width, view.height))
    zoom = size / span.max()
    near, far = corner.clip(0, None), (corner + span).clip(None, extent)
    offset = np.round((near - corner) * zoom).astype(int)
    area = np.round((far - near) * zoom).astype(int).clip(1, size - offset)
    start, stop = np.floor(near).astype(int), np.ceil(far).astype(int)
    image = Image.fromarray(np.ascontiguousarray(pixels[start[1] : stop[1], start[0] : stop[0]]))
    image = image.resize(
        (int(area[0]), int(area[1])),
        Image.Resampling.BILINEAR,
        box=(*(near - start), *(far - start)),
        reducing_gap=2.0,
    )
    canvas = np.zeros((3, size, size), np.float32)
    part = canvas[:, offset[1] : offset[1] + area[1], offset[0] : offset[0] + area[0]]
    part[:] = np.asarray(image, dtype=np.float32).transpose(2, 0, 1) / np.float32(127.5) - np.float32(1)
    scale = area / (far - near)
    # Between pixel edges; both pictures put pixel centres at integers.
    return canvas, np.column_stack([np.diag(scale), offset - near * scale + 0.5 * scale - 0.5])


def _draw_turned(
    pixels: UInt8[Array, "H W 3"], view: View, size: int
) -> tuple[Float32[Array, "3 S S"], Float[Array, "2 3"]]:
    """`draw` of a square that lies turned about its middle."""
    scale, angle = size / view.width, np.radians(-view.turn)
    linear = scale * np.array([(np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))])
    middle = np.array((view.left + view.width / 2, view.top + view.height / 2)) - 0.5
    matrix = np.column_stack([linear, (size - 1) / 2 - linear @ middle])
    crop = align.crop(pixels, matrix, size)
    canvas = crop.transpose(2, 0, 1).astype(np.float32) / np.float32(127.5) - np.float32(1)
    return canvas * align.coverage(matrix, size, pixels.shape), matrix


def _upright(boxes: Float[Array, "n 4"], back: Float[Array, "2 3"]) -> Float[Array, "n 4"]:
    """The boxes (n, 4) of a canvas in the photo, (n, 4): around the ellipses within, since the corners of a face's box
    are empty and a turn would make them larger. `back` (2, 3) takes canvas to photo."""
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    reach = np.sqrt(np.square(back[:, :2][None] * half[:, None]).sum(2))
    middle = align.apply(back, centre.astype(np.float64))
    return np.concatenate([middle - reach, middle + reach], axis=1)


def _uncut(rows: Float[Array, "n 15"], view: View, shape: tuple[int, ...]) -> Float[Array, "m 15"]:
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


def settle(rows: Float[Array, "n 15"], size: tuple[int, int], overlap: float) -> list[Detection]:
    """Candidates (n, 15) as detections: boxes clipped to the photo of `size` (W, H), overlapping and impossible ones
    dropped, largest first."""
    rows = rows[np.isfinite(rows).all(axis=1)]
    points = rows[:, 4:14].reshape(-1, 5, 2)
    middle, spread = points.mean(axis=1), np.ptp(points, axis=1).max(axis=1)
    rows = rows[(middle >= 0).all(axis=1) & (middle < size).all(axis=1) & (spread >= 1)]
    boxes = rows[:, :4].clip(0, np.tile(np.array(size) - 1, 2))
    sides = boxes[:, 2:] - boxes[:, :2]
    order = [i for i in nms(boxes, rows[:, 14], overlap) if sides[i].min() >= 1]
    order.sort(key=lambda i: -float(sides[i].prod()))
    return [
        Detection(
            box=boxes[i].astype(np.float32),
            points=rows[i, 4:14].reshape(5, 2).astype(np.float32),
            score=float(rows[i, 14]),
        )
        for i in order
    ]


def merged(rows: Float[Array, "n 15"], overlap: float) -> Float[Array, "m 15"]:
    """The rows (n, 15) without those that show the same face as a stronger one."""
    return rows[list(nms(rows[:, :4], rows[:, 14], overlap))]


def _same(box: Float[Array, "1 4"], others: Float[Array, "n 4"], overlap: float = 1.0) -> Bool[Array, " n"]:
    """(n,) bool: whether boxes `others` (n, 4) show the face of `box` (1, 4): they overlap by more than `overlap`, or
    most of the smaller lies within the larger."""
    shared = np.minimum(box[:, 2:], others[:, 2:]) - np.maximum(box[:, :2], others[:, :2])
    both = shared.clip(0).prod(axis=1)
    one, other = ((boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1) for boxes in (box, others))
    smaller, larger = np.minimum(one, other), np.maximum(one, other)
    within = (both > _WITHIN * smaller) & (smaller > _PART * larger)
    return np.asarray((both > overlap * (one + other - both).clip(1e-6)) | within)


def nms(boxes: Float[Array, "n 4"], scores: Float[Array, " n"], overlap: float) -> Iterable[int]:
    """Non-maximum suppression: indices of the (n, 4) boxes that stay, best score first."""
    order = np.argsort(-scores, kind="stable")
    while len(order):
        best, rest = order[0], order[1:]
        yield int(best)
        order = rest[~_same(boxes[best][None], boxes[rest], overlap)]
