"""The reader: what it finds, where, in which order, and what it says about damaged folders."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from PIL import Image
from skimage.data import astronaut

import personae
from personae.errors import BadData, BadImage, BadOption, BadOutput, PersonaeError, WeightsCorrupt, WeightsMissing
from personae.reading import align
from personae.reading.detect import View, draw, nms, settle, tiles
from personae.reading.face_motion import marks_in_photo, pose_in_photo
from personae.reading.insightface import insightface_reader
from personae.reading.onnx_file import file_sha256
from personae.reading.reader import CONFIG_NAME, FaceReader, pack
from personae.types import BLENDSHAPES, Face
from reading_fixtures import FACE, LANDMARKS, POSE, SMILE, model_of, tiny_reader_folder, white_face
from tolerances import assert_same

BUNDLED = Path(personae.__file__).parent / "weights" / "nano" / "reader"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tiny")
    tiny_reader_folder(root)
    return root / "reader"


@pytest.fixture(scope="module")
def reader(folder: Path) -> FaceReader:
    return FaceReader.from_folder(folder, threads=1)


def meadow(height: int, width: int) -> np.ndarray:
    """A picture without faces: soft and nowhere near white."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([60 + 40 * np.sin(x / 9), 90 + 40 * np.cos(y / 7), 50 + 0 * x], -1).astype(np.uint8)


def box_of(face: Face) -> np.ndarray:
    return face.detection.box


@pytest.mark.parametrize("shape", [(320, 320), (240, 320), (500, 300), (128, 128), (300, 777)])
def test_a_face_is_found_where_it_is(reader: FaceReader, shape: tuple[int, int]) -> None:
    height, width = shape
    left, top, right, bottom = width // 8, height // 4, width // 8 + width // 4, height // 4 + height // 4
    faces = reader.read(white_face(meadow(height, width), left, top, right, bottom))
    assert len(faces) == 1
    pixel = 1.5 * max(height, width) / 320 + 0.5  # of the detector's canvas, blurred edge included
    assert np.abs(box_of(faces[0]) - (left, top, right - 1, bottom - 1)).max() <= pixel
    points = np.array((left, top)) + FACE * (right - 1 - left, bottom - 1 - top)
    assert np.abs(faces[0].detection.points - points).max() <= pixel
    assert faces[0].detection.score == pytest.approx(0.9)


def test_the_largest_face_comes_first(reader: FaceReader) -> None:
    photo = white_face(white_face(meadow(320, 320), 20, 30, 60, 80), 180, 40, 300, 200)
    faces = reader.read(photo)
    assert [int(box_of(face)[0]) for face in faces] == [180, 20]
    assert {face.photo is faces[0].photo for face in faces} == {True}


def test_no_face_is_an_empty_list(reader: FaceReader) -> None:
    assert reader.read(meadow(200, 200)) == []
    assert reader.read(meadow(700, 1200)) == []
    assert reader.read(meadow(16, 3000)) == reader.read(meadow(3000, 16)) == []
    assert reader.identify(meadow(128, 128)[None]) == [None]
    assert reader.identify([]) == []


def test_a_photo_may_come_in_any_form(reader: FaceReader, tmp_path: Path) -> None:
    pixels = white_face(meadow(128, 128), 20, 30, 50, 80)
    path = tmp_path / "me.png"
    Image.fromarray(pixels).save(path)
    boxes = [box_of(reader.read(source)[0]) for source in (path, path.read_bytes(), Image.fromarray(pixels), pixels)]
    assert np.array_equal(boxes, [boxes[0]] * 4)
    with pytest.raises(BadImage):
        reader.read(path.read_bytes()[:100])


def test_skipped_measures_are_none(reader: FaceReader) -> None:
    photo = white_face(meadow(128, 128), 20, 30, 50, 80)
    bare = reader.read(photo, motion=False, identity=False)[0]
    assert bare.motion is None
    assert bare.identity is None
    without = FaceReader(detector=reader.detector, embedder=reader.embedder)
    assert without.read(photo)[0].motion is None


def test_motion_comes_in_photo_pixels(reader: FaceReader) -> None:
    # The tiny network answers with the same face in every crop: in the photo it lies where the crop was cut.
    face = reader.read(white_face(meadow(320, 320), 30, 60, 130, 200))[0]
    assert face.motion is not None
    matrix = align.similarity(face.detection.points, "motion")
    assert face.motion.landmarks.shape == (478, 3)
    assert face.motion.landmarks.dtype == np.float32
    expected = align.apply(align.invert(matrix), LANDMARKS[:, :2])
    assert np.allclose(face.motion.landmarks[:, :2], expected, atol=1e-3)
    scale = np.sqrt(np.linalg.det(matrix[:, :2]))
    assert np.allclose(face.motion.landmarks[:, 2], LANDMARKS[:, 2] / scale, rtol=1e-4, atol=1e-4)
    assert np.allclose(face.motion.blendshapes, SMILE)
    assert face.motion.blendshapes.shape == (len(BLENDSHAPES),)
    upright = (face.motion.pose.yaw, face.motion.pose.pitch, face.motion.pose.roll)
    assert np.allclose(upright, POSE, atol=1)  # the fit turns the crop a little


@given(st.floats(-170, 170))
def test_a_tilted_face_gets_its_tilt_back(tilt: float) -> None:
    angle = np.radians(tilt)
    rotation = np.array(((np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))))  # clockwise, y down
    points = (np.array(align.template("motion").points) * 100) @ rotation.T + (150, 150)
    matrix = align.similarity(points, "motion", 128)
    pose = pose_in_photo(np.zeros(3), matrix)
    assert np.allclose((pose.yaw, pose.pitch, pose.roll), (0, 0, tilt), atol=1e-4)
    marks = np.concatenate([np.array(align.template("motion").points) * 128 - 0.5, np.ones((5, 1))], 1)
    assert np.allclose(marks_in_photo(marks, matrix)[:, :2], points, atol=1e-3)


def test_identities_are_unit_vectors_in_the_readers_space(reader: FaceReader, folder: Path) -> None:
    identity = reader.read(white_face(meadow(200, 200), 20, 30, 80, 130))[0].identity
    assert identity is not None
    assert identity.vector.shape == (128,) == (reader.width,)
    assert np.linalg.norm(identity.vector) == pytest.approx(1, abs=1e-6)
    sha256 = file_sha256(folder / "embedder.onnx")
    assert identity.space == reader.space == f"tiny/arcface/{sha256[:12]}"


@pytest.mark.parametrize("count", [1, 3, 70])
def test_many_at_once_equal_one_by_one(reader: FaceReader, count: int) -> None:
    images = np.stack([white_face(meadow(128, 128), 10 + i % 9, 30, 50, 90 + i % 7) for i in range(count)])
    images[count // 2] = meadow(128, 128)
    together = reader.identify(images)
    assert len(together) == count
    assert together[count // 2] is None
    for image, identity in zip(images, together, strict=True):
        alone = reader.read(image)
        if identity is None:
            assert alone == []
        else:
            assert alone[0].identity is not None
            assert_same(identity.vector, alone[0].identity.vector)


def test_images_of_many_sizes_are_identified_together(reader: FaceReader) -> None:
    images = [white_face(meadow(100 + i, 150), 10, 20, 60, 80) for i in range(3)]
    assert all(reader.identify([Image.fromarray(image) for image in images]))


def test_a_small_face_in_a_large_photo_gets_a_second_look(reader: FaceReader) -> None:
    # Shrunk to the canvas, nine rows are averaged into the green; a tile keeps enough of their white.
    photo = white_face(meadow(1600, 1600), 1200, 1300, 1260, 1309)
    faces = reader.read(photo)
    assert len(faces) == 1
    assert np.abs(box_of(faces[0]) - (1200, 1300, 1259, 1308)).max() <= 5


@pytest.mark.parametrize("share", [0.55, 0.3, 0.16])
def test_tiles_cover_the_photo_and_overlap(share: float) -> None:
    for width, height in [(1000, 1000), (1600, 900), (500, 2000)]:
        seen = np.zeros((height, width), int)
        for view in tiles((width, height), share):
            rows = slice(round(view.top), round(view.top + view.height))
            seen[rows, round(view.left) : round(view.left + view.width)] += 1
        assert seen.min() == 1
        assert seen.max() >= 2


@given(st.integers(16, 400), st.integers(16, 400), st.floats(0, 0.5))
@settings(deadline=None, max_examples=40)
def test_the_canvas_maps_back_to_the_photo(width: int, height: int, margin: float) -> None:
    edge = margin * max(width, height)
    view = View(left=-edge, top=-edge, width=width + 2 * edge, height=height + 2 * edge)
    canvas, matrix = draw(np.full((height, width, 3), 255, np.uint8), view, 320)
    white = np.argwhere(canvas[0] > 0.99)
    (top, left), (bottom, right) = white.min(0), white.max(0) + 1
    assert set(np.unique(canvas)) <= {np.float32(0), np.float32(1)}
    edges = align.apply(matrix, np.array([(0, 0), (width, height)]) - 0.5) + 0.5
    assert np.allclose(edges, [(left, top), (right, bottom)])


def test_of_overlapping_boxes_the_best_stays() -> None:
    boxes = np.array([(0, 0, 10, 10), (1, 1, 11, 11), (30, 30, 40, 40), (0, 0, 40, 40)], np.float32)
    scores = np.array([0.6, 0.9, 0.7, 0.5], np.float32)
    assert list(nms(boxes, scores, 0.4)) == [1, 2, 3]
    assert list(nms(np.zeros((0, 4)), np.zeros(0), 0.4)) == []


def test_impossible_candidates_are_dropped() -> None:
    points = np.array([(40, 40), (60, 40), (50, 50), (42, 60), (58, 60)], np.float32).ravel()
    good = np.concatenate([(30, 30, 70, 70), points, (0.8,)])
    infinite = np.where(np.arange(15) == 7, np.inf, good)
    collapsed = np.concatenate([(30, 30, 70, 70), np.full(10, 50), (0.99,)])
    beyond = np.concatenate([(130, 30, 170, 70), points + np.tile((100, 0), 5), (0.9,)])
    rows = np.stack([good, infinite, collapsed, beyond]).astype(np.float32)
    assert [d.score for d in settle(rows, (100, 100), 0.4)] == [pytest.approx(0.8)]
    assert settle(rows[:0], (100, 100), 0.4) == []


@given(st.integers(0, 2**32 - 1), st.integers(16, 90), st.integers(16, 90))
@settings(deadline=None, max_examples=15)
def test_noise_never_raises(reader: FaceReader, seed: int, height: int, width: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    noise[::2] |= 0xF0  # white enough that the tiny detector answers
    for face in reader.read(noise):
        assert np.isfinite(face.detection.points).all()


@pytest.mark.untyped
def test_crops_of_another_shape_are_refused(reader: FaceReader) -> None:
    assert reader.embedder.embed(np.zeros((0, 112, 112, 3), np.uint8)).shape == (0, 128)
    with pytest.raises(BadData, match="112"):
        reader.embedder.embed(np.zeros((1, 128, 128, 3), np.uint8))
    with pytest.raises(BadData, match="uint8"):
        reader.embedder.embed(np.zeros((1, 112, 112, 3), np.float32))


def copy_of(folder: Path, target: Path) -> Path:
    FaceReader.from_folder(folder).save(target)
    return target


def test_a_saved_reader_reads_the_same(reader: FaceReader, folder: Path, tmp_path: Path) -> None:
    again = FaceReader.from_folder(copy_of(folder, tmp_path / "copy"))
    photo = white_face(meadow(200, 200), 20, 30, 80, 130)
    assert again.space == reader.space
    assert again.identify([photo])[0].vector == pytest.approx(reader.identify([photo])[0].vector, abs=1e-6)
    again.save(tmp_path / "copy")  # onto itself: nothing is lost
    FaceReader.from_folder(tmp_path / "copy")


def test_only_a_reader_from_a_folder_can_be_saved(reader: FaceReader, tmp_path: Path) -> None:
    with pytest.raises(BadOutput, match="put together in code"):
        FaceReader(detector=reader.detector, embedder=reader.embedder).save(tmp_path)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BadOutput, match="cannot be saved"):
        reader.save(tmp_path / "file")


def edit_config(change: Callable[[dict], object]) -> Callable[[Path], object]:
    def apply(folder: Path) -> None:
        path = folder / CONFIG_NAME
        config = json.loads(path.read_text())
        change(config)
        path.write_text(json.dumps(config))

    return apply


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda f: (f / CONFIG_NAME).unlink(), WeightsMissing, "reader.json: no such file"),
        (lambda f: (f / "motion.onnx").unlink(), WeightsMissing, "motion.onnx: no such file"),
        (lambda f: (f / CONFIG_NAME).write_text("{"), WeightsCorrupt, "reader.json cannot be read as JSON"),
        (lambda f: (f / CONFIG_NAME).write_text("[]"), WeightsCorrupt, "must hold a JSON object, got a list"),
        (lambda f: (f / "embedder.onnx").write_bytes(b"other"), WeightsCorrupt, "embedder.onnx has sha256"),
        (edit_config(lambda c: c["motion"].update(colour=1)), WeightsCorrupt, "has a field 'colour'"),
        (edit_config(lambda c: c["embedder"].update(space="x/arcface/0")), WeightsCorrupt, "space"),
        (edit_config(lambda c: c["detector"].update(file="../d.onnx")), WeightsCorrupt, "lie beside"),
        (edit_config(lambda c: c["detector"].update(file="..")), WeightsCorrupt, "lie beside"),
        (edit_config(lambda c: c["detector"].update(file=7)), WeightsCorrupt, "needs a str as its file, got 7"),
        (edit_config(lambda c: c["detector"].update(score="high")), WeightsCorrupt, "needs a float as its score"),
        (edit_config(lambda c: c["detector"].update(size=10**9)), WeightsCorrupt, "pixels a side, got 1000000000"),
        (edit_config(lambda c: c["embedder"].update(width=10**9)), WeightsCorrupt, "numbers, got 1000000000"),
        (edit_config(lambda c: c["motion"].pop("sha256")), WeightsCorrupt, "lacks its field 'sha256'"),
        (edit_config(lambda c: c.update(motion="nano")), WeightsCorrupt, "must be an object, got 'nano'"),
        (lambda f: (f / CONFIG_NAME).write_text("[" * 100_000), WeightsCorrupt, "reader.json cannot be read as JSON"),
        (edit_config(lambda c: c["motion"].update(template="motoin")), BadOption, "did you mean 'motion'"),
        (edit_config(lambda c: c["detector"].update(score=7)), BadOption, "between 0 and 1"),
    ],
)
def test_a_damaged_folder_is_one_clear_error(
    folder: Path, tmp_path: Path, damage: Callable[[Path], object], error: type[PersonaeError], message: str
) -> None:
    broken = copy_of(folder, tmp_path / "broken")
    damage(broken)
    with pytest.raises(error, match=message):
        FaceReader.from_folder(broken)


def test_networks_of_another_kind_are_refused(folder: Path, tmp_path: Path) -> None:
    parts = {name: folder / f"{name}.onnx" for name in ("detector", "motion", "embedder")}
    pack(tmp_path / "swapped", **parts | {"embedder": parts["motion"]}, recogniser="tiny", width=128)
    with pytest.raises(WeightsCorrupt, match="expected \\['crop'\\] to \\['identity'\\]"):
        FaceReader.from_folder(tmp_path / "swapped")
    (tmp_path / "text.onnx").write_text("not a network")
    pack(tmp_path / "text", **parts | {"detector": tmp_path / "text.onnx"}, recogniser="tiny", width=128)
    with pytest.raises(WeightsCorrupt, match="not an ONNX network"):
        FaceReader.from_folder(tmp_path / "text")
    pack(tmp_path / "narrow", **parts, recogniser="tiny", width=64)
    with pytest.raises(WeightsCorrupt, match="expected 64"):
        FaceReader.from_folder(tmp_path / "narrow").identify([white_face(meadow(99, 99), 9, 9, 40, 40)])


def test_threads_are_counted_from_one(folder: Path) -> None:
    with pytest.raises(BadOption, match="threads"):
        FaceReader.from_folder(folder, threads=0)


def scrfd(path: Path) -> Path:
    """A real SCRFD file's contract, for one face: the anchor at (64, 48) of stride 8 says 0.8 to any picture."""
    strides, size = (8, 16, 32), 640
    constants: dict[str, np.ndarray] = {"zero": np.float32(0)}
    nodes = [helper.make_node("ReduceMean", ["image"], ["mean"], axes=[0, 1, 2, 3], keepdims=0)]
    nodes.append(helper.make_node("Mul", ["mean", "zero"], ["nothing"]))
    results = []
    for part, width in (("score", 1), ("box", 4), ("points", 10)):
        for stride in strides:
            table = np.zeros(((size // stride) ** 2 * 2, width), np.float32)
            if stride == 8:
                offsets = {"score": 0.8, "box": 3.0, "points": ((FACE - 0.5) * 6).ravel()}
                table[(48 // 8 * (size // 8) + 64 // 8) * 2] = offsets[part]
            name = f"{part}_{stride}"
            constants[f"{name}_table"] = table
            nodes.append(helper.make_node("Add", [f"{name}_table", "nothing"], [name]))
            results.append((name, list(table.shape)))
    onnx.save(model_of(nodes, ("image", [1, 3, size, size]), results, constants), path)
    return path


def red_recogniser(path: Path) -> Path:
    """A recogniser's contract: mean red, green and blue of the crop."""
    node = helper.make_node("ReduceMean", ["data"], ["vector"], axes=[2, 3], keepdims=0)
    onnx.save(model_of([node], ("data", ["N", 3, 112, 112]), [("vector", ["N", 3])], {}), path)
    assert onnx.load(path).graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT
    return path


def test_insightface_reads_behind_the_same_protocols(tmp_path: Path) -> None:
    detector, recogniser = scrfd(tmp_path / "scrfd.onnx"), red_recogniser(tmp_path / "arcface.onnx")
    files = {"detector": detector, "recogniser": recogniser, "name": "rgb"}
    hashes = {f"{name}_sha256": file_sha256(files[name]) for name in ("detector", "recogniser")}
    if importlib.util.find_spec("insightface") is None:
        with pytest.raises(PersonaeError, match=r"personae\[insightface\]"):
            insightface_reader(**files, **hashes)
        return
    with pytest.raises(WeightsCorrupt, match="sha256"):
        insightface_reader(**files, **hashes | {"recogniser_sha256": "0" * 64})
    reader = insightface_reader(**files, **hashes, threads=1)
    red = np.zeros((320, 320, 3), np.uint8)
    red[:] = (255, 127, 0)
    faces = reader.read(red)
    assert len(faces) == 1
    assert np.allclose(box_of(faces[0]), np.array((40, 24, 88, 72)) / 2, atol=0.5)
    assert faces[0].motion is None
    assert faces[0].identity is not None
    assert faces[0].identity.space == f"rgb/arcface/{hashes['recogniser_sha256'][:12]}"
    assert np.allclose(faces[0].identity.vector, (0.707, 0, -0.707), atol=0.01)  # red first: no BGR comes out
    assert len(reader.identify(np.stack([red] * 3))) == 3


@pytest.fixture(scope="module")
def bundled() -> FaceReader:
    return FaceReader.from_folder(BUNDLED)


@pytest.mark.skipif(not (BUNDLED / CONFIG_NAME).is_file(), reason=f"{BUNDLED} is not trained yet")
class TestBundled:
    """The bundled networks on a public-domain portrait, against what OpenCV's YuNet finds there."""

    @pytest.mark.parametrize(
        ("left", "top", "right", "bottom"), [(0, 0, 512, 512), (120, 20, 330, 230), (165, 55, 275, 190)]
    )
    def test_finds_her_in_the_photo_and_in_tight_crops(
        self, bundled: FaceReader, left: int, top: int, right: int, bottom: int
    ) -> None:
        face = bundled.read(astronaut()[top:bottom, left:right])[0]
        middle = face.detection.points.mean(0) + np.array((left, top))
        assert np.abs(middle - (221, 123)).max() < 8
        assert face.detection.points[0, 0] < face.detection.points[1, 0]

    def test_reads_her_smile_and_her_pose(self, bundled: FaceReader) -> None:
        motion = bundled.read(astronaut())[0].motion
        assert motion is not None
        smile = [i for i, name in enumerate(BLENDSHAPES) if name.startswith("mouthSmile")]
        assert motion.blendshapes[smile].mean() > 0.3
        assert abs(motion.pose.yaw) < 25
        assert abs(motion.pose.roll) < 12

    def test_turning_the_photo_turns_the_roll(self, bundled: FaceReader) -> None:
        upright = bundled.read(astronaut())[0].motion
        turned = np.asarray(Image.fromarray(astronaut()).rotate(-15, Image.Resampling.BICUBIC))  # clockwise
        tilted = bundled.read(turned)[0].motion
        assert upright is not None
        assert tilted is not None
        assert tilted.pose.roll - upright.pose.roll == pytest.approx(15, abs=5)

    def test_knows_her_again(self, bundled: FaceReader) -> None:
        photo = Image.fromarray(astronaut())
        small, mirrored = photo.resize((300, 300)), photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        first, again, mirror = bundled.identify([photo, small, mirrored])
        assert first is not None
        assert again is not None
        assert mirror is not None
        assert first.vector @ again.vector > 0.8
        assert first.vector @ mirror.vector > 0.6

    def test_finds_nobody_in_textures(self, bundled: FaceReader) -> None:
        from skimage import data

        for texture in (data.brick(), data.grass(), data.gravel(), data.moon(), data.page()):
            assert bundled.read(texture) == []
