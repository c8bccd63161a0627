"""Recipe `nano-expression`, on a tiny base: it learns, what it exports does the same, it asks for what is rare."""

from copy import copy, deepcopy
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch

from personae.conditioning.expression_adapter import FILE, ExpressionAdapter, ExpressionHook
from personae.sampling.unet_hooks import engaged, stacked
from personae.training import recipes
from personae.training.loop import Schedule, train
from personae.training.methods.base.network import build_unet
from personae.training.methods.expression.evaluator import correlation
from personae.training.methods.expression.method import ExpressionTask
from personae.training.methods.expression.network import build_adapter
from personae.training.mirror import mirrored_blendshapes
from personae.training.rarity import rarity
from personae.types import BLENDSHAPES
from training_fixtures import base_files

SHORT = Schedule(steps=1, batch=4, lr=1e-3, warmup=1, compile=False)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> ExpressionTask:
    """On a random base of the same classes as nano's."""
    folder = tmp_path_factory.mktemp("expression")
    return ExpressionTask(base_files(folder), folder / "motion.onnx")


def own(task: ExpressionTask) -> ExpressionTask:
    """The task with a model of its own, to change."""
    copied = copy(task)
    copied.model = deepcopy(task.model)
    return copied


def tensors(batch: dict) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(value) for name, value in batch.items()}


def test_nano_s_own_is_small() -> None:
    """Below the 700 kB that the bundle has for it, in half precision."""
    adapter = build_adapter(build_unet(), np.ones(len(BLENDSHAPES), bool))
    modules = [adapter.projection, *adapter.processors.values()]
    assert 2 * sum(p.numel() for module in modules for p in module.parameters()) < 700_000


def test_only_the_adapter_learns(task: ExpressionTask) -> None:
    learning = {name for name, parameter in task.model.named_parameters() if parameter.requires_grad}
    assert learning
    assert all("_ip" in name or "encoder_hid_proj" in name for name in learning)


def test_a_fresh_adapter_changes_nothing(task: ExpressionTask) -> None:
    batch = tensors(task.batch(np.random.default_rng(0), 4))
    with torch.no_grad():
        told = task.loss(task.model, batch, torch.Generator().manual_seed(0))[1]
        untold = task.loss(task.model, batch | {"expressions": torch.zeros(4, 52)}, torch.Generator().manual_seed(0))[1]
    torch.testing.assert_close(told["flow"], untold["flow"])


def test_a_tenth_is_told_nothing_and_half_of_it_nobody(task: ExpressionTask) -> None:
    batch = task.batch(np.random.default_rng(0), 4000)
    told = batch["expressions"][:, 0] == 1
    empty = (batch["tokens"] == task.setting.prompts.tokens([""])[0]).all(1)
    assert 1 - told.mean() == pytest.approx(0.1, abs=0.02)
    assert empty.mean() == pytest.approx(0.05, abs=0.015)
    assert not (told & empty).any()
    assert (batch["expressions"][~told] == 0).all()


def test_mirrored_photos_have_mirrored_expressions(task: ExpressionTask) -> None:
    plain, mirrored = task.data.expressions
    left, right = BLENDSHAPES.index("mouthSmileLeft"), BLENDSHAPES.index("mouthSmileRight")
    np.testing.assert_array_equal(mirrored[:, left], plain[:, right])
    np.testing.assert_array_equal(mirrored[:, mirrored_blendshapes()], plain)


def test_rare_expressions_are_drawn_more_often() -> None:
    shapes = np.zeros((100, len(BLENDSHAPES)))
    shapes[:5, BLENDSHAPES.index("jawOpen")] = 0.7
    shares = rarity(shapes)
    assert shares.sum() == pytest.approx(1)
    assert (shares[:5] > 1.2 * shares[5]).all()
    shapes[0, 1:] = 0.95
    assert rarity(shapes)[0] <= 4 * 2 / 100


def test_correlation_of_both_sides() -> None:
    asked = np.random.default_rng(0).random((20, len(BLENDSHAPES)))
    assert correlation("mouthSmile", asked, 0.5 * asked + 0.1) == pytest.approx(1)
    assert correlation("jawOpen", asked, 1 - asked) == pytest.approx(-1)
    assert correlation("jawOpen", asked, np.zeros_like(asked)) == 0


def test_it_learns(task: ExpressionTask) -> None:
    task = own(task)
    batch = tensors(task.batch(np.random.default_rng(0), 8))
    optimizer = torch.optim.AdamW([p for p in task.model.parameters() if p.requires_grad], 1e-2)
    losses = []
    for _ in range(20):
        loss, _ = task.loss(task.model, batch, torch.Generator().manual_seed(0))
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.97 * losses[0]


def test_what_it_exports_predicts_the_same(task: ExpressionTask, tmp_path: Path) -> None:
    task = own(task)
    for processor in task.model.adapter.processors.values():  # as if it had learnt much
        torch.nn.init.normal_(processor.to_v_ip[0][1].weight, std=0.3)
    report = train(task, SHORT, tmp_path, bf16=False)
    assert {"held_out_told", "held_out_untold", "held_out_without", "mouthSmile", "jawOpen"} < set(report)
    assert np.isfinite(list(report.values())).all()
    export = tmp_path / "export"
    assert (export / "samples.png").is_file()
    unet = diffusers.UNet2DConditionModel.from_config(task.model.unet.config)
    unet.load_state_dict({k: v for k, v in task.model.unet.state_dict().items() if k in unet.state_dict()})
    adapter = ExpressionAdapter.load(export / "exp_adapter", unet)
    assert (export / "exp_adapter" / FILE).stat().st_size < 700_000

    batch = tensors(task.batch(np.random.default_rng(1), 2))
    told = task.model.condition(batch["tokens"], batch["vectors"])
    noisy, times = batch["latents"].float(), torch.full((2,), 0.5)
    expressions = torch.rand(2, 52)
    control = ExpressionHook(adapter=adapter, vectors=expressions)
    rows = stacked(torch.arange(2), [None, 0])
    with torch.no_grad(), engaged([control], unet.eval()):
        arguments = control.arguments(noisy, times, told, rows)
        (both,) = arguments["added_cond_kwargs"]["image_embeds"]
        made = unet(
            noisy,
            times * 1000,
            told.tokens,
            class_labels=told.pooled,
            added_cond_kwargs={"image_embeds": [both[rows.conditional]]},
            return_dict=False,
        )[0]
        wanted = task.model.eval()(noisy, times, batch["tokens"], batch["vectors"], expressions)
        plain = task.model(noisy, times, batch["tokens"], batch["vectors"], torch.zeros(2, 52))
    # The export is rounded to half precision.
    assert float((made - wanted).abs().max()) < 0.02 * float((wanted - plain).abs().max())


def test_the_recipe_is_named() -> None:
    assert recipes.recipe("nano-expression").summary
