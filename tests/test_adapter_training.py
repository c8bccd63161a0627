"""Recipes `nano-fast` and `nano-reference`, on a tiny base: only a LoRA learns, and what ships does the same."""

from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from peft.tuners.lora import LoraLayer

from personae.sampling.few_steps import FewSteps
from personae.sampling.lora_weights import FILE, Lora
from personae.sampling.unet_hooks import engaged
from personae.training import recipes
from personae.training.loop import Schedule, train
from personae.training.lora import ATTENTION, EVERYWHERE, attach
from personae.training.methods.base.network import build_unet
from personae.training.methods.distil.method import RANK as DISTIL_RANK
from personae.training.methods.distil.method import STEPS, DistilTask
from personae.training.methods.reference.method import RANK as REFERENCE_RANK
from personae.training.methods.reference.method import ReferenceTask
from tolerances import assert_same
from training_fixtures import tiny_base, tiny_embedder, tiny_vae, write_cache

LoraTask = DistilTask | ReferenceTask

FOLDERS = {"nano-fast": "lcm", "nano-reference": "ref_adapter"}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> recipes.Inputs:
    """Random networks of the same classes as nano's, where the recipes look for them."""
    runs = tmp_path_factory.mktemp("runs")
    tiny_base(runs / "nano-base" / "export")
    tiny_vae(runs / "nano-autoencoder" / "export" / "vae")
    tiny_embedder(runs / "nano-embedder-longer" / "export" / "embedder.onnx")
    return recipes.Inputs(cache=write_cache(runs / "cache", count=32), teachers=runs, runs=runs)


@pytest.fixture(params=list(FOLDERS))
def task(request: pytest.FixtureRequest, inputs: recipes.Inputs) -> LoraTask:
    torch.manual_seed(3)
    return recipes.recipe(request.param).build(inputs)


def drawn(task: LoraTask, size: int = 4) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(value) for name, value in task.batch(np.random.default_rng(0), size).items()}


def test_a_lora_is_learnt_and_ships(task: LoraTask, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    name = request.node.callspec.params["task"]
    learning = [n for n, p in task.model.named_parameters() if p.requires_grad]
    assert learning
    assert all("lora_" in n for n in learning)
    batch = drawn(task)
    before = task.loss(task.model, batch, torch.Generator().manual_seed(0))[0].item()
    schedule = Schedule(steps=12, batch=4, lr=1e-2, warmup=1, decay=0.1, ema=0.5, report_every=12, compile=False)
    report = train(task, schedule, tmp_path, bf16=False)
    assert np.isfinite(list(report.values())).all()
    after = task.loss(task.model, batch, torch.Generator().manual_seed(0))[0].item()
    assert after < before

    folder = tmp_path / "export" / FOLDERS[name]
    assert (folder.parent / "samples.png").is_file()
    bare = task.frozen.unet
    if name == "nano-fast":
        like = diffusers.FlowMatchEulerDiscreteScheduler()
        shipped = FewSteps.read(folder, bare, like=like)
        assert shipped.scheduler == "flow-euler"
        lora = shipped.lora
    else:
        lora = Lora.read(folder / FILE, bare)
    x, vectors, tokens = (
        torch.randn(2, 4, 16, 16),
        batch["vectors"][:2],
        task.setting.identity_tokens(2, torch.device("cpu")),
    )
    with torch.no_grad(), engaged([lora.at(1.0)], bare):
        merged = task.frozen(x, torch.full((2,), 0.5), tokens, vectors)
    for layer in (m for m in task.model.unet.modules() if isinstance(m, LoraLayer)):
        change = lora.changes[next(n for n, m in task.model.unet.named_modules() if m is layer)]
        # The export holds the averaged weights in half precision; this compares the file with what it is read as.
        layer.lora_A["default"].weight.data = change.down.view_as(layer.lora_A["default"].weight)
        layer.lora_B["default"].weight.data = change.up.view_as(layer.lora_B["default"].weight)
    with torch.no_grad():
        attached = task.model(x, torch.full((2,), 0.5), tokens, vectors)
    assert_same(merged, attached)


@torch.no_grad()
def test_the_teachers_path_ends_where_its_own_sampling_does(inputs: recipes.Inputs) -> None:
    task = recipes.recipe("nano-fast").build(inputs)
    batch, noise = drawn(task, 2), torch.randn(2, 4, 16, 16)
    points = task.path(batch["tokens"], batch["vectors"], noise)
    assert points.shape == (STEPS + 1, 2, 4, 16, 16)
    told = task.frozen.condition(batch["tokens"], batch["vectors"])
    free = task.frozen.condition(task.setting.tokens_of("", 2, noise.device), batch["vectors"])
    x, count = noise, 12
    for step in range(count):
        time = torch.full((2,), 1 - step / count)
        blind, seeing = task.frozen.predict(x, time, free), task.frozen.predict(x, time, told)
        x = x - (blind + 2.0 * (seeing - blind)) / count
        if (step + 1) % 3 == 0:
            assert_same(points[(step + 1) // 3], x, steps=12)


@torch.no_grad()
def test_rows_that_are_not_asked_do_not_look(inputs: recipes.Inputs) -> None:
    task = recipes.recipe("nano-reference").build(inputs)
    batch, asked = drawn(task, 4), torch.tensor([True, False, True, False])
    x, times = torch.randn(4, 4, 16, 16), torch.full((4,), 0.5)
    control = task.reference(batch["references"].float(), batch["vectors"], asked)
    plain = task.model(x, times, batch["tokens"], batch["vectors"])
    with control.engaged(task.model.unet):
        made = task.model(x, times, batch["tokens"], batch["vectors"])
    changed = (made - plain).abs().amax((1, 2, 3)) > 1e-4
    assert changed.tolist() == asked.tolist()


@pytest.mark.parametrize(
    ("targets", "rank", "most"), [(EVERYWHERE, DISTIL_RANK, 950_000), (ATTENTION, REFERENCE_RANK, 500_000)]
)
def test_nano_s_own_are_small(targets: tuple[str, ...], rank: int, most: int) -> None:
    """In half precision, within what the bundle has left."""
    unet = build_unet()
    attach(unet, targets, rank)
    assert 2 * sum(p.numel() for name, p in unet.named_parameters() if "lora_" in name) < most
