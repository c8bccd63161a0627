"""Recipe `face0-sd15`, on a tiny Stable Diffusion and drawn pictures: what is shown, what learns, that it goes on where
it stopped, and that what it exports is a model."""

import json
from dataclasses import replace
from pathlib import Path

import diffusers
import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from conftest import sd15_parts
from personae.conditioning.arc2face import encode_text
from personae.conditioning.face0 import Sizes
from personae.data.captioned import CaptionedFaces, Part, find
from personae.errors import BadData, BadOption, WeightsCorrupt, WeightsMissing
from personae.pipeline import FacePipeline
from personae.reading.box_crop import square_with
from personae.reading.reader import FaceReader, pack
from personae.training import recipes
from personae.training.loop import Schedule, train
from personae.training.methods.face0.sd15 import Face0Sd15Task
from personae.training.methods.face0.shares import Dropped
from reading_fixtures import model_of, tiny_reader_folder, white_face

PICTURES, TOKENS, LENGTH = 12, 3, 16
SHORT = Schedule(steps=3, batch=4, at_once=2, lr=1e-3, warmup=0, decay=0.0, save_minutes=0, compile=False)
EVERYTHING = Dropped(words=0, face=0, both=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`base/`, `data/` and `made/reader/`."""
    place = tmp_path_factory.mktemp("face0-sd15")
    tiny_reader_folder(place / "made")
    for name, part in sd15_parts().items():
        part.save_pretrained(place / "base" / name)
    (place / "data").mkdir()
    for number in range(PICTURES):
        draw(place / "data" / f"{number:02d}.png", number)
        (place / "data" / f"{number:02d}.txt").write_text(f"photo of a {'man' if number % 2 else 'woman'}, smiling")
    return place


def draw(path: Path, number: int) -> None:
    """A picture of its own shade with one "face", somewhere in it."""
    rng = np.random.default_rng(number)
    pixels = np.full((120, 200, 3), rng.integers(20, 150, 3), np.uint8)
    left, top = rng.integers(5, 100), rng.integers(5, 40)
    Image.fromarray(white_face(pixels, left, top, left + 60, top + 70)).save(path)


def reader_of(folder: Path) -> FaceReader:
    return FaceReader.from_folder(folder / "made" / "reader", threads=1)


def task_of(folder: Path, **options) -> Face0Sd15Task:
    torch.manual_seed(0)
    sizes = Sizes(features=1, text_width=1, tokens=TOKENS, layers=2, width=16)
    return Face0Sd15Task(find(folder / "data"), folder / "base", reader_of(folder), sizes=sizes, **options)


@pytest.fixture(scope="module")
def task(folder: Path) -> Face0Sd15Task:
    return task_of(folder)


def tensors(batch: dict) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(value) for name, value in batch.items()}


# ---------------------------------------------------------------------- data


@pytest.mark.parametrize("count", [1, 3])
def test_a_batch_is_pictures_words_and_who_a_user_would_be_told_is_in_them(folder: Path, count: int) -> None:
    task = task_of(folder, dropped=EVERYTHING)
    batch = task.batch(np.random.default_rng(0), count)
    drawn = task.faces.draw(np.random.default_rng(0), count)
    assert batch["faced"].all()
    for row, one in enumerate(drawn):
        np.testing.assert_array_equal(batch["pixels"][row], square_with(one.photo, one.box, 32))
        face = task.reader.read(one.photo)[0]
        assert face.identity is not None
        np.testing.assert_allclose(batch["vectors"][row], face.identity.vector, atol=1e-5)
        words = encode_text([one.caption], task.tokenizer, task.text_encoder, reserved=TOKENS)
        said = torch.from_numpy(batch["tokens"][row : row + 1])
        torch.testing.assert_close(task.text_encoder(said).last_hidden_state, words.tokens)


def test_an_encoder_may_read_the_papers_crop(folder: Path, tmp_path: Path) -> None:
    """160 px with the paper's margins, in training as when a photo is read."""
    onnx.save(box_embedder(), tmp_path / "embedder.onnx")
    parts = folder / "made" / "parts"
    networks = {"detector": parts / "detector.onnx", "motion": parts / "motion.onnx"}
    options = {"embedder": tmp_path / "embedder.onnx", "recogniser": "vggface2", "width": 24, "template": "face0"}
    pack(tmp_path / "reader", **networks, **options, size=160)
    reader = FaceReader.from_folder(tmp_path / "reader", threads=1)
    assert reader.space.startswith("vggface2/face0/")
    task = Face0Sd15Task(find(folder / "data"), folder / "base", reader, dropped=EVERYTHING)
    batch = task.batch(np.random.default_rng(0), 3)
    for row, one in enumerate(task.faces.draw(np.random.default_rng(0), 3)):
        expected = reader.embedder.embed(one.face[None])[0]
        np.testing.assert_allclose(batch["vectors"][row], expected, atol=1e-6)
        found = reader.read(one.photo)[0]
        assert found.identity is not None
        np.testing.assert_allclose(found.identity.vector, expected, atol=1e-5)
    with pytest.raises(WeightsCorrupt, match="of face0 have 160"):
        pack(tmp_path / "narrow", **networks, **options, size=112)


def box_embedder() -> onnx.ModelProto:
    """24 numbers of a 160-px crop: pooled, projected at random, normalised."""
    node = onnx.helper.make_node
    nodes = [
        node("AveragePool", ["crop"], ["pooled"], kernel_shape=[20, 20], strides=[20, 20]),
        node("Flatten", ["pooled"], ["flat"]),
        node("MatMul", ["flat", "projection"], ["raw"]),
        node("LpNormalization", ["raw"], ["identity"], axis=1, p=2),
    ]
    projection = np.random.default_rng(0).standard_normal((192, 24)).astype(np.float32)
    return model_of(nodes, ("crop", ["N", 3, 160, 160]), [("identity", ["N", 24])], {"projection": projection})


def test_a_long_caption_leaves_the_last_places_to_the_face(task: Face0Sd15Task) -> None:
    tokens = task.tokens(["smiling " * 40, ""])
    assert tokens.shape == (2, LENGTH)
    assert tokens[0, -TOKENS - 1] == task.tokenizer.eos_token_id
    assert (tokens[:, -TOKENS:] == task.tokenizer.pad_token_id).all()


def test_words_and_faces_are_dropped(folder: Path) -> None:
    """As shares of many pictures; the paper's own is the face alone."""
    nothing = task_of(folder, dropped=Dropped(words=0, face=0, both=1)).batch(np.random.default_rng(0), 8)
    assert not nothing["faced"].any()
    assert len({tuple(row) for row in nothing["tokens"]}) == 1
    worded, faced = Dropped(words=0.2, face=0.1, both=0.3).drawn(np.random.default_rng(0), 20_000)
    assert np.mean(~worded & faced) == pytest.approx(0.2, abs=0.01)
    assert np.mean(worded & ~faced) == pytest.approx(0.1, abs=0.01)
    assert np.mean(~worded & ~faced) == pytest.approx(0.3, abs=0.01)
    worded, faced = Dropped(words=0, face=0.1, both=0).drawn(np.random.default_rng(0), 20_000)
    assert worded.all()
    assert np.mean(~faced) == pytest.approx(0.1, abs=0.01)


def test_one_record_in_a_hundred_is_kept_from_training(tmp_path: Path, task: Face0Sd15Task) -> None:
    for number in range(203):
        (tmp_path / f"{number:03d}.png").write_bytes(b"")
        (tmp_path / f"{number:03d}.txt").write_text("nobody")
    (tmp_path / "silent.png").write_bytes(b"")
    records = find(tmp_path)
    names = {
        held_out: [Path(part.read(n)[0]).stem for n in range(len(part))]
        for held_out, part in ((h, Part(records, held_out=h)) for h in (True, False))
    }
    assert names[True] == ["000", "100", "200"]
    assert sorted(names[True] + names[False]) == [f"{n:03d}" for n in range(203)]
    assert [Part(records, held_out=h).skipped["no caption"] for h in (True, False)] == [0, 1]
    assert len(list(task.faces.epoch())) == PICTURES - 1
    assert len(task.judged["pixels"]) == 1


# ---------------------------------------------------------------------- what learns


def test_unet_and_projector_learn_and_nothing_else(task: Face0Sd15Task) -> None:
    batch = tensors(task.batch(np.random.default_rng(0), 4))
    batch["faced"][:] = True
    loss, _ = task.loss(task.model, batch, torch.Generator().manual_seed(0))
    loss.backward()
    learning = {name.split(".")[0] for name, p in task.model.named_parameters() if p.grad is not None}
    assert learning == {"unet", "projector"}
    assert all(p.grad is None for part in (task.vae, task.text_encoder) for p in part.parameters())
    task.model.zero_grad()


def test_a_dropped_face_teaches_the_projector_nothing(task: Face0Sd15Task) -> None:
    batch = tensors(task.batch(np.random.default_rng(0), 4))
    batch["faced"][:] = False
    loss, _ = task.loss(task.model, batch, torch.Generator().manual_seed(0))
    loss.backward()
    assert all(not p.grad.any() for p in task.model.projector.parameters())
    assert any(p.grad.any() for p in task.model.unet.parameters())
    task.model.zero_grad()


@torch.no_grad()
def test_the_unet_is_told_what_the_package_tells_it(task: Face0Sd15Task) -> None:
    """With a face, and without: the conditioning of training is that of generation."""
    projector = task.model.projector
    text = encode_text(["photo of a man"], task.tokenizer, task.text_encoder, reserved=TOKENS)
    vectors = torch.nn.functional.normalize(torch.randn(2, projector.sizes.features), dim=-1)
    noisy, times = torch.randn(2, 4, 8, 8), torch.tensor([5, 900])
    for faced, told in ((True, projector.conditioning(text, vectors)), (False, projector.conditioning(text))):
        expected = task.model.unet(noisy, times, told.tokens.expand(2, -1, -1)).sample
        words = text.tokens.expand(2, -1, -1)
        torch.testing.assert_close(task.model(noisy, times, words, vectors, torch.full((2,), faced)), expected)


@pytest.mark.parametrize("predicts", ["epsilon", "v_prediction"])
def test_the_loss_is_nothing_for_the_right_answer(folder: Path, tmp_path: Path, predicts: str) -> None:
    """What `DDPMScheduler` itself reads as the clean latents, at every time."""
    (tmp_path / "made").symlink_to(folder / "made")
    (tmp_path / "data").symlink_to(folder / "data")
    for name, part in sd15_parts().items():
        part.save_pretrained(tmp_path / "base" / name)
    like = sd15_parts()["scheduler"].config
    diffusers.DDIMScheduler.from_config(like, prediction_type=predicts).save_pretrained(tmp_path / "base" / "scheduler")
    task = task_of(tmp_path)
    batch = tensors(task.batch(np.random.default_rng(0), 3))
    clean = task._latents(batch["pixels"], torch.Generator().manual_seed(5))
    alphas = task.scheduler.alphas_cumprod

    class Right(torch.nn.Module):
        def forward(self, noisy, times, *_told):
            signal, noise = (share.sqrt().view(-1, 1, 1, 1) for share in (alphas[times], 1 - alphas[times]))
            drawn = (noisy - signal * clean) / noise
            return drawn if predicts == "epsilon" else signal * drawn - noise * clean

    loss, _ = task.loss(Right(), batch, torch.Generator().manual_seed(5))
    assert float(loss) < 1e-6


# ---------------------------------------------------------------------- the loop


def losses(folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


def test_a_stopped_run_goes_on_exactly(folder: Path, tmp_path: Path) -> None:
    train(task_of(folder), SHORT, tmp_path / "whole", bf16=False)
    train(task_of(folder), SHORT, tmp_path / "parts", minutes=0, bf16=False)
    assert len(losses(tmp_path / "parts")) == 1
    train(task_of(folder), SHORT, tmp_path / "parts", bf16=False)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    weights = [
        diffusers.UNet2DConditionModel.from_pretrained(tmp_path / run / "export" / "unet").state_dict()
        for run in ("whole", "parts")
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_gradients_add_up_over_parts(folder: Path, tmp_path: Path) -> None:
    """A step in two parts is one step along the mean of their gradients."""
    whole = replace(SHORT, steps=1, clip=1e9)
    task = task_of(folder)
    expected = []
    for number in range(2):
        batch = tensors(task.batch(np.random.default_rng([0, 0, number]), 2))
        generator = torch.Generator().manual_seed(hash((0, 0, number)) % 2**63)
        expected.append(task.loss(task.model, batch, generator)[0])
    torch.stack(expected).mean().backward()
    norm = torch.stack([p.grad.norm() for p in task.model.parameters() if p.grad is not None]).norm()
    train(task_of(folder), whole, tmp_path, bf16=False)
    (line,) = (json.loads(text) for text in (tmp_path / "log.jsonl").read_text().splitlines() if "norm" in text)
    assert line["loss"] == pytest.approx(float(torch.stack(expected).detach().mean()), rel=1e-4)
    assert line["norm"] == pytest.approx(float(norm), rel=1e-3)


def test_a_batch_is_split_evenly_or_not_at_all() -> None:
    assert [Schedule(steps=1, batch=256, lr=1.0, at_once=n).parts(8) for n in (None, 64, 32, 8)] == [1, 1, 1, 4]
    with pytest.raises(BadOption, match="cannot be split"):
        Schedule(steps=1, batch=10, lr=1.0, at_once=4).parts(1)
    with pytest.raises(BadOption, match="at_once"):
        Schedule(steps=1, batch=10, lr=1.0, at_once=0)


# ---------------------------------------------------------------------- what comes out


def test_what_is_exported_is_a_model_for_words_and_faces(folder: Path, tmp_path: Path) -> None:
    report = train(task_of(folder), SHORT, tmp_path)
    assert set(report) == {f"held_out_{told}" for told in ("both", "text", "face", "nothing")}
    assert np.isfinite(list(report.values())).all()
    pipe = FacePipeline.from_pretrained(tmp_path / "export")  # whole, by its own hashes
    pipe.set_progress_bar_config(disable=True)
    photo = folder / "data" / "03.png"
    face = pipe.read(photo)[0]
    options = {"num_inference_steps": 2, "seed": 0, "output_type": "np"}
    made = pipe(face, prompt="photo of a man", **options).images
    assert np.shape(made) == (1, 32, 32, 3)
    for changed in (
        pipe(face, prompt="smiling", **options).images,
        pipe(face, prompt="photo of a man", face_weight=1, text_weight=0, both_weight=0, **options).images,
        pipe(pipe.read(folder / "data" / "04.png")[0], prompt="photo of a man", **options).images,
    ):
        assert np.abs(changed - made).max() > 1e-4
    assert pipe.component("face_tokens").sizes == Sizes(features=128, text_width=128, tokens=TOKENS, layers=2, width=16)


def test_the_recipe_is_the_papers() -> None:
    schedule = recipes.recipe("face0-sd15").schedule
    assert (schedule.steps, schedule.batch, schedule.lr, schedule.ema) == (500_000, 256, 2e-5, 0.9999)
    assert schedule.rate(0) == schedule.rate(schedule.steps - 1) == 2e-5


def test_it_is_run_by_name(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "model"
    FacePipeline(**sd15_parts(), reader=reader_of(folder)).save_pretrained(model)
    short = replace(recipes.recipe("face0-sd15"), schedule=replace(SHORT, steps=1))
    monkeypatch.setitem(recipes.RECIPES, "face0-sd15", short)
    parts = {"cache": tmp_path, "teachers": tmp_path, "runs": tmp_path / "runs"}
    recipes.run("face0-sd15", **parts, data=folder / "data", base=folder / "base", reader=str(model))
    pipe = FacePipeline.from_pretrained(tmp_path / "runs" / "face0-sd15" / "export")
    assert pipe.component("face_tokens").sizes.tokens == 3
    assert pipe.config.identity_space == reader_of(folder).space


@pytest.mark.parametrize(
    ("lacking", "error", "says"),
    [("data", BadOption, "--data"), ("base", BadOption, "--base"), ("reader", WeightsMissing, "--reader")],
)
def test_what_lacks_is_said(folder: Path, tmp_path: Path, lacking: str, error: type, says: str) -> None:
    FacePipeline(**sd15_parts(), identity_space="random/test/0", identity_width=16).save_pretrained(tmp_path / "model")
    given = {"data": folder / "data", "base": folder / "base", "reader": str(tmp_path / "model")}
    if lacking != "reader":
        del given[lacking]
    with pytest.raises(error, match=says):
        recipes.run("face0-sd15", cache=tmp_path, teachers=tmp_path, runs=tmp_path / "runs", **given)


def test_a_base_that_is_none(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match="has no vae/"):
        Face0Sd15Task(find(folder / "data"), tmp_path, reader_of(folder))
    for name in ("vae", "text_encoder", "tokenizer", "unet"):
        (tmp_path / name).symlink_to(folder / "base" / name)
    scheduler = diffusers.DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)
    scheduler.save_pretrained(tmp_path / "scheduler")
    with pytest.raises(BadData, match="predicts 'flow_prediction'"):
        Face0Sd15Task(find(folder / "data"), tmp_path, reader_of(folder))


def test_the_largest_face_is_measured(folder: Path, tmp_path: Path) -> None:
    """Where two are, the smaller one's pixels change nothing."""
    pixels = white_face(np.full((160, 320, 3), 60, np.uint8), 180, 20, 300, 140)
    vectors = []
    for shade in (60, 90):
        other = pixels.copy()
        other[40:80, 20:50] = shade
        Image.fromarray(white_face(other, 20, 40, 50, 80)).save(tmp_path / "a.png")
        (tmp_path / "a.txt").write_text("two")
        reader = reader_of(folder)
        (one,) = CaptionedFaces(find(tmp_path), reader).epoch()
        np.testing.assert_allclose(one.box, (180, 20, 299, 139), atol=1)
        vectors.append(reader.identities([(one.photo, one.found)])[0].vector)
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
