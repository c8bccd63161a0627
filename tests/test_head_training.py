"""The adapters beside the base of heads: of the same recipes, on pictures of another frame and size."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from diffusers import AutoencoderDC

from conftest import WIDTH
from facex_fixtures import tiny_sizes
from personae.conditioning import face0
from personae.errors import BadData, WeightsMissing
from personae.models import catalog
from personae.reading import align
from personae.training import beside, builders, frame, recipes
from personae.training.assemble import assemble
from personae.training.face_table import FaceTable
from personae.training.frame import HEAD, PORTRAIT
from personae.training.inputs import ADAPTERS, Inputs
from personae.training.loop import Schedule, train
from personae.training.methods.base.data import TrainingFaces
from personae.training.methods.base.setting import Setting
from personae.training.methods.face0.method import Face0Task
from personae.training.methods.portrait.method import PortraitTask
from training_fixtures import tiny_base, tiny_embedder, tiny_motion, tiny_vae, write_cache, write_people

SHORT = Schedule(steps=1, batch=4, lr=1e-3, warmup=1, compile=False)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """What training a base of heads leaves, all of it tiny and random; no bundle stands in for anything."""
    runs = tmp_path_factory.mktemp("heads")
    tiny_base(runs / "portrait" / "export")
    tiny_vae(runs / "portrait-autoencoder" / "export" / "vae", HEAD)
    tiny_embedder(runs / "nano-embedder-longer" / "export" / "embedder.onnx")
    tiny_motion(runs / "nano-motion" / "export" / "motion.onnx")
    cache, people = write_cache(runs / "cache", count=24), runs / "people"
    plain = write_cache(runs / "plain", count=24, seed=1) / "train-00.tar"
    write_people(people, plain)
    return Inputs(cache=cache, people=people, teachers=runs, runs=runs)


def built(name: str, inputs: Inputs) -> Any:
    """A recipe's task; of two, with as many numbers as the tiny base has."""
    if name == "face0-nano":
        sizes = face0.Sizes(features=128, text_width=WIDTH, tokens=2, layers=2, width=16, pooled=True)
        return Face0Task(inputs.of_base(), inputs.motion(), space=inputs.space(), sizes=sizes, beginning=2)
    if name == "facex-nano":
        return builders.facex(inputs, sizes=tiny_sizes(""))
    return recipes.recipe(name).build(inputs)


@pytest.mark.parametrize("name", list(ADAPTERS))
def test_every_adapter_trains_beside_the_base_of_heads(name: str, inputs: Inputs, tmp_path: Path) -> None:
    torch.manual_seed(0)
    task = built(name, inputs)
    assert task.setting.frame == HEAD
    assert task.setting.faces.shape == (4, HEAD.cells, HEAD.cells)
    report = train(task, SHORT, tmp_path, bf16=False)
    assert np.isfinite(list(report.values())).all()
    assert (tmp_path / "export" / ADAPTERS[name]).is_dir()


def test_adapters_learn_from_what_the_base_learns_from(inputs: Inputs) -> None:
    task: Any = recipes.recipe("nano-reference").build(inputs)
    faces, rng = task.setting.faces, np.random.default_rng(0)
    portrait = PortraitTask(inputs.heads_files()).data
    np.testing.assert_array_equal(faces.person, portrait.person)
    assert faces.measures == portrait.measures
    np.testing.assert_array_equal(faces.latents, portrait.latents)  # encoded once, for all of them
    photos = faces.kinds.photos
    assert 0 < photos.sum() < len(photos)
    assert photos[faces.kinds.rows(rng, 4000)].mean() == pytest.approx(0.4, abs=0.03)
    shares = faces.kinds.balanced(np.ones(len(photos)))
    assert shares[photos].sum() == pytest.approx(0.4)
    numbered = np.broadcast_to(np.arange(len(photos), dtype=np.float32)[:, None, None], faces.vectors.shape)
    rows = np.arange(len(photos))
    sources = replace(faces, vectors=numbered).identities(rng, rows)[:, 0].astype(int)
    np.testing.assert_array_equal(faces.person[sources], faces.person)
    alone = np.bincount(faces.person)[faces.person] == 1
    np.testing.assert_array_equal(sources == rows, alone)  # whoever has another view is known by it
    assert alone[photos].all()
    assert not alone[~photos].all()


def test_reports_see_drawn_people_too_and_nothing_beyond_a_photos_edge(inputs: Inputs) -> None:
    held_out = Setting.open(inputs.of_base()).held_out
    assert set(held_out.table.drawn) == {True, False}
    photos = held_out.noised(torch.device("cpu"))
    beyond = (1 - photos.inside)[:, None].bool()
    assert beyond.any()
    assert photos.error(photos.velocity + 9.0 * beyond) == 0
    assert photos.error(photos.velocity + 1.0) == pytest.approx(1)


def test_what_goes_with_one_base_is_not_taken_for_another(inputs: Inputs, tmp_path: Path) -> None:
    runs = shutil.copytree(inputs.runs, tmp_path / "runs")
    heads = replace(inputs, runs=runs, bundle=tmp_path / "bundle")
    for folder in ADAPTERS.values():
        (tmp_path / "bundle" / folder).mkdir(parents=True)
    assert not heads.adapters("portrait")  # the bundled ones are of another base
    with pytest.raises(WeightsMissing, match="personae train face0-nano"):
        heads.export("face0-nano")
    first, worded = runs / "portrait" / "export", runs / "face0-nano" / "export"
    assert heads.of_base().start == first
    beside.note(runs / "nano-fast", first)
    (runs / "nano-fast" / "export" / "lcm").mkdir(parents=True)
    assert set(heads.adapters("portrait")) == {"lcm"}
    shutil.copytree(first, worded)
    (worded / "face_tokens").mkdir()
    weights = safetensors.numpy.load_file(worded / "unet" / "diffusion_pytorch_model.safetensors")
    weights["conv_in.bias"] += 1
    safetensors.numpy.save_file(weights, worded / "unet" / "diffusion_pytorch_model.safetensors")
    assert heads.of_base().start == worded
    assert heads.of_base(worded=False).start == first
    assert "face_tokens" not in heads.adapters("portrait")
    with pytest.raises(BadData, match="nano-fast was not trained beside"):
        heads.adapters("face0-nano")
    with pytest.raises(BadData, match="begun beside another base"):
        beside.note(runs / "nano-fast", worded)
    shutil.rmtree(runs / "nano-fast")
    assert set(heads.adapters("face0-nano")) == {"face_tokens"}


def test_a_base_and_a_decoder_stay_with_the_latents_that_they_were_trained_on(inputs: Inputs, tmp_path: Path) -> None:
    runs = shutil.copytree(inputs.runs, tmp_path / "runs")
    heads = replace(inputs, runs=runs)
    plain, sharper = (runs / f"portrait-{name}" / "export" / "vae" for name in ("autoencoder", "decoder"))
    beside.note_latents(runs / "portrait", heads.head_vae())
    shutil.copytree(plain, sharper)
    weights = safetensors.numpy.load_file(sharper / (file := "diffusion_pytorch_model.safetensors"))
    decoder = next(name for name in weights if name.startswith("decoder."))
    encoder = next(name for name in weights if name.startswith("encoder."))
    safetensors.numpy.save_file(weights | {decoder: weights[decoder] + 1}, sharper / file)
    assert heads.head_vae() == sharper
    assert heads.of_base().vae == sharper
    safetensors.numpy.save_file(weights | {encoder: weights[encoder] + 1}, plain / file)
    with pytest.raises(BadData, match="another encoder"):
        heads.head_vae()
    shutil.rmtree(sharper.parents[1])
    with pytest.raises(BadData, match="another autoencoder"):
        heads.heads()
    with pytest.raises(BadData, match="begun on the latents of another"):
        beside.note_latents(runs / "portrait", heads.head_vae())


def test_trainings_of_heads_begin_with_what_they_exported(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[tuple[Any, dict[str, Any]]] = []

    def task(*values: Any, **options: Any) -> None:
        taken.append((values, options))

    for name in ("PortraitAutoencoderTask", "PortraitDecoderTask"):
        monkeypatch.setattr(f"personae.training.methods.portrait_autoencoder.method.{name}", task)
    monkeypatch.setattr("personae.training.methods.portrait.method.PortraitTask", task)
    monkeypatch.setattr(Inputs, "features", lambda self: None)
    runs = shutil.copytree(inputs.runs, tmp_path / "runs")
    heads, export = replace(inputs, runs=runs), runs / "portrait" / "export"
    names = ("portrait-autoencoder", "portrait", "portrait-decoder")
    for name in names:
        recipes.recipe(name).build(heads)
    (_, autoencoder), ((base,), _), (decoded, decoder) = taken
    vae = runs / "portrait-autoencoder" / "export" / "vae"
    assert (autoencoder["start"], base.start, decoded[0]) == (vae, export, vae)
    assert decoder["redrawn"] is not None
    taken.clear()
    shutil.rmtree(export)
    shutil.copytree(vae, runs / "portrait-decoder" / "export" / "vae")
    shutil.move(vae, tmp_path / "vae")
    for name in names:
        recipes.recipe(name).build(heads)
    (_, autoencoder), ((base,), _), (decoded, decoder) = taken
    assert (autoencoder["start"], base.start, decoder["redrawn"]) == (None, None, None)
    assert decoded[0] == runs / "portrait-decoder" / "export" / "vae"


def test_nothing_to_learn_from_is_said(inputs: Inputs) -> None:
    with pytest.raises(BadData, match="personae prepare"):
        TrainingFaces.of([], HEAD)


def test_parts_of_two_bases_make_no_model(inputs: Inputs, tmp_path: Path) -> None:
    runs = shutil.copytree(inputs.runs, tmp_path / "runs")
    other = AutoencoderDC.load_config(runs / "portrait-autoencoder" / "export" / "vae")
    AutoencoderDC.from_config({**other, "latent_channels": 8}).save_pretrained(runs / "portrait-autoencoder/export/vae")
    table = tmp_path / "limits.json"
    shutil.copyfile(catalog.resolve("nano") / "limits.json", table)
    with pytest.raises(BadData, match=r"makes latents of 4 channels, the autoencoder of .* has 8"):
        assemble(tmp_path / "made", cache=inputs.cache, runs=runs, final="portrait", limits=table)


def test_a_reference_is_another_view_of_the_person_or_else_the_photo(inputs: Inputs) -> None:
    task: Any = recipes.recipe("nano-reference").build(inputs)
    faces, rng = task.setting.faces, np.random.default_rng(0)
    batch = task.batch(rng, 200)
    latents = faces.latents.reshape(-1, *faces.shape)
    names = np.tile(faces.person, 2)

    def rows(wanted: np.ndarray) -> np.ndarray:
        return np.array([np.abs(latents - one).sum((1, 2, 3)).argmin() for one in wanted])

    shown, reference = rows(batch["latents"]), rows(batch["references"])
    np.testing.assert_array_equal(names[shown], names[reference])
    other = shown % len(faces) != reference % len(faces)
    alone = np.bincount(faces.person)[names[shown]] == 1
    assert not other[alone].any()
    assert 0.6 < other[~alone].mean() < 0.95


def test_facex_makes_a_picture_from_another_view_of_the_person(inputs: Inputs) -> None:
    task = built("facex-nano", inputs)
    batch = task.batch(np.random.default_rng(0), 64)
    photos = 64 - batch["pairs"]
    same = [bool((a == b).all() or (a == b[:, ::-1]).all()) for a, b in _crops(batch, photos)]
    assert any(same)  # a photo that is alone
    assert not all(same)
    person = task.setting.faces.person
    vectors = task.setting.faces.vectors.reshape(2, len(person), -1)
    for row in np.flatnonzero(~np.array(same)):
        source = _owner(vectors, person, batch["vectors"][row])
        shown = np.abs(task.setting.faces.latents - batch["latents"][row]).sum((2, 3, 4)).min(0).argmin()
        assert person[shown] == source


def _crops(batch: Any, count: int) -> Any:
    return zip(batch["source"]["crops"][:count], batch["target"]["crops"][:count], strict=True)


def _owner(vectors: np.ndarray, person: np.ndarray, vector: np.ndarray) -> int:
    """Whose identity it is, in whichever view."""
    width = vector.size
    views = vectors.reshape(2, len(person), -1, width)
    return int(person[np.abs(views - vector).sum(-1).min((0, 2)).argmin()])


def test_a_table_is_cut_anew(inputs: Inputs) -> None:
    plain = FaceTable.load(inputs.cache)
    heads = plain.framed(HEAD, inputs.cache)
    assert heads.crops.shape == (len(plain), HEAD.side, HEAD.side, 3)
    for row in (0, len(plain) - 1):
        points = align.apply(heads.matrix[row], plain.five_points[row])
        assert np.abs(points - HEAD.points()).mean() < 8  # a drawn face's points lie a little elsewhere
        np.testing.assert_array_equal(heads.crops[row], align.crop(plain.photo(row), heads.matrix[row], HEAD.side))
    assert plain.framed(PORTRAIT, inputs.cache) is plain
    before = sorted(inputs.cache.glob("crops-*"))
    again = plain.framed(HEAD, inputs.cache)
    assert sorted(inputs.cache.glob("crops-*")) == before  # cut once
    np.testing.assert_array_equal(again.crops, heads.crops)
    assert (heads.coverage <= 1).all()
    assert heads.coverage.mean() < plain.coverage.mean()  # a head reaches further than its face


@pytest.mark.parametrize("of", [PORTRAIT, HEAD])
def test_a_cell_lies_inside_where_all_its_pixels_do(of: frame.Frame) -> None:
    rng, found = np.random.default_rng(0), []
    for _ in range(40):
        points = of.points() * rng.uniform(0.4, 2) + rng.normal(0, 40, 2)
        turned = points @ np.array([[np.cos(t := rng.normal(0, 0.4)), -np.sin(t)], [np.sin(t), np.cos(t)]])
        matrix = of.matrix(turned)
        pixels = align.coverage(matrix, of.side, (224, 200, 3))
        wanted = pixels.reshape(of.cells, of.cell, of.cells, of.cell).all((1, 3))
        np.testing.assert_array_equal(of.inside(matrix, (224, 200, 3)), wanted)
        found.append(wanted.mean())
    assert 0 < np.mean(found) < 1


def test_a_face_counts_more_than_what_is_around_it() -> None:
    focus = HEAD.focus()
    assert focus.shape == (HEAD.cells, HEAD.cells)
    row, column = np.unravel_index(focus.argmax(), focus.shape)
    middle = HEAD.points().mean(0) / HEAD.cell
    assert abs(column + 0.5 - middle[0]) < 0.6
    assert abs(row + 0.5 - middle[1]) < 0.6
    assert 3.8 < focus.max() <= 4
    assert 1 <= focus.min() < 1.1
    np.testing.assert_allclose(focus, focus[:, ::-1], rtol=0.05)  # the template is nearly even


def test_photos_of_several_caches_are_one_table(inputs: Inputs) -> None:
    assert inputs.people is not None
    both = FaceTable.load([inputs.cache, inputs.people])
    assert len(both) == len(FaceTable.load(inputs.cache)) + len(FaceTable.load(inputs.people))


def test_a_model_says_in_which_frame_it_shows_faces(tmp_path: Path) -> None:
    assert frame.of_model(tmp_path) == PORTRAIT  # an export, which does not say
    (tmp_path / "model_index.json").write_text('{"crop_template": "head"}')
    assert frame.of_model(tmp_path) == HEAD
    assert frame.of_side(192) == HEAD
    with pytest.raises(BadData, match="300 pixels"):
        frame.of_side(300)
