"""Faces sampled from noise inside a training step: the walk itself, and that the base's recipes take it as written
out."""

import numpy as np
import pytest
import torch

from personae.conditioning.types import Conditioning
from personae.sampling.guidance import combine, join
from personae.training.methods.base.method import BaseTask
from personae.training.methods.base.prompts import PromptMix
from personae.training.rollout import Course, ends_and_scales, roll
from training_fixtures import base_files


@pytest.mark.parametrize("count", [1, 3])
def test_the_walk_ends_where_a_straight_flow_says(count: int) -> None:
    """A velocity that points from one picture to the noise leads to that picture, guided or not, in any steps."""
    clean, noise = torch.randn(2, count, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    course = ends_and_scales(count, torch.Generator().manual_seed(1))
    for steps in (1, 3):
        rolled = roll(lambda *_: noise - clean, lambda *_: noise - clean, noise, course, steps=steps)
        torch.testing.assert_close(rolled.noisy, (1 - course.end) * clean + course.end * noise)
        torch.testing.assert_close(rolled.clean(noise - clean), clean)
    assert ((rolled.times >= 0.15) & (rolled.times <= 0.6)).all()


def test_guidance_leads_away_from_what_is_not_asked() -> None:
    noise, asked = torch.zeros(1, 1, 1, 1), -torch.ones(1, 1, 1, 1)
    course = Course(end=torch.full((1, 1, 1, 1), 0.5), scale=torch.full((1, 1, 1, 1), 2.0))
    rolled = roll(lambda *_: asked, lambda *_: 0 * asked, noise, course)
    torch.testing.assert_close(rolled.noisy, torch.ones(1, 1, 1, 1))  # half the way, twice as fast
    torch.testing.assert_close(rolled.clean(asked), 2 * torch.ones(1, 1, 1, 1))


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> BaseTask:
    folder = tmp_path_factory.mktemp("roll")
    mix = PromptMix(empty=0.25, words=0.25, both=0.25)
    return BaseTask(base_files(folder, count=24), identity_weight=0.2, mix=mix, identity_images=3)


def tensors(batch: dict) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(value) for name, value in batch.items()}


def told(task: BaseTask, tokens: torch.Tensor, vectors: torch.Tensor) -> Conditioning:
    """The rows with everything asked, then as many with nothing."""
    nothing = torch.from_numpy(task.setting.prompts.tokens([""] * len(tokens)))
    asked, unasked = task.model.condition(tokens, vectors), task.model.condition(nothing, 0 * vectors)
    return join(asked, unasked)


@torch.no_grad()
def test_the_base_walks_as_with_both_halves_in_one_call(task: BaseTask) -> None:
    """The recipe's steps written out, as they were when the bundled weights were trained."""
    batch = tensors(task.batch(np.random.default_rng(0), 8))
    rolled, rows = task.rolled(batch["tokens"], batch["vectors"], torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    lot = torch.rand(8, generator=generator)
    people = torch.where(task.model.has_person(batch["tokens"]), lot, 2.0).argsort()[:3]
    end = 0.15 + 0.45 * torch.rand(3, 1, 1, 1, generator=generator)
    scale = 1.0 + 1.5 * torch.rand(3, 1, 1, 1, generator=generator)
    noisy = torch.randn(3, *task.setting.faces.shape, generator=generator)
    both = told(task, batch["tokens"][people], batch["vectors"][people])
    for step in range(4):
        times = 1 - (1 - end) * step / 3
        asked, unasked = task.model.predict(noisy.repeat(2, 1, 1, 1), times.flatten().repeat(2), both).chunk(2)
        if step < 3:
            noisy = noisy - (1 - end) / 3 * combine(asked, unasked, scale)
    assert rows.tolist() == people.tolist()
    torch.testing.assert_close(rolled.noisy, noisy)
    torch.testing.assert_close(rolled.unconditional, unasked)
    torch.testing.assert_close(rolled.clean(asked), noisy - end * combine(asked, unasked, scale))


def test_only_people_are_judged_and_the_gradient_passes_the_last_step_alone(task: BaseTask) -> None:
    batch = tensors(task.batch(np.random.default_rng(0), 8))
    assert not task.model.has_person(batch["tokens"]).all()
    rolled, rows = task.rolled(batch["tokens"], batch["vectors"], torch.Generator().manual_seed(0))
    assert task.model.has_person(batch["tokens"])[rows].all()
    assert not rolled.noisy.requires_grad
    assert not rolled.unconditional.requires_grad
    loss, figures = task.loss(task.model, batch, torch.Generator().manual_seed(0))
    assert float(loss.detach()) == pytest.approx(float(figures["flow"] + 0.2 * (1 - figures["identity"])))
    loss.backward()
    assert any(p.grad is not None for p in task.model.parameters())
    task.model.zero_grad()
