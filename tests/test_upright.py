"""Faces that do not stand upright, do not fill the picture, or are none: what the bundled reader makes of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image
from skimage.data import astronaut

import personae
from personae.data.captioned import CaptionedFaces, find
from personae.demo import portrait
from personae.evaluation.suites.finding import Sitter, found, likeness_by_tilt, pasted, sheet, turned
from personae.reading import align
from personae.reading.detect import Found, View, draw, merged, windows
from personae.reading.reader import FaceReader
from personae.reading.steady import FIVE, steady
from personae.reading.upright import Finder
from personae.types import Array, Detection, Motion, Pose

BUNDLED = Path(personae.__file__).parent / "weights" / "nano" / "reader"
HER_BOX = np.array((177.0, 68.0, 274.0, 177.0))  # as YuNet and the bundled detector agree
HERS = Sitter(pixels=np.ascontiguousarray(astronaut()[:300, 60:360]), box=HER_BOX - (60, 0, 60, 0))


@pytest.fixture(scope="module")
def reader() -> FaceReader:
    return FaceReader.from_folder(BUNDLED, threads=1)


def boxes(reader: FaceReader, pixels: Array) -> Array:
    faces = reader.read(pixels, motion=False, identity=False)
    return np.array([face.detection.box for face in faces]).reshape(-1, 4)


@pytest.mark.parametrize("degrees", [30, 45, 90, 135, 210, 285])
def test_a_tilted_head_is_read_as_the_same_person(reader: FaceReader, degrees: int) -> None:
    assert likeness_by_tilt(reader, HERS.pixels, [degrees])[0] >= 0.9


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_the_demo_s_photo_is_read_from_any_side(reader: FaceReader, degrees: int) -> None:
    # Once, her suit on its side was the largest face.
    assert likeness_by_tilt(reader, np.asarray(portrait()), [degrees])[0] >= 0.9


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_photo_on_its_side_is_read(reader: FaceReader, quarters: int) -> None:
    upright = reader.read(HERS.pixels, motion=False)[0]
    face = reader.read(np.rot90(HERS.pixels, -quarters))[0]  # clockwise
    assert upright.identity is not None
    assert face.identity is not None
    assert face.motion is not None
    assert upright.identity.vector @ face.identity.vector > 0.9
    eyes = face.detection.points[1] - face.detection.points[0]
    assert abs((np.degrees(np.arctan2(eyes[1], eyes[0])) - 90 * quarters + 180) % 360 - 180) < 15
    assert abs((face.motion.pose.roll - 90 * quarters + 180) % 360 - 180) < 25


def test_points_are_the_landmarks_wherever_they_are_measured(reader: FaceReader) -> None:
    face, bare = reader.read(astronaut())[0], reader.read(astronaut(), motion=False, identity=False)[0]
    assert face.motion is not None
    assert np.array_equal(face.detection.points, face.motion.landmarks[list(FIVE), :2])
    assert np.array_equal(bare.detection.points, face.detection.points)


def test_two_equal_looks_give_equal_faces(reader: FaceReader) -> None:
    picture = turned(HERS.pixels, 200, np.random.default_rng(0))
    one, other = reader.read(picture)[0], reader.read(picture)[0]
    assert np.array_equal(one.detection.points, other.detection.points)
    assert one.identity is not None
    assert other.identity is not None
    assert np.array_equal(one.identity.vector, other.identity.vector)


@pytest.mark.parametrize(("width", "size"), [(64, (640, 480)), (64, (1280, 960)), (150, (3000, 2000))])
def test_a_face_that_does_not_fill_the_picture_is_found(reader: FaceReader, width: int, size: tuple[int, int]) -> None:
    assert found(
        lambda pixels: boxes(reader, pixels), [HERS], width=width, size=size, rng=np.random.default_rng(3)
    ).all()


def test_a_sheet_of_people_is_found_whole(reader: FaceReader) -> None:
    assert len(boxes(reader, sheet([HERS] * 24, cell=100, columns=6))) == 24


@pytest.mark.parametrize("name", ["retina", "coins", "cat", "rocket"])
def test_what_is_no_face_does_not_count(reader: FaceReader, name: str) -> None:
    pixels = np.asarray(Image.fromarray(getattr(skimage.data, name)()).convert("RGB"))
    pixels = pixels[:, :192] if name == "coins" else pixels  # the half in which the detector by itself sees a face
    assert reader.read(pixels, identity=False) == []


def test_an_ordinary_photo_takes_one_look(reader: FaceReader, monkeypatch: pytest.MonkeyPatch) -> None:
    # Photos that show one clear face pay for none of the later looks: the detector runs once, the motion reader twice
    # or three times.
    looks: list[int] = []
    network = reader.detector._network  # type: ignore[attr-defined]
    monkeypatch.setattr(reader.detector, "_network", lambda canvas: looks.append(len(canvas)) or network(canvas))
    assert len(reader.read(HERS.pixels)) == 1
    assert sum(looks) == 1


def test_an_old_folder_reads_by_the_detectors_points(tmp_path: Path) -> None:
    folder = tmp_path / "reader"
    folder.mkdir()
    for file in BUNDLED.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = (folder / "reader.json").read_text()
    (folder / "reader.json").write_text(config.replace(',\n    "points": "landmarks"', ""))
    old = FaceReader.from_folder(folder, threads=1)
    face, detected = old.read(HERS.pixels, identity=False)[0], old.detector.detect(HERS.pixels)[0]
    assert np.array_equal(face.detection.points, detected.points)
    (folder / "reader.json").write_text(config.replace('"landmarks"', '"guesses"'))
    with pytest.raises(personae.errors.WeightsCorrupt, match="guesses"):
        FaceReader.from_folder(folder)


class Level:
    """A motion reader that sees, in every crop, the true face: it never depends on the guess it was cut by."""

    def __init__(self, points: Array, drift: float = 0.0) -> None:
        self.points, self.drift, self.looks = points, drift, 0

    def read(self, pixels: Array, points: Array) -> Motion:
        marks = np.tile(self.points.mean(0), (478, 1))
        marks[list(FIVE)] = self.points
        self.looks += 1
        marks = np.column_stack([marks + self.drift * self.looks, np.zeros(478)]).astype(np.float32)
        return Motion(landmarks=marks, pose=Pose(yaw=0, pitch=0, roll=0), blendshapes=np.zeros(52, np.float32))


def test_looking_stops_when_the_landmarks_hold_still() -> None:
    truth = np.array(align.template("arcface").points, np.float32) * 100
    look = steady(still := Level(truth), np.zeros((9, 9, 3), np.uint8), truth + 8)
    assert look is not None
    assert (look.settled, still.looks) == (True, 2)
    assert np.allclose(look.points, truth)
    assert look.tilt == pytest.approx(0, abs=1)
    look = steady(adrift := Level(truth, drift=5.0), np.zeros((9, 9, 3), np.uint8), truth)
    assert look is not None
    assert (look.settled, adrift.looks) == (False, 4)
    assert look.moved > 0.1
    flat = np.full((9, 9, 3), 127, np.uint8)
    motion = FaceReader.from_folder(BUNDLED, threads=1).motion
    assert motion is not None
    assert steady(motion, flat, np.zeros((5, 2), np.float32)) is None  # points that fit no crop


@pytest.mark.parametrize("turn", [0.0, 30.0, 180.0])
def test_a_turned_view_stands_a_face_upright(turn: float) -> None:
    centre, offset = np.array((150.0, 120.0)), 30.0
    angle = np.radians(turn)
    right = centre + offset * np.array((np.cos(angle), np.sin(angle)))  # of a line tilted clockwise by `turn`
    canvas, matrix = draw(np.full((240, 300, 3), 200, np.uint8), View.around(centre, 160, turn), 320)
    assert canvas.shape == (3, 320, 320)
    assert np.allclose(align.apply(matrix, centre), (159.5, 159.5))
    assert np.allclose(align.apply(matrix, right), (159.5 + 2 * offset, 159.5))


def test_windows_share_neighbours_of_one_size_and_are_counted() -> None:
    def row(x: float, y: float, side: float, score: float) -> Array:
        return np.array([x, y, x + side, y + side, *np.zeros(10), score], np.float32)

    rows = np.stack([row(0, 0, 20, 0.5), row(17, 0, 20, 0.4), row(300, 300, 20, 0.6), row(302, 302, 200, 0.45)])
    views, shown = windows(rows, 320, 9)
    assert len(views) == 3
    assert len(shown) == 4
    views, shown = windows(rows, 320, 1)
    assert (len(views), len(shown)) == (1, 1)
    assert shown[0, 14] == pytest.approx(0.6)
    assert len(merged(np.stack([row(0, 0, 20, 0.5), row(1, 1, 12, 0.4), row(100, 0, 20, 0.3)]), 0.4)) == 2


def test_pictures_for_the_measures_are_what_they_say() -> None:
    picture, box = pasted(HERS, width=50, size=(400, 300), rng=np.random.default_rng(0))
    assert picture.shape == (300, 400, 3)
    assert box[2] - box[0] == pytest.approx(50)
    assert (box >= 0).all()
    hit = found(lambda _: box[None] + 5, [HERS], width=50, size=(400, 300), rng=np.random.default_rng(0))
    missed = found(lambda _: box[None] + 40, [HERS], width=50, size=(400, 300), rng=np.random.default_rng(0))
    assert (hit.tolist(), missed.tolist()) == ([True], [False])
    assert sheet([HERS] * 5, cell=60, columns=3).shape == (120, 180, 3)


def test_a_detection_keeps_its_box_when_its_points_are_measured() -> None:
    truth = np.array(align.template("arcface").points, np.float32) * 100
    detection = Detection(box=np.array((0, 0, 100, 100), np.float32), points=truth + 3, score=0.9)
    look = steady(Level(truth), np.zeros((9, 9, 3), np.uint8), detection.points)
    assert look is not None
    better = look.of(detection)
    assert np.array_equal(better.box, detection.box)
    assert better.score == detection.score
    assert np.allclose(better.points, truth)


LEVEL = np.array(align.template("arcface").points, np.float32) * 100
BLANK = np.zeros((300, 300, 3), np.uint8)


def candidate(box: tuple[int, ...], score: float, points: Array = LEVEL) -> Detection:
    return Detection(box=np.array(box, np.float32), points=points, score=score)


class FaceAndHand:
    """A motion reader that sees a face in the picture's upper left, and nothing that holds still farther down."""

    def __init__(self) -> None:
        self.face, self.hand = Level(LEVEL), Level(LEVEL + 1000, drift=5.0)

    def read(self, pixels: Array, points: Array) -> Motion:
        return (self.hand if points.mean() > 500 else self.face).read(pixels, points)


class Scripted:
    """A detector that finds `hand` at first, sees nothing there from any side, and finds `face` when it doubts."""

    def __init__(self, hand: Found, face: Found) -> None:
        self.hand, self.face = hand, face

    def search(self, images: Sequence[Array], *, doubtful: bool = False) -> list[Found]:
        return [self.face if doubtful else self.hand for _ in images]

    def turned(self, pixels: Array, candidate: Detection, turns: Sequence[float]) -> list[Detection]:
        return [] if any(candidate is one for one in self.hand.counted) else [candidate]

    def detect(self, pixels: Array) -> list[Detection]:
        raise AssertionError

    def detect_many(self, images: Sequence[Array]) -> list[list[Detection]]:
        raise AssertionError


def test_what_counted_but_was_no_face_keeps_no_face_from_being_found() -> None:
    # Once, a hand that counted kept the detector from looking at a photo's other sides; then the hand was dropped.
    hand, face = candidate((10, 10, 40, 40), 0.79, LEVEL + 1000), candidate((100, 100, 250, 250), 0.9)
    script = Scripted(
        Found(faces=[], later=[hand], weak=[]), Found(faces=[face], later=[candidate((11, 11, 41, 41), 0.9)], weak=[])
    )
    (sights,) = Finder(script, FaceAndHand()).find([BLANK])
    assert [sight.detection.box.tolist() for sight in sights] == [face.box.tolist()]


@pytest.mark.parametrize(("score", "count"), [(0.82, 1), (0.75, 0)])
def test_a_clear_face_is_kept_though_no_side_shows_it_better(score: float, count: int) -> None:
    nothing = Found(faces=[], later=[], weak=[])
    script = Scripted(Found(faces=[candidate((10, 10, 90, 90), score)], later=[], weak=[]), nothing)
    (sights,) = Finder(script, Level(LEVEL, drift=5.0)).find([BLANK])
    assert len(sights) == count


OVER = LEVEL.mean(0) * 2 - LEVEL  # the same five points upside down


class RestlessUnlessTurnedOver:
    """A motion reader of a face turned to its side: its landmarks hold still only where it is looked at upside down."""

    def __init__(self) -> None:
        self.level, self.over = Level(LEVEL, drift=5.0), Level(OVER)

    def read(self, pixels: Array, points: Array) -> Motion:
        return (self.over if points[0, 0] > points[1, 0] else self.level).read(pixels, points)


class ShownTurnedOver(Scripted):
    """A detector that finds one face, and shows it upside down with another score."""

    def __init__(self, face: Detection, score: float) -> None:
        nothing = Found(faces=[], later=[], weak=[])
        super().__init__(Found(faces=[face], later=[], weak=[]), nothing)
        self.other = candidate((10, 10, 90, 90), score, OVER)

    def turned(self, pixels: Array, candidate: Detection, turns: Sequence[float]) -> list[Detection]:
        return [self.other]


@pytest.mark.parametrize(("score", "over"), [(0.76, False), (0.8, True)])
def test_a_restless_level_face_is_turned_over_only_for_a_good_reason(score: float, over: bool) -> None:
    # Seven of 1,564 held-out faces, all turned to their side, were read upside down, as strangers.
    script = ShownTurnedOver(candidate((10, 10, 90, 90), 0.83), score)
    ((sight,),) = Finder(script, RestlessUnlessTurnedOver()).find([BLANK])
    assert (sight.detection.points[0, 0] > sight.detection.points[1, 0]) == over


def test_training_cuts_faces_as_the_reader_does(reader: FaceReader, tmp_path: Path) -> None:
    # Once, by the detector's points, whatever the reader's own were.
    Image.fromarray(np.rot90(HERS.pixels)).save(tmp_path / "she.png")
    (tmp_path / "she.txt").write_text("an astronaut")
    (one,) = CaptionedFaces(find(tmp_path), reader).epoch()
    assert np.array_equal(one.found.points, reader.read(one.photo, identity=False)[0].detection.points)
