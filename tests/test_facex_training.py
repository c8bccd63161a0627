"""Recipe `facex-nano`, on a tiny base: only FaceX learns, rows are told what their task says, it ships."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from facex_fixtures import SPACE, last_map, tiny_sizes
from personae.conditioning.facex.network import SIZES, FaceX
from personae.conditioning.facex.representation import GRID, REGIONS, TOKENS
from personae.training import recipes, self_edit_tasks
from personae.training.face_table import FaceTable
from personae.training.images import to_tensor
from personae.training.loop import Schedule, train
from personae.training.methods.base.network import build_unet
from personae.training.methods.facex.decomposed import Decomposed
from personae.training.methods.facex.lessons import LESSONS, NAMES, hair_off, still
from personae.training.methods.facex.method import FaceXTask, widths_of
from personae.training.methods.facex.network import Controlled
from personae.types import BLENDSHAPES, Motion, Pose
from training_fixtures import base_files, write_cache

SHORT = Schedule(steps=1, batch=8, lr=1e-3, warmup=1, compile=False)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> FaceXTask:
    folder = tmp_path_factory.mktemp("facex")
    files = base_files(folder)
    return FaceXTask(files, folder / "motion.onnx", space=SPACE, sizes=tiny_sizes(last_map(files.embedder)))


def tensors(batch: dict) -> dict:
    return {
        name: tensors(value)
        if isinstance(value, dict)
        else torch.from_numpy(value)
        if hasattr(value, "shape")
        else value
        for name, value in batch.items()
    }


def test_nanos_own_is_small() -> None:
    """Below the 2.9 MB that the bundle has for it, in half precision."""
    facex = FaceX(SIZES["facex-nano"], widths_of(build_unet()), SPACE)
    assert 2 * sum(p.numel() for p in facex.parameters()) < 2_900_000


def test_only_facex_learns(task: FaceXTask) -> None:
    batch = tensors(task.batch(np.random.default_rng(0), 12))
    for block in task.model.facex.controller.attentions():
        nn.init.normal_(block.to_out.weight, std=0.1)  # at zero, what comes before it has no gradient yet
    loss, figures = task.loss(task.model, batch, torch.Generator().manual_seed(0))
    loss.backward()
    assert set(figures) == {"flow", "identity", "off", "hair"}
    learning = {name.split(".")[0] for name, p in task.model.named_parameters() if p.grad is not None}
    assert learning == {"facex"}
    assert all(p.grad is not None for p in task.model.facex.parameters())
    task.model.zero_grad()
    for block in task.model.facex.controller.attentions():
        nn.init.zeros_(block.to_out.weight)


def test_rows_are_told_what_their_lesson_says(task: FaceXTask) -> None:
    batch = tensors(task.batch(np.random.default_rng(3), 40))
    task.dropout, dropout = 0.0, task.dropout
    shown, free = task.inputs(batch, torch.Generator().manual_seed(0))
    task.dropout = dropout
    count = len(batch["lessons"])
    for row, lesson in enumerate(batch["lessons"].tolist()):
        asked = list(LESSONS.values())[lesson]
        givers = asked.task.token_roles | {"identity": "source"}
        faces = {"source": row, "target": count + row, None: -1}
        wanted = [faces[givers.get(name)] for name in TOKENS]
        assert shown["face_index"][row].tolist() == wanted
    assert shown["reference"].shape == (count, 7, 128, 128)
    assert torch.equal(shown["reference"][:, 3:4], free)
    assert set(free.unique().tolist()) == {0.0, 1.0}
    assert shown["reference"][:, 4:].amin() >= 0


def test_a_photos_own_rows_show_one_person_and_pairs_two(task: FaceXTask) -> None:
    batch = task.batch(np.random.default_rng(1), 16)
    pairs = batch["pairs"]
    assert pairs == 5
    alone = slice(0, 16 - pairs)
    np.testing.assert_allclose(batch["source"]["texture"][alone], batch["target"]["texture"][alone])
    assert (batch["source"]["texture"][-pairs:] != batch["target"]["texture"][-pairs:]).any()


def test_own_photos_are_asked_for_pose_or_expression_alone(task: FaceXTask) -> None:
    """Their target is their own photo, with one thing changed; the mesh and what may be made anew follow."""
    rng, turned, moved = np.random.default_rng(2), 0, 0
    for _ in range(6):
        batch = task.batch(rng, 24)
        for row in np.flatnonzero(batch["lessons"] == NAMES.index("attribute")):
            source, target = ({name: part[row] for name, part in batch[who].items()} for who in ("source", "target"))
            assert np.array_equal(source["texture"], target["texture"]) or row < 24 - batch["pairs"]
            if row < 24 - batch["pairs"]:
                continue
            assert np.array_equal(source["crops"], target["crops"])
            looks = [index for index, name in enumerate(BLENDSHAPES) if name.startswith("eyeLook")]
            assert np.array_equal(source["expression"][looks], target["expression"][looks])
            other = [not np.array_equal(source[name], target[name]) for name in ("pose", "expression")]
            assert sum(other) <= 1
            assert batch["free"][row].any()
            turned, moved = turned + other[0], moved + other[1]
            assert np.array_equal(source["meshes"], target["meshes"]) or any(other)
    assert turned
    assert moved


def test_own_photos_are_asked_for_what_is_rare(task: FaceXTask) -> None:
    """Wide open mouths, of which the photos have none; every change touches something, and what it does not is told
    as it was."""
    rng, jaw, widest = np.random.default_rng(0), BLENDSHAPES.index("jawOpen"), 0.0
    face, lender = (
        Motion(landmarks=task.data.marks[0], pose=Pose(yaw=yaw, pitch=0, roll=0), blendshapes=np.zeros(52, np.float32))
        for yaw in (4, 30)
    )
    for _ in range(60):
        change = self_edit_tasks.drawn(rng, face, lender, template="portrait", size=128)
        assert change.free.any()
        assert not change.free.all()
        assert change.mesh(128, 32).shape == (32, 32, 3)
        assert change.pose == face.pose or change.expression is face.blendshapes
        widest = max(widest, change.expression[jaw])
    assert widest > 0.7


def test_the_free_regions_that_are_asked_for() -> None:
    count = 400
    told = {
        "crops": np.zeros((count, 64, 64, 3), np.uint8),
        "regions": np.zeros((count, len(REGIONS), GRID, GRID), np.float32),
    }
    told["regions"][:, REGIONS.index("mouth"), 20:24, 10:22] = 1
    lessons = np.full(count, NAMES.index("inpaint"))
    own = np.arange(count) % 2 == 0
    free = self_edit_tasks.ask(
        np.random.default_rng(0), lessons, own, np.zeros((count, 0, 3)), told, template="portrait"
    )
    face = (free == told["regions"][0].sum(0).astype(bool)).all((1, 2))
    assert not face[~own].any()
    assert 0.4 < face[own].mean() < 0.6
    boxes = free[~face]
    assert (boxes.any(1).sum(1) >= GRID // 4 - 1).all()
    np.testing.assert_array_equal(boxes, boxes.any(1)[:, None, :] & boxes.any(2)[:, :, None])


def test_what_is_to_change_counts_more(task: FaceXTask) -> None:
    before, wanted = torch.zeros(2, 1, len(BLENDSHAPES)).unbind()
    rare = int(task.judge._varies[0])
    wanted[0, rare] = 10.0
    plain = task.judge.expression_off(before, wanted)
    assert task.judge.expression_off(before, wanted, before) == pytest.approx(3 * float(plain))
    assert task.judge.expression_off(before, wanted, wanted) == pytest.approx(float(plain))


def test_what_is_still_is_the_canvass_expression(task: FaceXTask) -> None:
    batch = tensors(task.batch(np.random.default_rng(5), 40))
    found = still(batch)
    for row, lesson in enumerate(batch["lessons"].tolist()):
        whose = "source" if NAMES[lesson] in ("reenact", "attribute") else "target"
        assert torch.equal(found[row], batch[whose]["expression"][row])


def test_hair_is_off_by_its_colour() -> None:
    shares = torch.zeros(2, len(REGIONS), 32, 32)
    shares[:, REGIONS.index("hair"), :8] = 1
    crops = torch.randint(100, 156, (2, 128, 128, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    face = {"crops": crops, "regions": shares}
    same = to_tensor(crops)
    other = same.clone()
    other[:, :, :32] += 0.5
    below = same.clone()
    below[:, :, 32:] += 0.5
    both, first = torch.tensor([True, True]), torch.tensor([True, False])
    assert hair_off(same, face, face, both) < 1e-6
    assert hair_off(below, face, face, both) < 1e-6
    assert hair_off(other, face, face, both) > 0.1
    half = torch.stack([same[0], other[1]])
    assert hair_off(half, face, face, first) < 1e-6
    assert hair_off(half, face, face, ~both) == 0


def test_it_goes_on_with_the_facex_that_is_there(task: FaceXTask, tmp_path: Path) -> None:
    facex = task.model.facex
    with torch.no_grad():
        facex.kinds.add_(0.5)
    files = base_files(tmp_path)
    facex.save(tmp_path / "base" / "facex")
    again = FaceXTask(files, tmp_path / "motion.onnx", space=SPACE, sizes=facex.sizes).model.facex
    torch.testing.assert_close(again.kinds, facex.kinds, atol=1e-2, rtol=1e-2)
    assert all(weight.requires_grad for weight in again.parameters())
    with torch.no_grad():
        facex.kinds.sub_(0.5)


def test_mirrored_rows_are_the_mirror_images(task: FaceXTask) -> None:
    rows = np.arange(4)
    plain, mirrored = task.data.rows.at(rows, np.zeros(4, bool)), task.data.rows.at(rows, np.ones(4, bool))
    np.testing.assert_array_equal(mirrored["regions"], plain["regions"][..., ::-1])
    np.testing.assert_array_equal(mirrored["pose"], plain["pose"] * (-1, 1, -1))
    twice = task.data.rows.at(rows, np.zeros(4, bool))
    np.testing.assert_array_equal(twice["light"], plain["light"])  # a copy was mirrored, not the table
    assert not np.array_equal(mirrored["light"], plain["light"])


def test_what_was_decomposed_is_kept(task: FaceXTask, tmp_path: Path) -> None:
    table = FaceTable.load(write_cache(tmp_path / "cache", count=3, seed=5))
    first = Decomposed.of(table, tmp_path / "kept")
    (file,) = (tmp_path / "kept").glob("*.npz")
    written = file.stat().st_mtime_ns
    again = Decomposed.of(table, tmp_path / "kept")
    assert file.stat().st_mtime_ns == written
    np.testing.assert_array_equal(first.light, again.light)


@torch.no_grad()
def test_a_fresh_one_is_the_base(task: FaceXTask) -> None:
    """Bit for bit: what FaceX adds begins at zero."""
    batch = tensors(task.batch(np.random.default_rng(0), 8))
    shown, _ = task.inputs(batch, torch.Generator().manual_seed(0))
    told, times = task.model.facex(**shown), torch.rand(8)
    row = batch["latents"].float(), times, batch["tokens"], batch["vectors"]
    assert torch.equal(task.model.led(*row, told), task.model.led(*row, None))


def test_a_run_reports_and_exports(task: FaceXTask, tmp_path: Path) -> None:
    report = train(task, SHORT, tmp_path)
    assert {"plain_yaw", "swap_source", "swap_target", "head_pitch", "reenact_expression", "asked_jaw"} <= set(report)
    exported = FaceX.load(tmp_path / "export" / "facex")
    assert exported.space == SPACE
    assert isinstance(task.model, Controlled)
    assert (tmp_path / "export" / "samples.png").is_file()


def test_lessons_add_up() -> None:
    assert sum(lesson.share for lesson in LESSONS.values()) == pytest.approx(1)
    assert sum(lesson.pairs for lesson in LESSONS.values()) == pytest.approx(1)
    assert not recipes.recipe("facex-nano").schedule.compile
