"""The ControlNet's recipe at tiny size: small on disk, learns what the map says, ships what it learnt."""

from pathlib import Path

import numpy as np
import pytest
import torch

from personae.conditioning.pose_map import mirrored, render
from personae.data import shards
from personae.reading import align
from personae.reading.rotation import image_turn, turn
from personae.sampling.controlnet import DIFFERENCE, load, save_difference
from personae.training import recipes
from personae.training.crop_motion import crop_poses, marks_in_crops
from personae.training.face_table import FaceTable
from personae.training.loop import Schedule, train
from personae.training.methods.base.network import build_unet
from personae.training.methods.pose.method import CHANNELS, RANK, PoseControlTask
from personae.training.methods.pose.network import posed, trainable_copy
from training_fixtures import base_files


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache, an embedder, a motion reader, an autoencoder and a base to train for: all tiny, all random."""
    folder = tmp_path_factory.mktemp("pose")
    base_files(folder, count=48)
    return folder


@pytest.fixture
def task(made: Path) -> PoseControlTask:
    torch.manual_seed(1)
    return PoseControlTask(base_files(made), made / "motion.onnx", rank=2, channels=(4, 4, 8, 8))


def tensors(batch: dict) -> dict:
    return {
        name: tensors(value) if isinstance(value, dict) else torch.as_tensor(value) for name, value in batch.items()
    }


def test_nanos_difference_is_small_on_disk(tmp_path: Path) -> None:
    with torch.device("meta"):
        unet = build_unet()
    network = trainable_copy(unet.to_empty(device="cpu"), rank=RANK, channels=CHANNELS[8])
    save_difference(network, tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 1.3e6
    assert (tmp_path / DIFFERENCE).stat().st_size > 1e6  # its budget is used


@torch.no_grad()
def test_a_fresh_controlnet_hears_its_map(task: PoseControlTask) -> None:
    """Through diffusers' own fresh embedding two maps differ by nothing."""
    maps = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(7))
    heard = task.model.controlnet_cond_embedding(torch.nn.functional.interpolate(maps, scale_factor=16))
    assert 0.2 < heard.std(0).mean() < 1.2


def test_only_the_difference_is_trained(task: PoseControlTask) -> None:
    learnt = {name for name, parameter in task.model.named_parameters() if parameter.requires_grad}
    assert learnt
    assert all("lora_" in name or name.startswith("controlnet_") for name in learnt)
    assert not any(parameter.requires_grad for parameter in task.frozen.parameters())
    assert not {id(p) for p in task.frozen.parameters()} & {id(p) for p in task.model.parameters()}


def test_a_fresh_one_adds_nothing(task: PoseControlTask) -> None:
    with torch.no_grad():
        report = task.report(task.model.eval())
    assert report["held_out_flow"] == pytest.approx(report["held_out_flow_without"], abs=1e-6)
    assert report["yaw_off"] == pytest.approx(report["yaw_off_without"])


def test_maps_are_the_photos_own(task: PoseControlTask, made: Path) -> None:
    batch = task.batch(np.random.default_rng(3), 6)
    assert batch["maps"].shape == (6, 128, 128, 3)
    assert batch["maps"].dtype == np.uint8
    again = task.batch(np.random.default_rng(3), 6)
    assert all(np.array_equal(batch[name], again[name]) for name in batch if name != "requests")
    assert all(np.array_equal(part, again["requests"][name]) for name, part in batch["requests"].items())
    latents = task.setting.faces.latents
    for one, latent in zip(batch["maps"], batch["latents"], strict=True):
        side, row = next((s, r) for s in range(2) for r in range(latents.shape[1]) if (latents[s, r] == latent).all())
        expected = render(task.data.marks[row], task.data.mesh.triangles, 128)
        np.testing.assert_array_equal(one, mirrored(expected) if side else expected)


def test_people_are_asked_for_what_no_photo_of_theirs_shows(task: PoseControlTask) -> None:
    asked = task.batch(np.random.default_rng(0), 4)["requests"]
    assert asked["maps"].shape == (task.data.requests, 128, 128, 3)
    assert asked["expression"].shape == asked["before"].shape == (task.data.requests, 52)
    own = [task.data.motion(row) for row in range(len(task.data.marks))]
    held = np.array([(one.pose.yaw, one.pose.pitch, one.pose.roll) for one in own])
    away = np.abs(asked["pose"][:, None] * 30 - held).max(2).min(1) > 1e-3
    new = (asked["expression"] != asked["before"]).any(1)
    assert new.any()
    assert (away | new).sum() < task.data.requests  # some hold a pose that somebody else does


def test_what_is_read_back_teaches_the_network(task: PoseControlTask) -> None:
    batch = tensors(task.batch(np.random.default_rng(0), 4))
    for name, parameter in task.model.named_parameters():
        if name.startswith("controlnet_") and parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.05)  # at zero, what comes before it has no gradient yet
    learnt = []
    for weight in (task.read_weight, 0.0):
        task.read_weight = weight
        loss, figures = task.loss(task.model, batch, torch.Generator().manual_seed(0))
        assert loss.item() == pytest.approx(float(figures["flow"] + weight * figures["off"]))
        task.model.zero_grad()
        loss.backward()
        learnt.append([parameter.grad.clone() for parameter in task.model.parameters() if parameter.grad is not None])
    assert all((read != alone).any() for read, alone in zip(*learnt, strict=True) if alone.any())


def test_poses_are_those_of_the_upright_crop(made: Path) -> None:
    table = FaceTable.load(made / "cache", held_out=True)
    row = 0
    degrees = image_turn(table.matrix[row])
    np.testing.assert_allclose(crop_poses(table)[row], turn(table.pose[row], degrees), atol=1e-6)
    expected = align.apply(table.matrix[row], table.landmarks[row, :, :2])
    np.testing.assert_allclose(marks_in_crops(table)[row, :, :2], expected, rtol=1e-5)


def test_the_loss_falls_where_the_map_tells_the_answer(task: PoseControlTask) -> None:
    """Latents that the map alone decides: one half is bright, the other dark."""
    task.read_weight, task.data.requests = 0.0, 1
    batch = tensors(task.batch(np.random.default_rng(0), 4))
    maps = torch.zeros(4, 128, 128, 3, dtype=torch.uint8)
    maps[0, :64], maps[1, 64:], maps[2, :, :64], maps[3, :, 64:] = 255, 255, 255, 255
    bright = maps[..., :1].permute(0, 3, 1, 2).float() / 255
    batch |= {"maps": maps, "latents": torch.nn.functional.avg_pool2d(bright, 8).expand(-1, 4, -1, -1) * 4 - 2}
    assert batch["inside"].shape[1:] == batch["latents"].shape[2:]
    learnt = [parameter for parameter in task.model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learnt, 2e-2)
    losses = []
    for step in range(120):
        loss, _figures = task.loss(task.model, batch, torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
    with torch.no_grad():
        right, wrong = (
            task.loss(task.model, batch | {"maps": shown}, torch.Generator().manual_seed(0))[0].item()
            for shown in (maps, maps.roll(1, 0))
        )
    assert wrong > 1.2 * right  # it is the map that it learnt from


def test_trained_reported_exported_and_loaded_again(task: PoseControlTask, tmp_path: Path) -> None:
    short = Schedule(steps=2, batch=2, lr=1e-2, warmup=1, ema=0.5, compile=False)
    report = train(task, short, tmp_path, bf16=False)
    assert np.isfinite(list(report.values())).all()
    assert {"held_out_flow", "held_out_flow_without", "yaw_off", "pitch_off", "yaw_off_without"} <= report.keys()
    assert (tmp_path / "export" / "samples.png").stat().st_size > 1000
    loaded = load(tmp_path / "export" / "controlnet", task.frozen.unet)
    averaged = _averaged_network(task, tmp_path)
    batch = tensors(task.batch(np.random.default_rng(0), 3))
    clean, times = batch["latents"].float(), torch.tensor([0.2, 0.5, 0.9])
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    t = times[:, None, None, None]
    rest = ((1 - t) * clean + t * noise, times, batch["tokens"], batch["vectors"], batch["maps"])
    with torch.no_grad():
        mine, again, without = (posed(task.frozen, network, *rest) for network in (averaged, loaded, None))
    torch.testing.assert_close(again, mine, atol=5e-3, rtol=5e-3)  # shipped in half precision
    assert (mine - without).abs().max() > 10 * (mine - again).abs().max()


def _averaged_network(task: PoseControlTask, folder: Path) -> torch.nn.Module:
    """The network with the weights that the checkpoint's moving average holds: what is exported."""
    checkpoint = next((folder / "checkpoints").glob("step-*"))
    state = torch.load(checkpoint / "custom_checkpoint_0.pkl", weights_only=True)
    with torch.no_grad():
        for parameter, average in zip(task.model.parameters(), state["shadow_params"], strict=True):
            parameter.copy_(average)
    return task.model.eval()


def test_the_recipe_is_for_the_model_that_ships(tmp_path: Path) -> None:
    recipe = recipes.recipe("nano-controlnet")
    with pytest.raises(Exception, match="personae train nano-autoencoder"):
        recipe.build(recipes.Inputs(cache=tmp_path, teachers=tmp_path, runs=tmp_path))


def test_held_out_keys_are_what_the_report_uses(task: PoseControlTask) -> None:
    assert len(task.setting.held_out.table)
    assert all(shards.held_out(key) for key in task.setting.held_out.table.keys)
