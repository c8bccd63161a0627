"""The identity encoder's recipe: crops cut by landmarks, spoilt in every way, and held to a teacher's clean vectors."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from personae.data import shards
from personae.errors import BadData
from personae.reading import align
from personae.reading.steady import FIVE
from personae.training.export_onnx import export_onnx
from personae.training.images import to_tensor
from personae.training.loop import Schedule, train
from personae.training.methods.embedder.data import FaceCrops, Jitter, degraded
from personae.training.methods.embedder.method import EmbedderTask
from personae.training.methods.embedder.network import Embedder
from personae.training.methods.embedder.teacher import Teacher
from personae.training.methods.embedder.unfold import unfolded
from personae.types import Array
from training_fixtures import write_cache

SMALL = {"widths": (8, 8, 8, 8), "depths": (0, 1, 1, 1)}


def with_faces(folder: Path, *, views: bool = False, seed: int = 0) -> Path:
    """A cache whose landmarks lie where its five points do; views: of people, three each."""
    plain = write_cache(folder / "plain", count=48, seed=seed)
    records = []
    for number, (key, record) in enumerate(shards.read(plain / "train-00.tar")):
        labels = shards.unpack_arrays(record["labels.npz"])
        labels["landmarks"][list(FIVE), :2] = labels["points"]
        name = f"p{number // 3:06d}-{number % 3}" if views else key
        records.append((name, {**record, "labels.npz": shards.pack_arrays(labels)}))
    out = folder / "cache"
    out.mkdir()
    shards.write(out / "train-00.tar", records)
    return out


def tiny_teacher(folder: Path) -> Path:
    """A teacher of MobileFaceNet's input, map and output, with one random layer."""
    rng = np.random.default_rng(0)
    weight = numpy_helper.from_array(rng.normal(0, 0.1, (128, 3, 16, 16)).astype(np.float32), "weight")
    nodes = [
        helper.make_node("Conv", ["input", "weight"], [Teacher._MAP], strides=[16, 16]),
        helper.make_node("GlobalAveragePool", [Teacher._MAP], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["output"]),
    ]
    images = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 112, 112])
    vectors = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 128])
    graph = helper.make_graph(nodes, "teacher", [images], [vectors], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.save(model, folder / "mobilefacenet.onnx")
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_faces(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_faces(tmp_path_factory.mktemp("views"), views=True, seed=1)


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_teacher(tmp_path_factory.mktemp("teachers"))


# ---------------------------------------------------------------------- crops


def test_crops_are_cut_by_the_landmarks(photos: Path) -> None:
    faces = FaceCrops.load([photos])
    crop = faces.cut(0)
    assert crop.shape == (112, 112, 3)
    eyes = np.array(align.template("arcface").points[:2]) * 112
    assert all(crop[round(y), round(x)].sum() < 200 for x, y in eyes)  # drawn eyes are dark
    assert np.array_equal(faces.cut(0, mirrored=True), crop[:, ::-1])


def test_a_jittered_crop_lies_a_little_off_and_depends_on_its_seed(photos: Path) -> None:
    faces = FaceCrops.load([photos])
    one, same, other = (faces.cut(0, jitter=Jitter(), rng=np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    still = faces.cut(0, jitter=Jitter(points=0, shift=0, turn=0, scale=0), rng=np.random.default_rng(0))
    assert np.array_equal(still, faces.cut(0))


def test_every_quality_is_met_and_none_changes_the_layout() -> None:
    crop = np.random.default_rng(0).integers(0, 255, (112, 112, 3), np.uint8)
    spoilt = [degraded(crop, np.random.default_rng(seed)) for seed in range(60)]
    assert all(one.shape == crop.shape and one.dtype == np.uint8 for one in spoilt)
    detail = [np.abs(np.diff(one.astype(float), axis=1)).mean() for one in spoilt]
    assert min(detail) < 0.2 * max(detail)  # blurred and small ones
    assert any((one[0] == one[1]).all() or (one[:, 0] == one[:, 1]).all() for one in spoilt)  # cut off at a side
    assert np.array_equal(spoilt[0], degraded(crop, np.random.default_rng(0)))


def test_views_of_a_person_are_held_out_together(views: Path) -> None:
    train_, held = FaceCrops.load([views]), FaceCrops.load([views], held_out=True)
    assert not set(train_.people) & set(held.people)
    assert len(train_) + len(held) == 48


def test_folders_without_faces_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="personae prepare"):
        FaceCrops.load([tmp_path])


# ---------------------------------------------------------------------- the network back from its export


def test_an_exported_network_is_trained_on_from_where_it_was(tmp_path: Path, photos: Path) -> None:
    torch.manual_seed(0)
    faces = FaceCrops.load([photos])
    crops = to_tensor(np.stack([faces.cut(row) for row in range(len(faces))]))
    first = Embedder(**SMALL)  # type: ignore[arg-type]
    first.train()(crops)  # its batch norms have statistics
    export_onnx(first.eval(), crops[:2], tmp_path / "it.onnx", ["crop"], ["identity"])
    again = Embedder(**SMALL)  # type: ignore[arg-type]
    unfolded(again, tmp_path / "it.onnx", crops)
    with torch.no_grad():
        expected, found, training = first(crops), again.eval()(crops), again.train()(crops)
    assert (expected * found).sum(-1).min() > 0.999
    assert (expected * training).sum(-1).min() > 0.95  # the batch's own statistics in the norms that were not folded


def test_another_network_is_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    export_onnx(Embedder(**SMALL).eval(), torch.zeros(2, 3, 112, 112), tmp_path / "it.onnx", ["crop"], ["identity"])  # type: ignore[arg-type]
    for other in (Embedder((8, 8, 8, 16), (0, 1, 1, 1)), Embedder((8, 8, 8, 8), (0, 1, 1, 2))):
        with pytest.raises(BadData, match="another network"):
            unfolded(other, tmp_path / "it.onnx", torch.zeros(2, 3, 112, 112))


# ---------------------------------------------------------------------- the task


@pytest.fixture(scope="module")
def task(photos: Path, views: Path, teachers: Path) -> EmbedderTask:
    return EmbedderTask([photos, views], teachers)


def test_targets_are_the_teachers_vectors_of_clean_crops(task: EmbedderTask) -> None:
    batch = task.batch(np.random.default_rng(0), 8)
    assert batch["crops"].shape == (8, 112, 112, 3)
    assert batch["maps"].shape == (4, 128, 7, 7)
    clean: list[Array] = [
        task.teacher(task.kinds[kind].cut(row, mirrored=mirrored))[0]
        for kind, table in enumerate(task.kinds)
        for row in range(len(table))
        for mirrored in (False, True)
    ]
    nearest = (batch["targets"] @ np.stack(clean).T).max(1)
    assert np.allclose(nearest[4:], 1, atol=1e-5)
    again = task.batch(np.random.default_rng(0), 8)  # what is remembered changes nothing
    assert all(np.array_equal(batch[name], again[name]) for name in batch)


def test_both_kinds_are_drawn(task: EmbedderTask) -> None:
    rng = np.random.default_rng(0)
    assert {task._row(rng)[0] for _ in range(20)} == {0, 1}


def test_it_trains_reports_and_exports(photos: Path, views: Path, teachers: Path, tmp_path: Path) -> None:
    schedule = Schedule(steps=2, batch=4, lr=1e-3, compile=False)
    report = train(EmbedderTask([photos, views], teachers), schedule, tmp_path / "run", bf16=False)
    assert {
        "photos_plain",
        "photos_spoilt",
        "people_plain",
        "people_spoilt",
        "between",
        "teacher_between",
    } <= report.keys()
    exported = tmp_path / "run" / "export" / "embedder.onnx"
    longer = EmbedderTask([photos], teachers, start=exported)
    crop = to_tensor(np.stack([longer.kinds[0].cut(0)]))
    first = torch.load(tmp_path / "run" / "export" / "embedder.pt", weights_only=True)
    plain = Embedder()
    plain.load_state_dict(first)
    with torch.no_grad():
        assert float((plain.eval()(crop) * longer.model.embedder.eval()(crop)).sum()) > 0.999


def test_the_loss_is_least_where_the_teacher_is_met(task: EmbedderTask) -> None:
    batch = {name: torch.from_numpy(value) for name, value in task.batch(np.random.default_rng(0), 6).items()}
    features = torch.zeros(6, 128, 7, 7)
    features[:3] = batch["maps"]

    def loss(vectors: torch.Tensor) -> float:
        return float(task.loss(lambda _: (vectors, features), batch, torch.Generator())[0])  # type: ignore[arg-type]

    assert loss(batch["targets"]) == pytest.approx(0, abs=1e-4)
    assert loss(batch["targets"].roll(1, 0)) > 0.05
