"""Recipe `face0-nano`, on a tiny base: all of it learns, dropped parts are dropped, phrases bind, what ships is one."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import WIDTH
from personae.conditioning.arc2face import encode_text
from personae.conditioning.face0 import SIZES, FaceTokens, Sizes
from personae.training import captions, recipes
from personae.training.loop import Schedule, train
from personae.training.methods.face0.method import Face0Task
from personae.training.methods.face0.shares import Dropped, Shares
from personae.training.phrases import PHRASES, READINGS, bounds, drawn, readings, short
from personae.types import BLENDSHAPES
from training_fixtures import base_files

SHORT = Schedule(steps=1, batch=4, lr=1e-3, warmup=1, compile=False)
SPACE = "tiny/arcface/000000000000"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("face0")
    base_files(folder)
    return folder


def task_of(made: Path, **options) -> Face0Task:
    sizes = Sizes(features=128, text_width=WIDTH, tokens=2, layers=2, width=16, pooled=True)
    return Face0Task(base_files(made), made / "motion.onnx", space=SPACE, sizes=sizes, **options)


@pytest.fixture(scope="module")
def task(made: Path) -> Face0Task:
    return task_of(made)


def tensors(batch: dict) -> dict:
    return {name: tensors(part) if isinstance(part, dict) else torch.from_numpy(part) for name, part in batch.items()}


def test_nanos_own_is_small() -> None:
    """Below 700 kB in half precision."""
    assert 2 * sum(p.numel() for p in FaceTokens(SIZES["face0-nano"], SPACE).parameters()) < 700_000


def test_everything_that_is_told_learns(task: Face0Task) -> None:
    batch = tensors(task.batch(np.random.default_rng(0), 8))
    loss, figures = task.loss(task.model, batch, torch.Generator().manual_seed(0))
    loss.backward()
    assert set(figures) == {"flow", "identity", "off"}
    learning = {name for name, p in task.model.named_parameters() if p.grad is not None and p.grad.any()}
    assert {name.split(".")[0] for name in learning} == {"projector", "unet", "text_encoder"}
    assert any("attn2.to_k" in name for name in learning)
    task.model.zero_grad()


def shares(named: float, **dropped: float) -> Shares:
    return Shares(named=named, dropped=Dropped(**{"words": 0.0, "face": 0.0, "both": 0.0} | dropped))


@pytest.mark.parametrize(
    ("drawn", "worded", "faced"),
    [
        (shares(0, words=1.0), False, True),
        (shares(0, face=1.0), True, False),
        (shares(0, both=1.0), False, False),
        (shares(0), True, True),
    ],
)
def test_words_and_faces_are_dropped(made: Path, drawn: Shares, worded: bool, faced: bool) -> None:
    task = task_of(made, shares=drawn)
    batch = task.batch(np.random.default_rng(0), 16)
    nothing = task.data.beside([""])[0]
    assert (batch["tokens"] != nothing).any() == worded
    assert batch["vectors"].any() == faced
    assert not batch["named"].any()
    assert (batch["tokens"][:, -2:] == task.setting.prompts.tokenizer.pad_token_id).all()  # free for the face
    assert (task.data.beside(["person " * 50])[0, -2:] == task.setting.prompts.tokenizer.pad_token_id).all()


def test_the_bases_own_way_is_practised_along(made: Path) -> None:
    """Named rows: somebody around the placeholder, or nobody and no words."""
    batch = task_of(made, shares=shares(1)).batch(np.random.default_rng(0), 64)
    task = task_of(made)
    around = (batch["tokens"] == task.model.placeholder).any(1)
    assert batch["named"].all()
    np.testing.assert_array_equal(around, batch["vectors"].any(1))
    assert (batch["tokens"][~around] == task.setting.prompts.tokens([""])[0]).all()
    alone = (batch["tokens"] == task.setting.prompts.tokens([captions.IDENTITY_PROMPT])[0]).all(1)
    assert 0.3 < alone.mean() < 0.7
    assert 0 < (~around).mean() < 0.35


@torch.no_grad()
def test_a_named_row_is_told_as_the_base_is(task: Face0Task) -> None:
    tokens = torch.from_numpy(task.setting.prompts.tokens([captions.IDENTITY_PROMPT] * 2))
    vectors = torch.from_numpy(task.setting.held_out.vectors[:2])
    told, base = (
        task.model.conditioning(tokens, vectors, torch.ones(2, dtype=bool)),
        task.model.condition(tokens, vectors),
    )
    torch.testing.assert_close(told.tokens, base.tokens)
    torch.testing.assert_close(told.pooled, base.pooled)


def test_what_is_asked_is_bounded_by_its_own_words(task: Face0Task, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[list[str]] = []
    monkeypatch.setattr(
        task.data, "_tokens", lambda prompts, named: heard.append(prompts) or np.zeros((len(prompts), 1))
    )
    asked = task.batch(np.random.default_rng(0), 4)["requests"]
    prompts = next(each for each in heard if len(each) == task.data.requests)
    saying = [[part for part in text.split(", ") if part in PHRASES] for text in prompts]
    assert 0 < sum(map(bool, saying)) < task.data.requests
    for row, said in enumerate(saying):
        np.testing.assert_array_equal((asked["low"][row], asked["high"][row]), bounds(said))


# ---------------------------------------------------------------------- phrases


def read(**values: float) -> torch.Tensor:
    middle = {"smile": 0.2, "light": 120.0, "colour": 20.0} | dict.fromkeys(("yaw", "pitch", "tilt"), 0.0)
    return torch.tensor([[(middle | values).get(name, 0.2) for name in READINGS]])


def test_phrases_never_contradict_each_other() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        said = drawn(rng, 3)
        low, high = bounds(said)
        assert len(said) == 3
        assert (low < high).all()
    counts = Counter(drawn(rng, 1)[0] for _ in range(1600))
    assert min(counts[name] for name in PHRASES) > 50  # of 100 each


def test_what_holds_is_not_short() -> None:
    low, high = (torch.from_numpy(one)[None] for one in bounds(["looking left", "serious"]))
    right, wrong, nearly = (
        read(yaw=40.0, smile=-0.2, jaw=0.0),
        read(yaw=-20.0, smile=0.9),
        read(yaw=19.0, smile=0.04, jaw=0.05),
    )
    assert PHRASES["looking left"].holds(torch.cat([right, wrong, nearly])).tolist() == [True, False, True]
    assert short(right, low, high).item() == 0
    assert short(wrong, low, high).item() > 1
    assert 0 < short(nearly, low, high).item() < 0.2  # there, but not by a margin
    assert short(wrong, *(torch.full_like(low, side) for side in (-torch.inf, torch.inf))).item() == 0


def test_readings_are_of_their_pixels_and_blendshapes() -> None:
    shapes = torch.zeros(2, 52)
    shapes[0, BLENDSHAPES.index("mouthSmileLeft")] = 0.5
    grey = torch.full((3, 8, 8), -0.2)
    images = torch.stack([grey, torch.stack([grey[0] + 0.4, grey[0], grey[0] - 0.4])])
    found = dict(zip(READINGS, readings(torch.tensor([[10.0, 5, -7]] * 2), shapes, images).T, strict=True))
    assert found["smile"].tolist() == [0.25, 0]
    assert found["yaw"].tolist() == [10, 10]
    assert found["tilt"].tolist() == [7, 7]
    assert found["light"].tolist() == pytest.approx([102, 102], abs=0.01)
    assert found["colour"].tolist() == pytest.approx([0.03, 127.5 * 0.4 * (2 / 3) ** 0.5], abs=0.01)


@torch.no_grad()
def test_what_is_trained_is_what_the_package_computes(task: Face0Task, tmp_path: Path) -> None:
    """The UNet's conditioning in training equals the exported projector's on the same words; no vector, no face."""
    task.model.projector.save(tmp_path)
    shipped = FaceTokens.load(tmp_path)
    vectors = torch.from_numpy(task.setting.held_out.vectors[:2])
    words = encode_text(
        ["photo of a woman, smiling"], task.setting.prompts.tokenizer, task.model.text_encoder, reserved=2
    )
    tokens = torch.from_numpy(task.data.beside(["photo of a woman, smiling"] * 2))
    for given, wanted in (
        (vectors, shipped.conditioning(words, vectors)),
        (torch.zeros_like(vectors), shipped.conditioning(words)),
    ):
        trained = task.model.conditioning(tokens, given, torch.zeros(2, dtype=bool))
        torch.testing.assert_close(trained.tokens, wanted.tokens.expand(2, -1, -1), atol=2e-3, rtol=2e-2)
        torch.testing.assert_close(trained.pooled, wanted.pooled.expand(2, -1), atol=2e-3, rtol=2e-2)


def test_a_run_reports_and_exports(task: Face0Task, tmp_path: Path) -> None:
    report = train(task, SHORT, tmp_path)
    assert {
        "held_out_flow",
        "own_likeness_named",
        "own_likeness_face",
        "own_likeness_both",
        "own_likeness_text",
        "mouth open",
    } <= set(report)
    assert {"unet", "text_encoder", "tokenizer"} <= {path.name for path in (tmp_path / "export").iterdir()}
    exported = FaceTokens.load(tmp_path / "export" / "face_tokens")
    assert exported.space == SPACE
    assert (tmp_path / "export" / "samples.png").is_file()


def test_it_goes_on_with_the_tokens_that_are_there(made: Path, tmp_path: Path) -> None:
    import shutil

    start = Path(shutil.copytree(made / "base", tmp_path / "base"))
    old = task_of(made).model.projector
    old.save(start / "face_tokens")
    projector = Face0Task(replace(base_files(made), start=start), made / "motion.onnx", space=SPACE).model.projector
    torch.testing.assert_close(projector.heads[0][0].weight, old.heads[0][0].weight, atol=1e-3, rtol=1e-3)
    assert all(weight.requires_grad for weight in projector.parameters())


def test_the_recipe_is_listed() -> None:
    assert recipes.recipe("face0-nano").schedule.compile
    assert SIZES["face0-nano"].tokens + 10 < captions.MAX_TOKENS
