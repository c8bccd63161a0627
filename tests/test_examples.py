"""The programs in examples/ run, with two steps for an image, and write what they say."""

import importlib.util
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import uvicorn
from PIL import Image, ImageOps

import personae
from personae import identity
from personae.demo import portrait
from personae.models import catalog
from personae.provenance.recipe import read_recipe
from personae.serving.api.app import create_app
from personae.serving.api.settings import Settings

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
        "serve_engine",
        "client",
    }
    others = {path.name for path in FOLDER.iterdir() if path.suffix not in (".py", ".pyc") and path.is_file()}
    assert others == {"client.sh", "client.mjs", "first_steps.ipynb"}


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


@pytest.fixture(scope="module")
def address(one_pipeline: personae.FacePipeline, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that listens, on the examples' pipeline."""
    state = tmp_path_factory.mktemp("server")
    app = create_app(Settings(models={"nano": lambda: one_pipeline}, state=state))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    until = time.monotonic() + 60
    while not (server.started and app.state.service.engine.ready):
        assert time.monotonic() < until
        time.sleep(0.05)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(30)


def test_serve_engine() -> None:
    paths = example("serve_engine").main(["me.jpg", "ann.jpg"], "out", steps=2)
    assert sorted(path.name for path in paths) == ["ann-seed0.png", "me-seed0.png"]


def test_client(address: str) -> None:
    paths = example("client").main("me.jpg", "out", address=address, steps=2)
    assert [read_recipe(path)["seed"] for path in paths] == [7, 8]


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_client_in_shell(address: str) -> None:
    done = subprocess.run(["sh", FOLDER / "client.sh", "me.jpg", address, "."], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout
    assert read_recipe("me-seed7.png")["seed"] == 7
    assert np.linalg.norm(identity.load("me.identity").vector) == pytest.approx(1)


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node")
def test_client_in_javascript(address: str) -> None:
    words = ["node", FOLDER / "client.mjs", "me.jpg", address, ".", "2"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert read_recipe(done.stdout.strip())["seed"] == 7


def test_first_steps() -> None:
    """The notebook's cells, in order, with fewer steps."""
    cells = json.loads((FOLDER / "first_steps.ipynb").read_text())["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert not any(cell.get("outputs") for cell in cells)
    assert "steps = 12" in code
    names: dict[str, Any] = {}
    exec(code.replace("steps = 12", "steps = 2"), names)
    assert len(names["images"]) == 2
    assert len(list(Path("personae-out").iterdir())) == 2


def test_best_of() -> None:
    assert len(example("best_of").main("me.jpg", "out", at_least=-1, steps=2, count=2)) == 2
    assert example("best_of").main("me.jpg", "out", at_least=0.999, steps=2, count=1) == []
