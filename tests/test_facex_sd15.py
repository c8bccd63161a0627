"""Recipe `facex-sd15`, on a tiny Stable Diffusion and drawn photos: any base's line to noise, what is shown, what
learns, that it goes on where it stopped, and that edits use what it exports."""

import json
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Dinov2Backbone, Dinov2Config

from conftest import nano_parts, sd15_parts
from facex_fixtures import tiny_sizes
from personae.conditioning.facex.network import SIZES, FaceX
from personae.data.captioned import CaptionedFace, find
from personae.errors import BadData, BadOption, WeightsMissing
from personae.models import catalog
from personae.pipeline import FacePipeline, load
from personae.reading.differentiable import AlignedMap, last_map
from personae.reading.reader import FaceReader, pack
from personae.training import recipes
from personae.training.flow_schedule import Straight
from personae.training.loop import Schedule, train
from personae.training.methods.facex.lessons import facex_inputs
from personae.training.methods.facex.photos import _mirror
from personae.training.methods.facex.sd15 import FaceXSd15Task
from personae.training.networks import MotionNet
from personae.training.rollout import Course, roll
from personae.types import Identity
from reading_fixtures import LANDMARKS, tiny_reader_folder, white_face
from tolerances import assert_same
from training_fixtures import tiny_onnx

PHOTOS = 6
SHORT = Schedule(steps=2, batch=4, at_once=2, lr=1e-3, warmup=0, decay=0.0, save_minutes=0, compile=False)
DINO = {"hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1, "image_size": 42, "patch_size": 14}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`base/`, a model with a reader; `photos/` without captions."""
    place = tmp_path_factory.mktemp("facex-sd15")
    tiny_reader_folder(place / "made")
    parts = place / "made" / "parts"
    torch.manual_seed(0)
    network = MotionNet(LANDMARKS, widths=(8, 8, 8, 8, 8))
    tiny_onnx(place / "motion.onnx", network, 128, ["landmarks", "pose", "blendshapes"])
    networks = {"detector": parts / "detector.onnx", "motion": place / "motion.onnx"}
    pack(place / "reader", **networks, embedder=parts / "embedder.onnx", recogniser="tiny", width=128)
    base_of(sd15_parts(), place).save_pretrained(place / "base")
    (place / "photos").mkdir()
    for number in range(PHOTOS):
        rng = np.random.default_rng(number)
        pixels = rng.integers(0, 150, (120, 200, 3), np.uint8)
        left, top = rng.integers(5, 100), rng.integers(5, 40)
        photo = white_face(pixels, left, top, left + 60, top + 70)
        Image.fromarray(photo).save(place / "photos" / f"{number}.png")
    return place


def base_of(parts: dict, place: Path) -> FacePipeline:
    reader = FaceReader.from_folder(place / "reader", threads=1)
    return FacePipeline(**parts, reader=reader, crop_template="ffhq", steps=2)


def task_of(folder: Path, base: FacePipeline | None = None, **options) -> FaceXSd15Task:
    torch.manual_seed(0)
    base = base or FacePipeline.from_pretrained(folder / "base", dtype=torch.float32)
    sizes = replace(tiny_sizes("", side=32), backbone=DINO)
    return FaceXSd15Task(find(folder / "photos", captioned=False), base, **({"sizes": sizes} | options))


@pytest.fixture(scope="module")
def task(folder: Path) -> FaceXSd15Task:
    return task_of(folder)


def tensors(batch: dict) -> dict:
    return {
        name: tensors(value) if isinstance(value, dict) else torch.as_tensor(value) if name != "pairs" else value
        for name, value in batch.items()
    }


# ---------------------------------------------------------------------- any base as a flow


BASES = {
    "epsilon": sd15_parts()["scheduler"],
    "v": diffusers.DDIMScheduler(prediction_type="v_prediction", rescale_betas_zero_snr=True),
    "flow": nano_parts()["scheduler"],
}


@pytest.mark.parametrize("base", BASES)
def test_the_right_prediction_leads_straight_to_the_picture(base: str) -> None:
    path = Straight(BASES[base])
    clean, noise = torch.randn(2, 3, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    times = path.drawn(3, torch.Generator().manual_seed(1)).clamp(0.05, 0.95)
    noisy, wanted = path.between(clean, noise, times), path.wanted(clean, noise, times)
    torch.testing.assert_close(path.velocity(wanted, noisy, times), noise - clean, atol=1e-3, rtol=1e-3)
    course = Course(end=torch.full((3, 1, 1, 1), 0.3), scale=torch.ones(3, 1, 1, 1))

    def right(noisy: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        times = shares * path.last
        return path.velocity(path.wanted(clean, noise, times), path.between(clean, noise, times), times) * path.last

    rolled = roll(right, right, path.between(clean, noise, torch.full((3,), path.last)), course)
    torch.testing.assert_close(rolled.clean(right(rolled.noisy, rolled.times)), clean, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("base", ["epsilon", "v"])
def test_a_step_on_it_is_ddims(base: str) -> None:
    path = Straight(BASES[base])
    walker = diffusers.DDIMScheduler.from_config(BASES[base].config, clip_sample=False, timestep_spacing="leading")
    walker.set_timesteps(5)
    x, made = torch.randn(2, 1, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    first, second = walker.timesteps[1:3]
    stepped = walker.step(made, first, x).prev_sample
    here, there = path.at(first[None]), path.at(second[None])
    length = ((1 - here) ** 2 + here**2) ** 0.5
    noisy = x * length
    torch.testing.assert_close(path.steps(here), first[None].float(), atol=1e-2, rtol=0)
    torch.testing.assert_close(path.scaled(noisy, here), x)
    noisy = noisy + (there - here) * path.velocity(made, noisy, here)
    assert_same(path.scaled(noisy, there), stepped)


def test_schedules_of_another_kind_are_refused() -> None:
    with pytest.raises(BadData, match="predicts 'sample'"):
        Straight(diffusers.DDIMScheduler(prediction_type="sample"))
    with pytest.raises(BadData, match="1000 steps"):
        Straight(diffusers.DDIMScheduler(num_train_timesteps=50))


# ---------------------------------------------------------------------- batches


def test_a_batch_is_what_the_bases_own_reader_reads(task: FaceXSd15Task) -> None:
    batch = task.batch(np.random.default_rng(0), 8)
    assert batch["pairs"] == 2
    assert batch["canvas"].shape == (8, 32, 32, 3)
    assert batch["inside"].shape == (8, 8, 8)
    alone = slice(0, 6)
    np.testing.assert_array_equal(batch["canvas"][alone], batch["target"]["crops"][alone])
    np.testing.assert_allclose(np.linalg.norm(batch["vectors"], axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(batch["source"]["regions"].sum(1), 1, atol=1e-5)


def test_a_mirrored_photo_has_its_face_where_a_detector_finds_it(task: FaceXSd15Task) -> None:
    photo = white_face(np.zeros((120, 200, 3), np.uint8), 15, 20, 65, 90)
    (found,) = task.reader.detect(photo)
    one = CaptionedFace(name="", photo=photo, caption="", found=found, face=photo)
    pixels, mirrored = _mirror(one)
    (again,) = task.reader.detect(pixels)
    np.testing.assert_allclose(mirrored.points, again.points, atol=1.5)
    np.testing.assert_allclose(mirrored.box, again.box, atol=1.5)


def test_the_last_map_of_a_recogniser_is_found() -> None:
    embedder = catalog.resolve("nano") / "reader" / "embedder.onnx"
    name, shape = last_map(embedder)
    assert shape == (512, 7, 7)
    assert AlignedMap(embedder, name)(torch.zeros(2, 3, 64, 64)).shape == (2, 49, 512)


# ---------------------------------------------------------------------- what learns


@torch.no_grad()
def test_a_fresh_one_is_the_base_as_its_own_scheduler_noises(task: FaceXSd15Task) -> None:
    batch = tensors(task.batch(np.random.default_rng(0), 4))
    asked, free = facex_inputs(batch, task.maps, torch.Generator().manual_seed(0), dropout=0)
    clean, _, words = task._canvas(batch, free)
    noise, steps = torch.randn(clean.shape), torch.tensor([3, 250, 700, 999])
    noisy = diffusers.DDPMScheduler.from_config(task.base.scheduler.config).add_noise(clean, noise, steps)
    people = [Identity(vector=row.numpy(), space=task.reader.space) for row in batch["vectors"]]
    expected = task.base.unet(noisy, steps, task.base.condition(people)[0].tokens).sample
    times = task.path.at(steps)
    made = task.model(task.path.between(clean, noise, times), times, words.tokens, words.pooled, asked)
    assert_same(made, expected)
    torch.testing.assert_close(task.path.wanted(clean, noise, times), noise, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("family", ["sd15", "nano"])
def test_only_facex_learns(folder: Path, family: str) -> None:
    """Beside a base that predicts noise, and one that is a flow."""
    task = task_of(folder, base_of(sd15_parts() if family == "sd15" else nano_parts(), folder))
    for block in task.model.facex.controller.attentions():
        torch.nn.init.normal_(block.to_out.weight, std=0.1)  # at zero, what comes before it has no gradient yet
    batch = tensors(task.batch(np.random.default_rng(0), 8))
    loss, figures = task.loss(task.model, batch, torch.Generator().manual_seed(0))
    loss.backward()
    assert set(figures) == {"predicted", "identity", "off"}
    assert {name.split(".")[0] for name, _ in task.model.named_parameters()} == {"facex"}
    assert all(p.grad is not None for p in task.model.parameters() if p.requires_grad)
    frozen = (task.base.unet, task.base.vae, task.base.text_encoder)
    assert all(p.grad is None for part in frozen for p in part.parameters())


def test_without_pairs_photos_alone_are_practised(folder: Path) -> None:
    task = task_of(folder, pairs=0)
    batch = tensors(task.batch(np.random.default_rng(0), 3))
    assert batch["pairs"] == 0
    _, figures = task.loss(task.model, batch, torch.Generator().manual_seed(0))
    assert set(figures) == {"predicted"}


def test_it_may_begin_with_a_trained_dino(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(3)
    dino = Dinov2Backbone(Dinov2Config(**DINO))
    dino.save_pretrained(tmp_path / "dino")
    task = task_of(folder, sizes=tiny_sizes("", side=32), backbone=tmp_path / "dino")
    mine = task.model.facex.decomposer.regions.backbone.network.state_dict()
    assert all(torch.equal(mine[name], weight) for name, weight in dino.state_dict().items())
    with pytest.raises(WeightsMissing, match="DINOv2"):
        task_of(folder, backbone=tmp_path)


# ---------------------------------------------------------------------- the loop, and what comes out


def losses(folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


def test_a_stopped_run_goes_on_exactly_and_edits_use_what_it_exports(folder: Path, tmp_path: Path) -> None:
    report = train(task_of(folder), SHORT, tmp_path / "whole", bf16=False)
    assert {"held_out_told", "held_out_base"} <= set(report)
    train(task_of(folder), SHORT, tmp_path / "parts", minutes=0, bf16=False)
    assert len(losses(tmp_path / "parts")) == 1
    train(task_of(folder), SHORT, tmp_path / "parts", bf16=False)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")

    copytree(folder / "base", tmp_path / "model")
    copytree(tmp_path / "whole" / "export" / "facex", tmp_path / "model" / "facex")
    catalog.seal(tmp_path / "model")
    pipe = load(tmp_path / "model", device="cpu", torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    assert isinstance(pipe.component("facex"), FaceX)
    source, target = (folder / "photos" / f"{number}.png" for number in (1, 2))
    options = {"source": source, "target": target, "seed": 0, "likeness_guidance": 0.0}
    plain = pipe.edit("swap", **options)
    for block in pipe.component("facex").controller.attentions():
        torch.nn.init.normal_(block.to_out.weight)
    told = pipe.edit("swap", **options)
    assert (plain.after != told.after).any()


def test_it_is_run_by_name(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipes.recipe("facex-sd15")
    assert not recipe.schedule.compile
    monkeypatch.setitem(SIZES, "facex-sd15", replace(tiny_sizes("", side=32), backbone=DINO))
    monkeypatch.setitem(recipes.RECIPES, "facex-sd15", replace(recipe, schedule=replace(SHORT, steps=1)))
    parts = {"cache": tmp_path, "teachers": tmp_path, "runs": tmp_path / "runs"}
    recipes.run("facex-sd15", **parts, data=folder / "photos", base=folder / "base")
    assert (tmp_path / "runs" / "facex-sd15" / "export" / "facex" / "config.json").is_file()
    with pytest.raises(BadOption, match="--base"):
        recipes.run("facex-sd15", **parts, data=folder / "photos")


def test_a_base_that_reads_no_photos_is_refused(folder: Path, sd15_like: FacePipeline) -> None:
    with pytest.raises(WeightsMissing, match="reader"):
        task_of(folder, sd15_like)
