"""Pictures that FaceX makes at practice, as the teacher reads them: where they lie, that they are kept, learnt from."""

from pathlib import Path

import numpy as np
import pytest
import torch

from personae.data.teachers import Teachers
from personae.reading import align
from personae.sampling.fast import modes
from personae.training.methods.facex.method import FaceXTask
from personae.training.methods.motion.generated_faces import GeneratedFaces
from personae.training.methods.motion.method import MotionTask
from personae.types import BLENDSHAPES, Array, Motion, Pose
from test_facex_training import task  # noqa: F401 - a fixture
from test_reader_training import cache  # noqa: F401 - a fixture


class Labeller(Teachers):
    """Sees a face wherever it is bright, all landmarks at the brightest spot; its expression is anything."""

    def __init__(self) -> None:
        """Without networks."""

    def motion(self, pixels: Array) -> Motion | None:
        grey = pixels.astype(float).mean(-1)
        grey[grey == 127] = 0  # the frame
        if grey.max() < 200:
            return None
        rows, columns = np.nonzero(grey == grey.max())
        spot = np.array((columns.mean(), rows.mean(), 8), np.float32)
        shapes = np.random.default_rng(int(spot.sum() * 10)).random(len(BLENDSHAPES), np.float32)
        return Motion(landmarks=np.tile(spot, (478, 1)), pose=Pose(yaw=1, pitch=2, roll=3), blendshapes=shapes)


def dotted(x: int, y: int) -> Array:
    crop = np.full((128, 128, 3), 40, np.uint8)
    crop[y - 2 : y + 3, x - 2 : x + 3] = 230
    return crop


def test_landmarks_lie_in_the_crop() -> None:
    seen = Labeller().motion_in_crop(dotted(50, 71))
    assert seen is not None
    np.testing.assert_allclose(seen.landmarks[0], (50, 71, 4), atol=0.3)
    assert Labeller().motion_in_crop(np.zeros((128, 128, 3), np.uint8)) is None


def test_pictures_without_a_face_are_left_out() -> None:
    made = GeneratedFaces.read([dotted(60, 60), np.zeros((128, 128, 3), np.uint8), dotted(20, 90)], Labeller())
    assert len(made) == len(made.rows(0, 9)) == 2
    np.testing.assert_allclose(made.landmarks[:, 0, 0], (60, 20), atol=0.3)
    np.testing.assert_array_equal(made.pose, [(1, 2, 3)] * 2)


def test_practice_is_read_once(task: FaceXTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(task.data, "pairs", 1.0)
    monkeypatch.setattr(Labeller, "motion", lambda self, pixels: motion_anywhere())
    made = GeneratedFaces.load_or_make(tmp_path / "new" / "made.npz", lambda: task, Labeller(), 20)
    assert made.crops.shape == (20, 128, 128, 3)
    assert len(np.unique(made.crops.mean((1, 2, 3)))) > 10  # of different people

    def again() -> FaceXTask:
        raise AssertionError("it is there")

    kept = GeneratedFaces.load_or_make(tmp_path / "new" / "made.npz", again, Labeller(), 20)
    np.testing.assert_array_equal(kept.crops, made.crops)


class Placed(torch.nn.Module):
    """Remembers where it is brought."""

    home: torch.device | None = None

    def to(self, home: torch.device) -> "Placed":
        self.home = home
        return self


def test_practice_is_where_trainings_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its autoencoder is brought there by others; no loop has brought its model."""
    home, generators = torch.device("cpu"), list[torch.Generator]()

    class Practice:
        model = Placed()

        def batch(self, rng: np.random.Generator, size: int) -> int:
            return size

        def pictures(self, batch: int, generator: torch.Generator) -> Array:
            assert self.model.home is home
            generators.append(generator)
            return np.stack([dotted(60, 60)] * batch)

    monkeypatch.setattr(modes, "device_for", lambda wish: home)
    assert len(GeneratedFaces.load_or_make(tmp_path / "made.npz", Practice, Labeller(), 3)) == 3
    assert generators[0].device == home


def motion_anywhere() -> Motion:
    shapes = np.zeros(len(BLENDSHAPES), np.float32)
    return Motion(landmarks=np.ones((478, 3), np.float32), pose=Pose(yaw=0, pitch=0, roll=0), blendshapes=shapes)


def test_they_are_half_of_what_is_learnt(cache: Path, tmp_path: Path) -> None:  # noqa: F811
    before = MotionTask(cache)
    torch.save(before.model.state_dict(), tmp_path / "motion.pt")
    eye = (np.array(align.template("portrait").points)[0] * 128 - 0.5).round().astype(int)
    made = GeneratedFaces.read([dotted(eye[0] + n % 4, eye[1]) for n in range(32)], Labeller())
    task = MotionTask(cache, start=tmp_path / "motion.pt", generated=made)  # noqa: F811
    for name, weights in before.model.state_dict().items():
        assert torch.equal(task.model.state_dict()[name], weights), name
    batch = task.batch(np.random.default_rng(0), 200)
    ours = batch["landmarks"].std(1)[:, 0] < 1e-3  # all at one spot
    assert 70 < ours.sum() < 130
    goal = np.array(align.template("motion").points)[:2] * 128
    apart = np.linalg.norm(batch["landmarks"][ours, 0, None, :2] - goal, axis=-1).min(1)  # of either eye: mirrored
    assert np.median(apart) < 12
    with torch.no_grad():
        report = task.report(task.model.eval())
    assert {"jawOpen", "made_jawOpen", "made_yaw_off"} <= report.keys()
