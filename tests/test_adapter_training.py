"""Recipes `nano-fast` and `nano-reference`, on a tiny base: only a LoRA learns, and what ships does the same."""

from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from peft.tuners.lora import LoraLayer

from personae.sampling.few_steps import FewSteps
from personae.sampling.guidance import guided
from personae.sampling.loop import denoise
from personae.sampling.lora_weights import FILE, Lora
from personae.sampling.unet_hooks import engaged
from personae.training import recipes
from personae.training.loop import Schedule, train
from personae.training.lora import ATTENTION, EVERYWHERE, attach
from personae.training.methods.base.network import build_unet
from personae.training.methods.distil.evaluator import even_steps
from personae.training.methods.distil.method import RANK as DISTIL_RANK
from personae.training.methods.distil.method import DistilTask
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
    adapted = task.student if isinstance(task, DistilTask) else task.model
    learning = [n for n, p in task.model.named_parameters() if p.requires_grad]
    assert learning
    assert all("lora_" in n or n.startswith("judge.") for n in learning)
    batch = drawn(task)
    figure = "distilled" if name == "nano-fast" else "flow"
    before = float(task.loss(task.model, batch, torch.Generator().manual_seed(0))[1][figure])
    schedule = Schedule(steps=24, batch=4, lr=3e-3, warmup=1, decay=0.1, ema=0.5, report_every=24, compile=False)
    report = train(task, schedule, tmp_path, bf16=False)
    assert np.isfinite(list(report.values())).all()
    after = float(task.loss(task.model, batch, torch.Generator().manual_seed(0))[1][figure])
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
    for layer in (m for m in adapted.unet.modules() if isinstance(m, LoraLayer)):
        change = lora.changes[next(n for n, m in adapted.unet.named_modules() if m is layer)]
        # The export holds the averaged weights in half precision; this compares the file with what it is read as.
        layer.lora_A["default"].weight.data = change.down.view_as(layer.lora_A["default"].weight)
        layer.lora_B["default"].weight.data = change.up.view_as(layer.lora_B["default"].weight)
    with torch.no_grad():
        attached = adapted(x, torch.full((2,), 0.5), tokens, vectors)
    assert_same(merged, attached)


@torch.no_grad()
def test_the_teacher_goes_where_its_own_sampling_does(inputs: recipes.Inputs) -> None:
    task = recipes.recipe("nano-fast").build(inputs)
    batch, noise = drawn(task, 2), torch.randn(2, 4, 16, 16)
    tokens, vectors = batch["tokens"], batch["vectors"]
    told = task.frozen.condition(tokens, vectors)
    free = task.frozen.condition(task.setting.tokens_of("", 1, noise.device), vectors[:1])
    sampled = denoise(guided(task.frozen.unet, told, free, 2.0, batch_size=2), noise, even_steps(12, noise.device))
    assert_same(task.taught(tokens, vectors, noise), sampled, steps=12)
    between = task.taught(tokens, vectors, noise, 1.0, 0.25, 9)
    assert_same(task.taught(tokens, vectors, between, 0.25, 0.0, 3), sampled, steps=12)


def test_the_judge_and_the_student_learn_each_from_its_own_loss(inputs: recipes.Inputs) -> None:
    task = DistilTask(inputs.of_base(), ramp=1)
    task.model.judge.eval()  # its spectral norms stay as they are
    batch = drawn(task)

    def gradients() -> tuple[torch.Tensor, torch.Tensor]:
        task.model.zero_grad()
        task.loss(task.model, batch, torch.Generator().manual_seed(0))[0].backward()
        assert all(weight.grad is None for weight in task.frozen.parameters())
        student, judge = (
            torch.cat([weight.grad.flatten() for weight in part.parameters() if weight.requires_grad])
            for part in (task.student, task.model.judge)
        )
        return student, judge

    (alone, judging), _, (both, again) = (gradients() for _ in range(3))
    assert judging.norm() > 0
    assert_same(again, judging)  # what the student is told changes nothing for the judge
    assert not torch.allclose(both, alone)  # the judge has no say before the ramp, and has one after it


def test_beyond_a_photo_s_edge_a_judge_sees_no_difference(inputs: recipes.Inputs) -> None:
    task = DistilTask(inputs.of_base(), judge_weight=1.0, ramp=1)
    batch = drawn(task) | {"inside": torch.zeros(4, 16, 16)}
    figures = task.loss(task.model, batch, torch.Generator().manual_seed(0))[1]
    assert float(figures["judge"]) == pytest.approx(np.log(2), abs=1e-6)


def test_a_judge_learns_to_tell_photos_from_noise(inputs: recipes.Inputs) -> None:
    task = DistilTask(inputs.of_base())
    batch = drawn(task, 8)
    optimizer = torch.optim.AdamW(task.model.judge.parameters(), 3e-3)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss, figures = task.loss(task.model, batch, torch.Generator().manual_seed(0))
        loss.backward()
        optimizer.step()
        losses.append(float(figures["judge"]))
    assert losses[0] == pytest.approx(np.log(2), abs=0.2)
    assert losses[-1] < 0.6 * losses[0]


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
    ("targets", "rank", "most"), [(EVERYWHERE, DISTIL_RANK, 1_500_000), (ATTENTION, REFERENCE_RANK, 500_000)]
)
def test_nano_s_own_are_small(targets: tuple[str, ...], rank: int, most: int) -> None:
    """In half precision, beside a UNet of 11 MB."""
    unet = build_unet(16, 12)
    attach(unet, targets, rank)
    assert 2 * sum(p.numel() for name, p in unet.named_parameters() if "lora_" in name) < most
