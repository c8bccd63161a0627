"""Pose maps: the mesh turns as the house's angles say, the picture shows what is near, the axes are as promised."""

from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from personae.conditioning.head_mesh import FaceModel, five_points, in_photo, upright
from personae.conditioning.pose_map import mirrored, place, render
from personae.errors import BadData, WeightsCorrupt
from personae.models import catalog
from personae.reading import align
from personae.reading.face_motion import marks_in_crop
from personae.reading.reader import FaceReader
from personae.reading.rotation import image_turn, turn
from personae.training import face_mesh
from personae.types import BLENDSHAPES, Motion, Pose
from training_fixtures import write_cache

MODEL = FaceModel.bundled()


def angles(yaw: float = 0, pitch: float = 0, roll: float = 0) -> Pose:
    return Pose(yaw=yaw, pitch=pitch, roll=roll)


def expression(**amounts: float) -> np.ndarray:
    shapes = np.zeros(len(BLENDSHAPES))
    for name, amount in amounts.items():
        shapes[BLENDSHAPES.index(name)] = amount
    return shapes


def drawn(pose: Pose, *, size: int = 128, template: str = "portrait", blendshapes=None, shape=None) -> np.ndarray:
    return render(place(MODEL.posed(shape, blendshapes, pose), pose, template, size), MODEL.triangles, size)


def mean_normal(image: np.ndarray) -> np.ndarray:
    """(3,) over the drawn pixels."""
    return (image[image.any(-1)] / 127.5 - 1).mean(0)


def person(seed: int = 0, pose: Pose | None = None) -> Motion:
    """Someone with a face of their own, as a reader would report it from a photo."""
    pose = pose or angles(15, -8, 5)
    rng = np.random.default_rng(seed)
    own = rng.normal(0, 0.02, MODEL.mean.shape)
    shape = MODEL.mean + (own + own[MODEL.mirror] * (-1, 1, 1)) / 2
    shapes = expression(jawOpen=0.5, mouthSmileLeft=0.7)
    landmarks = in_photo(MODEL.posed(shape, shapes, pose)) * 60 + (200, 150, 0)
    return Motion(landmarks=landmarks.astype(np.float32), pose=pose, blendshapes=shapes.astype(np.float32))


def test_axes_are_right_up_and_to_the_viewer() -> None:
    image = drawn(angles())
    assert image.shape == (128, 128, 3)
    assert image.dtype == np.uint8
    x, _, z = mean_normal(image)
    assert abs(x) < 0.02
    assert z > 0.6
    left, right = image[60, 10], image[60, 117]
    assert left[0] < 90 < 165 < right[0]  # cheeks face outwards
    assert image[3:12, 60:68, 1].mean() > image[85:90, 60:68, 1].mean()  # the forehead looks up, the nose's base down
    lengths = np.linalg.norm(image[image.any(-1)] / 127.5 - 1, axis=-1)
    assert np.abs(lengths - 1).max() < 0.02


@pytest.mark.parametrize(("pose", "axis", "sign"), [((30, 0, 0), 0, 1), ((-30, 0, 0), 0, -1), ((0, 25, 0), 1, 1)])
def test_normals_turn_with_the_head(pose: tuple[float, ...], axis: int, sign: int) -> None:
    change = mean_normal(drawn(angles(*pose))) - mean_normal(drawn(angles()))
    assert change[axis] * sign > 0.1


def test_mirrored_pose_gives_the_mirrored_map() -> None:
    def centred(pose: Pose, smile: str) -> np.ndarray:
        """Not through a template: ArcFace's is not quite the same on both sides."""
        vertices = in_photo(MODEL.posed(None, expression(**{smile: 0.8}), pose)) * 40 + (63.5, 63.5, 0)
        return render(vertices, MODEL.triangles, 128)

    one = centred(angles(25, 10, 6), "mouthSmileLeft").astype(int)
    other = mirrored(centred(angles(-25, 10, -6), "mouthSmileRight")).astype(int)
    off = np.abs(one - other).max(-1)
    assert (off > 2).mean() < 0.01  # borders fall on one side of a pixel
    plain = centred(angles(25, 10, 6), "mouthSmileRight").astype(int)
    assert (np.abs(one - plain).max(-1) > 2).mean() > 0.02


def test_roll_turns_the_picture_clockwise() -> None:
    level, tilted = (
        five_points(place(MODEL.posed(None, None, p), p, "portrait", 128)) for p in (angles(), angles(0, 0, 20))
    )
    a = np.radians(20)
    clockwise = np.array([(np.cos(a), -np.sin(a)), (np.sin(a), np.cos(a))])  # y points down
    np.testing.assert_allclose(tilted - 63.5, (level - 63.5) @ clockwise.T, atol=0.1)


@pytest.mark.parametrize("size", [128, 512])
@pytest.mark.parametrize("pose", [(0, 0, 0), (30, 5, 0), (-50, -10, 10)])
def test_faces_lie_where_the_template_wants_them(pose: tuple[float, ...], size: int) -> None:
    asked = angles(*pose)
    points = five_points(place(MODEL.posed(None, None, asked), asked, "portrait", size))
    matrix = align.similarity(points, "portrait", size)
    again = align.apply(matrix, points)
    # What aligning would still move: next to nothing but the asked roll.
    assert np.abs(again.mean(0) - points.mean(0)).max() < 0.05 * size
    assert np.sqrt(np.linalg.det(matrix[:, :2])) == pytest.approx(1, abs=0.06)


def test_the_nose_hides_the_far_cheek() -> None:
    pose = angles(45)
    vertices = place(MODEL.posed(None, None, pose), pose, "portrait", 128)
    image = render(vertices, MODEL.triangles, 128)
    nose = vertices[4]
    assert nose[2] == pytest.approx(vertices[:468, 2].min(), abs=0.3 * np.ptp(vertices[:468, 2]))
    # Pushed behind the rest, the same triangles draw another picture: the order of depth decides, not of drawing.
    behind = render(vertices * (1, 1, -1), MODEL.triangles[::-1], 128)
    np.testing.assert_array_equal(render(vertices, MODEL.triangles[::-1], 128).any(-1), image.any(-1))
    assert (np.abs(render(vertices, MODEL.triangles[::-1], 128).astype(int) - image) > 1).mean() < 1e-3
    assert (behind != image).mean() > 0.01


def test_nearer_triangles_win() -> None:
    square = np.array([(2, 2, 0), (29, 2, 0), (29, 29, 0), (2, 29, 0)], float)
    tilted = (
        square + np.array([(0, 0, 5), (0, 0, -5), (0, 0, -5), (0, 0, 5)]) - (0, 0, 20)
    )  # nearer, its right side most
    pad = np.zeros((460, 3))
    two = np.array([(0, 3, 2), (0, 2, 1)])  # clockwise with y down: towards the viewer
    for triangles in (np.concatenate([two, two + 4]), np.concatenate([two + 4, two])):
        image = render(np.concatenate([square, tilted, pad]), triangles, 32)
        assert image[16, 16, 0] < 110  # the tilted one's normal points left
    assert tuple(render(np.concatenate([square, tilted, pad]), two, 32)[16, 16]) == (128, 128, 255)
    assert not render(np.concatenate([square, tilted, pad]), two[:, ::-1], 32).any()  # its back


def test_a_persons_shape_survives_pose_and_expression() -> None:
    seen = [MODEL.shape_of(person(pose=angles(*p))) for p in ((0, 0, 0), (30, 10, 0), (-20, 0, 15))]
    np.testing.assert_allclose(seen[1], seen[0], atol=1e-3)
    np.testing.assert_allclose(seen[2], seen[0], atol=1e-3)
    other = MODEL.shape_of(person(seed=1))
    assert np.abs(other - seen[0]).mean() > 0.01
    moved = MODEL.posed(seen[0], person().blendshapes, person().pose)
    landmarks = in_photo(moved) * 60
    truth = person().landmarks - person().landmarks.mean(0)
    assert np.abs(landmarks - landmarks.mean(0) - truth).mean() < 1.5


def test_upright_takes_the_pose_off() -> None:
    motion = person()
    still = upright(motion.landmarks, motion.pose)
    tilted = turn(np.array((15.0, -8.0, 5.0)), 12)
    a = np.radians(12)
    matrix = np.array([(np.cos(a), -np.sin(a), 3), (np.sin(a), np.cos(a), -4)])
    turned = marks_in_crop(motion.landmarks, matrix)
    np.testing.assert_allclose(upright(turned, angles(*tilted)), still, atol=1e-4)


def test_landmarks_that_are_no_face_are_refused() -> None:
    nothing = np.ones((478, 3), np.float32)
    with pytest.raises(BadData, match="not a face"):
        upright(nothing, angles())


def test_expressions_show() -> None:
    rest = drawn(angles()).astype(int)
    for name in ("jawOpen", "mouthSmileLeft", "browInnerUp"):
        assert (np.abs(drawn(angles(), blendshapes=expression(**{name: 1.0})) - rest) > 8).mean() > 0.01


def test_a_damaged_model_is_refused(tmp_path: Path) -> None:
    save_file({"mean": np.zeros(3, np.float32)}, tmp_path / "face.safetensors")
    with pytest.raises(WeightsCorrupt, match="not a face model"):
        FaceModel.load(tmp_path / "face.safetensors")
    with pytest.raises(WeightsCorrupt, match="not a face model"):
        FaceModel.load(tmp_path / "none.safetensors")


def test_fitting_needs_photos_and_finds_what_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 0.05, MODEL.moves.shape) * (np.arange(len(BLENDSHAPES)) == 25)[:, None, None]
    truth = truth + truth[:, MODEL.mirror] * (-1, 1, 1)
    shapes = rng.random((80, len(BLENDSHAPES)))
    poses = rng.normal(0, 15, (80, 3))
    posed = [
        in_photo(MODEL.posed(MODEL.mean + np.tensordot(b, truth, 1), None, angles(*p))) * 50
        for b, p in zip(shapes, poses, strict=True)
    ]
    monkeypatch.setattr(face_mesh, "_labels", lambda cache: (np.stack(posed), poses, shapes))
    fitted = face_mesh.fit(tmp_path)
    assert BLENDSHAPES[25] == "jawOpen"
    size = np.abs(fitted.moves).mean((1, 2))
    assert size.argmax() == 25
    fitted.save(tmp_path / "fitted.safetensors")
    loaded = FaceModel.load(tmp_path / "fitted.safetensors")
    np.testing.assert_allclose(loaded.moves, fitted.moves, atol=5e-3)
    np.testing.assert_array_equal(loaded.mirror[loaded.mirror], np.arange(478))
    monkeypatch.undo()
    with pytest.raises(BadData, match="personae prepare"):
        face_mesh.fit(tmp_path)
    assert face_mesh._labels(write_cache(tmp_path / "cache"))[0].shape[1:] == (478, 3)


def test_a_read_face_is_drawn_where_its_reader_saw_it() -> None:
    """The bundled reader on a public-domain portrait: its landmarks, taken apart into shape, expression and pose and
    put together again, land where they were."""
    from skimage.data import astronaut

    reader = FaceReader.from_folder(Path(catalog.resolve("nano")) / "reader", threads=1)
    face = reader.read(astronaut(), identity=False)[0]
    assert face.motion is not None
    matrix = align.similarity(face.detection.points, "portrait", 128)
    marks = marks_in_crop(face.motion.landmarks, matrix)
    yaw, pitch, roll = turn(np.array(astuple(face.motion.pose)), image_turn(matrix))
    seen = angles(yaw, pitch, roll)
    vertices = place(MODEL.posed(MODEL.shape_of(face.motion), face.motion.blendshapes, seen), seen, "portrait", 128)
    assert np.linalg.norm(vertices[:468, :2] - marks[:468, :2], axis=1).mean() < 4
    assert np.corrcoef(vertices[:468, 2], marks[:468, 2])[0, 1] > 0.97
