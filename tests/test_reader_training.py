"""What the detector and the motion reader learn from, that they learn, and that what ships says the same."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from accelerate import Accelerator
from torch import nn

from personae.data.teachers import pose_from_matrix
from personae.errors import BadData
from personae.reading import rotation
from personae.reading.detect import DetectorConfig, OnnxDetector
from personae.reading.face_motion import MotionConfig, OnnxMotionReader
from personae.reading.onnx_file import file_sha256
from personae.reading.onnx_module import OnnxModule
from personae.training.export_onnx import export_onnx, quantise
from personae.training.methods.detector.data import Scene
from personae.training.methods.detector.method import DetectorTask, assign, overlap
from personae.training.methods.motion.method import MotionTask
from personae.training.mirror import mirrored_blendshapes, mirrored_landmarks
from personae.training.networks import CANVAS, DetectorNet, MotionNet, anchor_grid
from personae.training.onnx_weights import widen
from personae.types import BLENDSHAPES
from test_scenes import drawn_cache
from tolerances import assert_same


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn_cache(tmp_path_factory.mktemp("cache"))


def scene(boxes: list[list[float]], ignored: list[list[float]] | None = None) -> Scene:
    rects = np.array(boxes, np.float32).reshape(-1, 4)
    return Scene(
        pixels=np.zeros((CANVAS, CANVAS, 3), np.uint8),
        boxes=rects,
        points=np.repeat((rects[:, None, :2] + rects[:, None, 2:]) / 2, 5, axis=1),
        ignored=np.array(ignored or [], np.float32).reshape(-1, 4),
    )


# Angles --------------------------------------------------------------------------------------------------------


def test_angles_agree_with_the_teachers() -> None:
    matrix = np.eye(4)
    matrix[:3, :3] = rotation.rotation(np.array((20.0, -10.0, 30.0)))
    found = pose_from_matrix(matrix)
    assert (found.yaw, found.pitch, found.roll) == pytest.approx((20, -10, 30))


def test_turning_a_frontal_head_changes_its_roll_alone() -> None:
    np.testing.assert_allclose(rotation.turn(np.array((0.0, 0.0, 5.0)), 12), (0, 0, 17), atol=1e-9)


@pytest.mark.parametrize("count", [1, 3])
def test_turning_there_and_back(count: int) -> None:
    angles = np.random.default_rng(0).uniform(-40, 40, (count, 3))
    back = rotation.turn(rotation.turn(angles, np.full(count, 15.0)), np.full(count, -15.0))
    np.testing.assert_allclose(back, angles, atol=1e-9)


# The detector's answers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [14, 30, 60, 120, 240, 330])
def test_every_face_has_a_place_that_answers_for_it(width: float) -> None:
    answer = assign(scene([[100 - width / 2, 100 - width / 2, 100 + width / 2, 100 + width / 2]]))
    chosen = answer["label"] == 1
    assert chosen.any()
    centres, _ = anchor_grid()
    assert (np.abs(centres[chosen] - 100) <= max(width, 8)).all()
    np.testing.assert_allclose(answer["points"][chosen], 100, atol=1e-3)


def test_nothing_to_answer_without_faces_and_no_blame_for_ignored_ones() -> None:
    assert (assign(scene([]))["label"] == 0).all()
    assert set(assign(scene([], [[50, 50, 90, 90]]))["label"]) == {0, -1}


def test_overlap_of_boxes() -> None:
    iou, giou = overlap(torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[1.0, 0, 3, 2]]))
    assert float(iou) == pytest.approx(1 / 3)
    assert float(giou) == pytest.approx(1 / 3)


# The networks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 3])
def test_shapes(count: int) -> None:
    boxes, points, logits = DetectorNet().eval()(torch.zeros(count, 3, CANVAS, CANVAS))
    assert (boxes.shape, points.shape, logits.shape) == ((count, 2125, 4), (count, 2125, 10), (count, 2125))
    assert (boxes[..., 2:] > boxes[..., :2]).all()
    landmarks, angles, blendshapes = MotionNet().eval()(torch.zeros(count, 3, 128, 128))
    assert (landmarks.shape, angles.shape) == ((count, 478, 3), (count, 3))
    assert blendshapes.shape == (count, len(BLENDSHAPES))


def test_sizes() -> None:
    assert sum(p.numel() for p in DetectorNet().parameters()) <= 0.6e6
    assert sum(p.numel() for p in MotionNet().parameters()) <= 1.35e6


def learns(task: DetectorTask | MotionTask, size: int, steps: int) -> tuple[float, float]:
    """The loss on one batch before and after `steps` on it."""
    torch.manual_seed(0)
    batch, generator = task.batch(np.random.default_rng(0), size), torch.Generator()
    batch = {name: torch.as_tensor(value) for name, value in batch.items()}
    optimizer = torch.optim.AdamW(task.model.parameters(), 2e-3)
    losses = []
    for _ in range(steps):
        loss, _ = task.loss(task.model, batch, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses[0], losses[-1]


def test_detector_learns_and_ships(cache: Path, tmp_path: Path) -> None:
    task = DetectorTask(cache, tested=2)
    first, last = learns(task, size=3, steps=8)
    assert last < 0.7 * first
    task.export(task.model, tmp_path)
    file = tmp_path / "detector.onnx"
    assert file.stat().st_size < 1.4e6
    detector = OnnxDetector(tmp_path, DetectorConfig(file=file.name, sha256=file_sha256(file)), threads=1)
    assert isinstance(detector.detect(np.zeros((90, 160, 3), np.uint8)), list)


def test_motion_reader_learns_and_ships(cache: Path, tmp_path: Path) -> None:
    task = MotionTask(cache)
    first, last = learns(task, size=8, steps=12)
    assert last < 0.7 * first
    with torch.no_grad():
        report = task.report(task.model.eval())
    assert {"landmarks_off", "yaw_off", "mouthSmile", "jawOpen", "eyeBlink"} <= report.keys()
    task.export(task.model, tmp_path)
    file = tmp_path / "motion.onnx"
    reader = OnnxMotionReader(tmp_path, MotionConfig(file=file.name, sha256=file_sha256(file)), threads=1)
    points = np.array([(70, 80), (130, 80), (102, 115), (75, 145), (127, 145)], np.float32)
    motion = reader.read(np.zeros((200, 200, 3), np.uint8), points)
    assert motion.landmarks.shape == (478, 3)
    assert motion.blendshapes.shape == (len(BLENDSHAPES),)


def test_motion_targets_move_with_the_picture(cache: Path) -> None:
    batch = MotionTask(cache).batch(np.random.default_rng(0), 24)
    shine = []
    for crop, landmarks in zip(batch["crops"], batch["landmarks"], strict=True):
        grey = crop.astype(np.float32).mean(-1)
        for x, y in landmarks[:5, :2].round().astype(int):
            shine.append(grey[y, x] > np.median(grey))
    assert np.mean(shine) > 0.93  # some dots are covered on purpose


# Mirrors -------------------------------------------------------------------------------------------------------


def test_mirror_swaps_sides() -> None:
    swap = mirrored_blendshapes()
    np.testing.assert_array_equal(swap[swap], np.arange(len(BLENDSHAPES)))
    assert BLENDSHAPES[swap[BLENDSHAPES.index("eyeBlinkLeft")]] == "eyeBlinkRight"
    assert BLENDSHAPES[swap[BLENDSHAPES.index("jawOpen")]] == "jawOpen"


def test_mirrored_landmarks_pair_a_symmetric_shape() -> None:
    rng = np.random.default_rng(0)
    half = np.column_stack([rng.uniform(5, 60, 20), rng.uniform(-60, 60, 20), rng.uniform(-20, 20, 20)])
    middle = np.column_stack([np.zeros(5), np.linspace(-70, 70, 5), np.zeros(5)])
    shape = np.concatenate([half, half * (-1, 1, 1), middle])
    shape += np.array((64, 64, 0)) + rng.normal(0, 0.05, (45, 3))
    expected = np.concatenate([np.arange(20, 40), np.arange(20), np.arange(40, 45)])
    np.testing.assert_array_equal(mirrored_landmarks(shape), expected)


# Export --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 3])
def test_export_says_what_torch_says(tmp_path: Path, count: int) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 36, 16))
    path = tmp_path / "net.onnx"
    worst = export_onnx(net, torch.zeros(2, 3, 8, 8), path, ["crop"], ["vector"])
    assert worst < 0.01
    assert net.training
    images = torch.randn(count, 3, 8, 8)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(["vector"], {"crop": images.numpy()})[0]
    np.testing.assert_allclose(found, net.eval()(images).detach().numpy(), atol=0.01)
    kinds = {t.data_type for t in onnx.load(str(path)).graph.initializer if np.prod(t.dims) > 64}
    assert kinds == {onnx.TensorProto.FLOAT16}


class Mixed(nn.Module):
    """Every kind of weight that is stored in its own way: kernels, grouped ones, matrices both ways around, vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 96, 3), nn.PReLU(96), nn.Conv2d(96, 96, 3, groups=96), nn.AvgPool2d(4))
        self.head = nn.Linear(96, 80)
        self.out = nn.Parameter(torch.randn(80, 70) / 9)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.head(self.body(x).flatten(1))
        return y, y @ self.out


@pytest.fixture(scope="module")
def mixed() -> Mixed:
    torch.manual_seed(0)
    return Mixed().eval()


def answers(path: Path, images: torch.Tensor) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"crop": images.numpy()})


@pytest.mark.parametrize("count", [1, 3])
def test_eight_bits_say_what_torch_says(tmp_path: Path, mixed: Mixed, count: int) -> None:
    path = tmp_path / "net.onnx"
    worst = export_onnx(mixed, torch.zeros(2, 3, 8, 8), path, ["crop"], ["a", "b"], bits=8)
    assert 0 < worst < 0.05
    images = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        expected = mixed(images)
    for found, wanted in zip(answers(path, images), expected, strict=True):
        np.testing.assert_allclose(found, wanted.numpy(), atol=0.05 * float(wanted.abs().max()))
    for output, wanted in zip(("a", "b"), answers(path, images), strict=True):
        assert_same(OnnxModule(path, output)(images), wanted)


def test_eight_bits_are_per_output_channel(tmp_path: Path, mixed: Mixed) -> None:
    """Half a step of each channel's own largest weight, wherever the channels lie."""
    path = tmp_path / "net.onnx"
    export_onnx(mixed, torch.zeros(2, 3, 8, 8), path, ["crop"], ["a", "b"], bits=8)
    model = onnx.load(str(path))
    kinds = {t.name: t.data_type for t in model.graph.initializer if np.prod(t.dims) > 96}
    assert set(kinds.values()) == {onnx.TensorProto.INT8}
    assert len(kinds) == 4
    widen(model)
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    for name, axes in (("body.0.weight", (1, 2, 3)), ("body.2.weight", (1, 2, 3)), ("head.weight", 1), ("out", 0)):
        weight = mixed.get_parameter(name).detach().numpy()
        step = np.abs(weight).max(axis=axes, keepdims=True) / 127
        assert (np.abs(stored[name] - weight) <= 0.5001 * step).all()


def test_onnxruntime_folds_what_widens_the_weights(tmp_path: Path, mixed: Mixed) -> None:
    path, folded = tmp_path / "net.onnx", tmp_path / "folded.onnx"
    export_onnx(mixed, torch.zeros(2, 3, 8, 8), path, ["crop"], ["a", "b"], bits=8)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folded)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    assert {"Cast", "Mul"} <= {node.op_type for node in onnx.load(str(path)).graph.node}
    assert not {"Cast", "Mul"} & {node.op_type for node in onnx.load(str(folded)).graph.node}


def test_a_file_of_sixteen_bits_becomes_one_of_eight(tmp_path: Path, mixed: Mixed) -> None:
    path, direct = tmp_path / "net.onnx", tmp_path / "direct.onnx"
    export_onnx(mixed, torch.zeros(2, 3, 8, 8), path, ["crop"], ["a", "b"])
    export_onnx(mixed, torch.zeros(2, 3, 8, 8), direct, ["crop"], ["a", "b"], bits=8)
    images, size = torch.randn(3, 3, 8, 8), path.stat().st_size
    before = answers(path, images)
    assert 0 < quantise(path) < 0.05
    assert path.stat().st_size < size
    assert path.stat().st_size == pytest.approx(direct.stat().st_size, rel=0.01)
    for found, wanted in zip(answers(path, images), before, strict=True):
        np.testing.assert_allclose(found, wanted, atol=0.05 * float(np.abs(wanted).max()))
    content = path.read_bytes()
    assert quantise(path) == 0
    assert path.read_bytes() == content


class Outliers(nn.Module):
    """Two weights of each row cancel; what is left is smaller than a step between them."""

    def __init__(self) -> None:
        super().__init__()
        weight = torch.rand(4, 64, generator=torch.Generator().manual_seed(0)) * 0.003
        weight[:, 0], weight[:, 1] = 1, -1
        self.weight = nn.Parameter(weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(torch.cat([x[:, :1], x[:, :1], x[:, 2:]], 1), self.weight)


def test_weights_that_eight_bits_cannot_hold_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    export_onnx(Outliers(), torch.zeros(2, 64), path, ["x"], ["y"])
    content = path.read_bytes()
    with pytest.raises(BadData, match="8 bits differs by"):
        quantise(path)
    assert path.read_bytes() == content


def test_export_sheds_mixed_precision(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 8))
    x = torch.randn(3, 16)
    expected = net(x).detach().numpy()
    prepared = Accelerator(mixed_precision="bf16", cpu=True).prepare(net)
    with torch.autocast("cpu", torch.bfloat16):
        export_onnx(prepared, x, tmp_path / "net.onnx", ["x"], ["y"])
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"x": x.numpy()})[0], expected, atol=2e-3)


def test_export_refuses_weights_too_large_for_half_precision(tmp_path: Path) -> None:
    net = nn.Linear(16, 16)
    nn.init.constant_(net.weight, 1e6)
    with pytest.raises(BadData, match="too large for half precision"):
        export_onnx(net, torch.zeros(2, 16), tmp_path / "net.onnx", ["x"], ["y"])
    assert not list(tmp_path.iterdir())
