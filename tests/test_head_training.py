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
from training_fixtures import tiny_base, tiny_embedder, tiny_motion, tiny_vae, write_cache

SHORT = Schedule(steps=1, batch=4, lr=1e-3, warmup=1, compile=False)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """What training a base of heads leaves, all of it tiny and random; no bundle stands in for anything."""
    runs = tmp_path_factory.mktemp("heads")
    tiny_base(runs / "portrait" / "export")
    tiny_vae(runs / "portrait-autoencoder" / "export" / "vae", HEAD)
    tiny_embedder(runs / "nano-embedder-longer" / "export" / "embedder.onnx")
    tiny_motion(runs / "nano-motion" / "export" / "motion.onnx")
    cache, people = write_cache(runs / "cache", count=24), write_cache(runs / "people", count=12, seed=1)
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


def test_a_table_is_cut_anew(inputs: Inputs) -> None:
    plain = FaceTable.load(inputs.cache)
    heads = plain.framed(HEAD, inputs.cache)
    assert heads.crops.shape == (len(plain), 256, 256, 3)
    for row in (0, len(plain) - 1):
        points = align.apply(heads.matrix[row], plain.points[row])
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
