"""The adapters beside the base of heads: of the same recipes, on pictures of another frame and size."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import WIDTH
from facex_fixtures import tiny_sizes
from personae.conditioning import face0
from personae.errors import BadData
from personae.reading import align
from personae.training import builders, frame, recipes
from personae.training.face_table import FaceTable
from personae.training.frame import HEAD, PORTRAIT
from personae.training.inputs import ADAPTERS, Inputs
from personae.training.loop import Schedule, train
from personae.training.methods.face0.method import Face0Task
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
        return Face0Task(inputs.of_base(), inputs.motion(), space=inputs.space(), sizes=sizes)
    if name == "facex-nano":
        return builders.facex(inputs, sizes=tiny_sizes(""))
    return recipes.recipe(name).build(inputs)


@pytest.mark.parametrize("name", list(ADAPTERS))
def test_every_adapter_trains_beside_the_base_of_heads(name: str, inputs: Inputs, tmp_path: Path) -> None:
    torch.manual_seed(0)
    task = built(name, inputs)
    assert task.setting.frame == HEAD
    assert task.setting.faces.shape == (4, 16, 16)
    report = train(task, SHORT, tmp_path, bf16=False)
    assert np.isfinite(list(report.values())).all()
    assert (tmp_path / "export" / ADAPTERS[name]).is_dir()


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
    assert heads.crops.shape == (len(plain), 256, 256, 3)
    for row in (0, len(plain) - 1):
        points = align.apply(heads.matrix[row], plain.five_points[row])
        assert np.abs(points - HEAD.points()).mean() < 8  # a drawn face's points lie a little elsewhere
        np.testing.assert_array_equal(heads.crops[row], align.crop(plain.photo(row), heads.matrix[row], 256))
    assert plain.framed(PORTRAIT, inputs.cache) is plain
    before = sorted(inputs.cache.glob("crops-*"))
    again = plain.framed(HEAD, inputs.cache)
    assert sorted(inputs.cache.glob("crops-*")) == before  # cut once
    np.testing.assert_array_equal(again.crops, heads.crops)
    assert (heads.coverage <= 1).all()
    assert heads.coverage.mean() < plain.coverage.mean()  # a head reaches further than its face


def test_photos_of_several_caches_are_one_table(inputs: Inputs) -> None:
    assert inputs.people is not None
    both = FaceTable.load([inputs.cache, inputs.people])
    assert len(both) == len(FaceTable.load(inputs.cache)) + len(FaceTable.load(inputs.people))


def test_a_model_says_in_which_frame_it_shows_faces(tmp_path: Path) -> None:
    assert frame.of_model(tmp_path) == PORTRAIT  # an export, which does not say
    (tmp_path / "model_index.json").write_text('{"crop_template": "head"}')
    assert frame.of_model(tmp_path) == HEAD
    assert frame.of_side(256) == HEAD
    with pytest.raises(BadData, match="300 pixels"):
        frame.of_side(300)
