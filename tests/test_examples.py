"""The programs in examples/ run, with two steps for an image, and write what they say."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image, ImageOps

import personae
from personae import identity
from personae.demo import portrait
from personae.models import catalog
from personae.provenance.recipe import read_recipe

FOLDER = Path(__file__).parents[1] / "examples"

pytestmark = [
    pytest.mark.skipif(not catalog.present(catalog.MODELS["nano"]), reason="the bundled model is not in this checkout"),
    pytest.mark.filterwarnings("ignore::UserWarning"),  # of two steps and a turned photo
]


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"examples_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    photo = portrait()
    photo.save("me.jpg")
    photo.crop((40, 0, 340, 300)).save("me-too.jpg")
    ImageOps.mirror(photo).save("ann.jpg")


@pytest.fixture(scope="module", autouse=True)
def one_pipeline() -> object:
    """Loaded once for all examples."""
    patch, pipe = pytest.MonkeyPatch(), personae.load("nano")
    patch.setattr(personae, "load", lambda _name: pipe, raising=False)
    yield pipe
    patch.undo()


def test_every_example_has_a_test() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == {
        "generate",
        "several_people",
        "identities",
        "edit",
        "best_of",
    }


def test_generate() -> None:
    paths = example("generate").main("me.jpg", "out", steps=2, count=2)
    assert [path.name for path in paths] == ["me-seed0.png", "me-seed1.png"]
    assert read_recipe(paths[0])["seed"] == 0


def test_several_people() -> None:
    [path] = example("several_people").main("me.jpg", "ann.jpg", "out", steps=2)
    assert Image.open(path).size == (256, 128)
    assert len(read_recipe(path)["others"]) == 1


def test_identities() -> None:
    path, images = example("identities").main("me.jpg", "me-too.jpg", "ann.jpg", "out", steps=2)
    assert np.linalg.norm(identity.load(path).vector) == pytest.approx(1)
    assert len(images) == 3


def test_edit() -> None:
    swap, smile = example("edit").main("me.jpg", "ann.jpg", "out", steps=2)
    assert [one["edit"]["task"] for one in read_recipe(smile)["earlier"]] == ["swap"]
    assert Image.open(swap).size == Image.open("ann.jpg").size


def test_best_of() -> None:
    assert len(example("best_of").main("me.jpg", "out", at_least=-1, steps=2, count=2)) == 2
    assert example("best_of").main("me.jpg", "out", at_least=0.999, steps=2, count=1) == []
