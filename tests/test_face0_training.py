"""Recipe `face0-nano`, on a tiny base: only the projector learns, dropped parts are dropped, what ships is the same."""

from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import WIDTH
from personae.conditioning.face_tokens import SIZES, FaceTokens, Sizes
from personae.conditioning.id_prompt import encode_text
from personae.training import captions, recipes
from personae.training.base import noised
from personae.training.face0 import Dropped, Face0Task
from personae.training.loop import Schedule, train
from training_fixtures import tiny_base, tiny_embedder, tiny_vae, write_cache

SHORT = Schedule(steps=1, batch=4, lr=1e-3, warmup=1, compile=False)
SPACE = "tiny/arcface/000000000000"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("face0")
    tiny_base(folder / "base")
    tiny_vae(folder / "vae")
    tiny_embedder(folder / "embedder.onnx")
    write_cache(folder / "cache", count=32)
    return folder


def task_of(made: Path, **options) -> Face0Task:
    sizes = Sizes(features=128, text_width=WIDTH, tokens=2, layers=2, width=16, pooled=True)
    parts = made / "cache", made / "vae", made / "embedder.onnx"
    return Face0Task(*parts, start=made / "base", space=SPACE, sizes=sizes, **options)


@pytest.fixture(scope="module")
def task(made: Path) -> Face0Task:
    return task_of(made)


def tensors(batch: dict) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(value) for name, value in batch.items()}


def test_nanos_own_is_small() -> None:
    """Below 700 kB in half precision."""
    assert 2 * sum(p.numel() for p in FaceTokens(SIZES["face0-nano"], SPACE).parameters()) < 700_000


def test_only_the_projector_learns(task: Face0Task) -> None:
    batch = tensors(task.batch(np.random.default_rng(0), 4))
    loss, figures = task.loss(task.model, batch, torch.Generator().manual_seed(0))
    loss.backward()
    assert set(figures) == {"flow", "agreement", "identity"}
    learning = {name.split(".")[0] for name, p in task.model.named_parameters() if p.grad is not None}
    assert learning == {"projector"}
    task.model.zero_grad()


@pytest.mark.parametrize(
    ("shares", "worded", "faced"),
    [
        ({"words": 1.0, "face": 0.0, "both": 0.0}, False, True),
        ({"words": 0.0, "face": 1.0, "both": 0.0}, True, False),
        ({"words": 0.0, "face": 0.0, "both": 1.0}, False, False),
        ({"words": 0.0, "face": 0.0, "both": 0.0}, True, True),
    ],
)
def test_words_and_faces_are_dropped(made: Path, shares: dict, worded: bool, faced: bool) -> None:
    task = task_of(made, dropped=Dropped(**shares))
    batch = task.batch(np.random.default_rng(0), 16)
    nothing = task._words([""])[0]
    assert (batch["tokens"] != nothing).any() == worded
    assert batch["vectors"].any() == faced
    assert (batch["named"] == task.frozen.placeholder).any(1).all() == faced
    assert (batch["tokens"][:, -2:] == task.tokenizer.pad_token_id).all()  # free for the face
    assert (task._words(["person " * 50])[0, -2:] == task.tokenizer.pad_token_id).all()


@torch.no_grad()
def test_what_is_trained_is_what_the_package_computes(task: Face0Task, tmp_path: Path) -> None:
    """The UNet's conditioning in training equals the exported projector's on the same words; no vector, no face."""
    task.model.projector.save(tmp_path)
    shipped = FaceTokens.load(tmp_path)
    vectors = torch.from_numpy(task.test_vectors[:2])
    words = encode_text(["photo of a woman, smiling"], task.tokenizer, task.model.text_encoder, reserved=2)
    tokens = torch.from_numpy(task._words(["photo of a woman, smiling"] * 2))
    for given, wanted in ((vectors, shipped.told(words, vectors)), (torch.zeros_like(vectors), shipped.told(words))):
        trained = task.model.condition(tokens, given)
        torch.testing.assert_close(trained.tokens, wanted.tokens.expand(2, -1, -1), atol=2e-3, rtol=2e-2)
        torch.testing.assert_close(trained.pooled, wanted.pooled.expand(2, -1), atol=2e-3, rtol=2e-2)


def test_the_target_is_the_base_told_the_same(task: Face0Task) -> None:
    """Agreement is zero for a model that answers as the base does to `id person` and the phrases."""
    batch = tensors(task.batch(np.random.default_rng(1), 4))

    class Base(torch.nn.Module):
        def forward(self, noisy, times, tokens, vectors):
            photos = len(batch["named"])
            made = task.frozen(noisy[:photos], times[:photos], batch["named"], batch["vectors"])
            return torch.cat([made, noisy[photos:]])

    with torch.no_grad():
        _, figures = task.loss(Base(), batch, torch.Generator().manual_seed(0))
        drawn = noised(batch, torch.Generator().manual_seed(0))
        made = task.frozen(drawn.noisy, drawn.times, batch["named"], batch["vectors"])
    assert figures["agreement"] < 1e-9
    assert figures["flow"] == pytest.approx(float(drawn.loss(made)), rel=1e-4)


def test_a_run_reports_and_exports(task: Face0Task, tmp_path: Path) -> None:
    report = train(task, SHORT, tmp_path)
    assert {
        "held_out_flow",
        "held_out_flow_base",
        "own_likeness_face",
        "own_likeness_both",
        "own_likeness_text",
    } <= set(report)
    exported = FaceTokens.load(tmp_path / "export" / "face_tokens")
    assert exported.space == SPACE
    assert (tmp_path / "export" / "samples.png").is_file()


def test_the_recipe_is_listed() -> None:
    assert recipes.recipe("face0-nano").schedule.compile
    assert SIZES["face0-nano"].tokens + 10 < captions.MAX_TOKENS
