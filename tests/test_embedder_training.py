"""The identity encoder's recipe: crops cut by landmarks, spoilt in every way, and held to a teacher's clean vectors."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from personae.data import shards
from personae.errors import BadData
from personae.reading import align
from personae.reading.steady import FIVE
from personae.training.export_onnx import export_onnx
from personae.training.images import to_tensor
from personae.training.loop import Schedule, train
from personae.training.methods.embedder.blockwise import BlockwiseTask
from personae.training.methods.embedder.data import FaceCrops, Jitter, degraded
from personae.training.methods.embedder.method import EmbedderTask
from personae.training.methods.embedder.network import Embedder
from personae.training.methods.embedder.teacher import BLOCKS, STEM
from personae.training.methods.embedder.unfold import unfolded
from personae.types import Array
from training_fixtures import write_cache

SMALL = {"widths": (8, 8, 8), "depths": (1, 2, 1), "features": 16}


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


class _Opened(nn.Module):
    """A network with what each of its units makes as outputs."""

    def __init__(self, network: Embedder) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        found = []
        for unit in self.network.units:
            x = unit(x)
            found.append(x)
        return found


def untrained(photos: Path, seed: int) -> Embedder:
    """A network that tells people apart by chance: its batch norms have the statistics of their crops."""
    torch.manual_seed(seed)
    faces, network = FaceCrops.load([photos]), Embedder()
    crops = to_tensor(np.stack([faces.cut(row) for row in range(16)]))
    with torch.no_grad():
        for _ in range(40):
            network.train()(crops)
    return network.eval()


def random_teacher(photos: Path, folder: Path) -> Path:
    """A teacher of MobileFaceNet's input, maps and output."""
    torch.onnx.export(
        _Opened(untrained(photos, 7)).eval(),
        (torch.zeros(1, 3, 112, 112),),
        str(folder / "mobilefacenet.onnx"),
        input_names=["input"],
        output_names=[STEM, *BLOCKS, "output"],
        opset_version=17,
        dynamo=False,
    )
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_faces(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_faces(tmp_path_factory.mktemp("views"), views=True, seed=1)


@pytest.fixture(scope="module")
def teachers(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_teacher(photos, tmp_path_factory.mktemp("teachers"))


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
    for other in (Embedder((8, 8, 16), (1, 2, 1), 16), Embedder((8, 8, 8), (1, 2, 2), 16)):
        with pytest.raises(BadData, match="another network"):
            unfolded(other, tmp_path / "it.onnx", torch.zeros(2, 3, 112, 112))


# ---------------------------------------------------------------------- the task


@pytest.fixture(scope="module")
def start(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export to go on from."""
    path = tmp_path_factory.mktemp("start") / "embedder.onnx"
    export_onnx(untrained(photos, 3), torch.zeros(2, 3, 112, 112), path, ["crop"], ["identity"])
    return path


@pytest.fixture(scope="module")
def task(photos: Path, views: Path, teachers: Path, start: Path) -> EmbedderTask:
    return EmbedderTask([photos, views], teachers, start=start)


def test_targets_are_the_teachers_vectors_of_clean_crops(task: EmbedderTask) -> None:
    batch = task.batch(np.random.default_rng(0), 8)
    assert batch["crops"].shape == (8, 112, 112, 3)
    assert batch["maps"].shape == (4, 128, 7, 7)
    clean: list[Array] = [
        task.teacher(task.faces.clean((kind, row, mirrored)))[0]
        for kind, table in enumerate(task.faces.kinds)
        for row in range(len(table))
        for mirrored in (False, True)
    ]
    nearest = (batch["targets"] @ np.stack(clean).T).max(1)
    assert np.allclose(nearest[4:], 1, atol=1e-5)
    again = task.batch(np.random.default_rng(0), 8)  # what is remembered changes nothing
    assert all(np.array_equal(batch[name], again[name]) for name in batch)


def test_both_kinds_are_drawn(task: EmbedderTask) -> None:
    rng = np.random.default_rng(0)
    assert {task.faces.row(rng)[0] for _ in range(20)} == {0, 1}


def test_it_trains_reports_and_exports(photos: Path, views: Path, teachers: Path, start: Path, tmp_path: Path) -> None:
    schedule = Schedule(steps=2, batch=4, lr=1e-3, compile=False)
    report = train(EmbedderTask([photos, views], teachers, start=start), schedule, tmp_path / "run", bf16=False)
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
    crop = to_tensor(np.stack([longer.faces.kinds[0].cut(0)]))
    first = torch.load(tmp_path / "run" / "export" / "embedder.pt", weights_only=True)
    plain = Embedder()
    plain.load_state_dict(first)
    with torch.no_grad():
        assert float((plain.eval()(crop) * longer.model.embedder.eval()(crop)).sum()) > 0.999


@pytest.fixture(scope="module")
def blockwise(photos: Path, views: Path, teachers: Path) -> BlockwiseTask:
    torch.manual_seed(0)
    return BlockwiseTask([photos, views], teachers)


def _opened(batch: dict[str, Array]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(value) for name, value in batch.items()}


def test_each_block_learns_from_as_many_pictures_as_its_map_is_small(blockwise: BlockwiseTask) -> None:
    batch = _opened(blockwise.batch(np.random.default_rng(0), 16))
    learnt = []

    def model(inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        learnt.extend(len(x) for x in inputs)
        with torch.no_grad():
            return blockwise.model(inputs)

    loss, figures = blockwise.loss(model, batch, torch.Generator())  # type: ignore[arg-type]
    assert learnt == [2] * 6 + [8] * 7 + [16] * 4
    assert float(loss) == pytest.approx(float(sum(figures.values())), rel=1e-5)


def test_blocks_that_are_the_teachers_have_no_error(blockwise: BlockwiseTask, teachers: Path) -> None:
    batch = _opened(blockwise.batch(np.random.default_rng(0), 16))
    answers = [batch[f"unit_{number}"] for number in range(17)]
    crops = batch["crops"]

    def model(inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        # Each input is what the teacher's unit before it makes of the same pictures, whose answer is at hand.
        assert torch.equal(inputs[1], answers[0][: len(inputs[1])])
        return [answer[: len(x)] for answer, x in zip(answers, inputs, strict=True)]

    assert crops.shape == (16, 112, 112, 3)
    loss, _ = blockwise.loss(model, batch, torch.Generator())  # type: ignore[arg-type]
    assert float(loss) == 0
    first = blockwise.teacher.units(crops[0].numpy())
    assert np.allclose(answers[0][0], first[0])
    assert np.allclose(answers[-1][0] / answers[-1][0].norm(), blockwise.teacher(crops[0].numpy())[0], atol=1e-5)


def test_every_block_learns(blockwise: BlockwiseTask) -> None:
    optimizer = torch.optim.Adam(blockwise.model.parameters(), 4e-3)
    batch, losses = _opened(blockwise.batch(np.random.default_rng(0), 8)), []
    for _ in range(6):
        loss, figures = blockwise.loss(blockwise.model, batch, torch.Generator())
        losses.append({name: float(figure) for name, figure in figures.items()})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert len(losses[0]) == 17
    assert all(losses[-1][name] < losses[0][name] for name in losses[0])
    with torch.no_grad():
        report = blockwise.report(blockwise.model.eval())
    assert report.keys() >= {"photos_plain", "people_spoilt", "teacher_between"}


def test_the_loss_is_least_where_the_teacher_is_met(task: EmbedderTask) -> None:
    batch = {name: torch.from_numpy(value) for name, value in task.batch(np.random.default_rng(0), 6).items()}
    features = torch.zeros(6, 128, 7, 7)
    features[:3] = batch["maps"]

    def loss(vectors: torch.Tensor) -> float:
        return float(task.loss(lambda _: (vectors, features), batch, torch.Generator())[0])  # type: ignore[arg-type]

    assert loss(batch["targets"]) == pytest.approx(0, abs=1e-4)
    assert loss(batch["targets"].roll(1, 0)) > 0.05
