"""The nodes for ComfyUI: as functions, and, where there is a copy, through ComfyUI's own executor.

COMFYUI_PATH: a copy of ComfyUI. COMFYUI_PYTHON: a Python that has its requirements and personae
(docs/guides/comfyui.md).
"""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cli_fixtures import Run
from personae import FacePipeline
from personae.controls import registry
from personae.editing.tasks import TASKS
from personae.errors import BadImage, BadOption, NoFaceFound
from personae.provenance import writer
from personae.provenance.marks import Marks
from personae.serving.comfyui import actions, install, sockets, tensors

COMFYUI = os.environ.get("COMFYUI_PATH")
PYTHON = os.environ.get("COMFYUI_PYTHON", sys.executable)
EXECUTOR = Path(__file__).with_name("comfyui_executor.py")


@pytest.fixture(scope="module")
def photo(two_photos: list[np.ndarray]) -> torch.Tensor:
    """A generated face as ComfyUI has pictures."""
    return torch.from_numpy(two_photos[0].copy())[None].float() / 255


def test_pictures_there_and_back(two_photos: list[np.ndarray]) -> None:
    images = tensors.images([Image.fromarray(one) for one in two_photos])
    assert images.shape == (2, *two_photos[0].shape)
    for photo, back in zip(two_photos, tensors.photos(images), strict=True):
        np.testing.assert_array_equal(photo, back)
    with pytest.raises(BadImage, match=r"source takes one image, got a batch of 2"):
        tensors.photo(images, "source")
    with pytest.raises(BadImage, match=r"got \(3, 8\)"):
        tensors.photos(torch.zeros(3, 8))


def test_every_option_of_the_command_line_is_a_socket() -> None:
    names = sockets.generation_options(words=True)
    shown = {one.id.removesuffix(sockets.OF_PHOTO) for one in sockets.sockets_of(names)}
    own = {"prompt", "seed", "num_images_per_prompt", "regions"}
    offered = {name for name, one in registry.options().items() if one.in_commands} - own
    assert shown >= offered
    assert not {"text_weight", "look"} & set(sockets.generation_options(words=False))


def test_ranges_and_defaults_are_the_registry_s() -> None:
    by_id = {one.id: one for one in sockets.sockets_of(["pose_scale", "speed", "likeness_guidance", "fast"])}
    assert by_id["pose_scale"].facts["max"] == 2
    assert by_id["pose_scale"].facts["default"] == 1
    assert by_id["speed"].facts["options"] == ["exact", "balanced", "fast"]
    assert by_id["likeness_guidance"].facts["force_input"]  # no default: unset until it is wired
    assert by_id["fast"].facts["default"] == 0
    [strength] = sockets.sockets_of(["strength"], unset=["strength"])
    assert strength.facts["force_input"]


def test_what_a_node_cannot_do_without_is_the_registry_s_too() -> None:
    seed, count = sockets.own("seed", most=2**32 - 1), sockets.own("num_images_per_prompt", id="count", most=64)
    assert (seed.kind, seed.facts["min"], seed.facts["max"], seed.facts["optional"]) == ("INT", 0, 2**32 - 1, False)
    assert (count.id, count.facts["min"], count.facts["default"]) == ("count", 1, 1)
    prompt = sockets.own("prompt", default="a {person}")
    assert (prompt.kind, prompt.facts["default"]) == ("STRING", "a {person}")
    assert prompt.facts["tooltip"] == registry.options()["prompt"].help
    shown = {one.id: one.facts for one in sockets.of_edits()}
    assert not set(registry.set_by_edits()) & set(shown)
    assert shown["num_inference_steps"]["default"] == 0


def test_what_nobody_set_sets_nothing() -> None:
    """All sockets at their first values are a call without options."""
    shown = sockets.sockets_of(sockets.generation_options(words=True))
    assert sockets.options_from({one.id: one.facts.get("default") for one in shown}) == {}


def test_what_is_set_becomes_options(photo: torch.Tensor) -> None:
    picture = tensors.photo(photo, "pose")
    values = {"pose": "20,0,0", "expression": "smile=0.8", "speed": "fast", "fast": 4, "pose_scale": 0.5}
    assert sockets.options_from(values) == {
        "pose": [20, 0, 0],
        "expression": {"smile": 0.8},
        "speed": "fast",
        "fast": 4,
        "pose_scale": 0.5,
    }
    assert sockets.options_from({"pose_image": picture, "pose": ""})["pose"] is picture
    with pytest.raises(BadOption, match="typed and wired"):
        sockets.options_from({"pose": "20,0,0", "pose_image": picture})


def test_no_text_opens_a_file() -> None:
    """A workflow comes from a stranger, inside a picture."""
    for name in ("pose", "expression"):
        with pytest.raises(BadOption, match=rf"{name} names a file, 'private\.png': wire the picture"):
            sockets.options_from({name: "/home/me/private.png"})


def test_read_asks_for_consent_and_a_face(nano: FacePipeline, photo: torch.Tensor) -> None:
    with pytest.raises(BadOption, match="set consent"):
        actions.read(nano, photo)
    with pytest.raises(NoFaceFound, match=r"image 1 shows 0 faces, there is no number 1"):
        actions.read(nano, torch.zeros(1, 64, 64, 3), consent=True)
    one = actions.vector_of(actions.read(nano, photo, consent=True))
    both = actions.vector_of(actions.read(nano, torch.cat([photo, photo]), consent=True))
    np.testing.assert_allclose(one.vector, both.vector, atol=1e-6)


def test_generate_is_the_pipeline(nano: FacePipeline, photo: torch.Tensor) -> None:
    person = actions.blend(*[actions.read(nano, photo, consent=True)] * 2, 0.5)
    images, recipe = actions.generate(nano, person, seed=3, count=2, values={"speed": "fast", "pose": ""})
    plain = nano([person], seed=3, num_images_per_prompt=2, speed="fast")
    assert images.shape == (2, *np.asarray(plain.images[0]).shape)
    found = json.loads(recipe)
    assert found["settings"]["speed"] == "fast"
    assert "identity" not in found
    files = writer.files_of(plain, people=[person], identity=False, marks=Marks.of_environment(c2pa=False))
    with Image.open(io.BytesIO(next(files))) as file:
        np.testing.assert_array_equal(tensors.photos(images)[0], np.asarray(file.convert("RGB")))


def test_a_gradient_leads_in_comfyui_s_mode(photo: torch.Tensor) -> None:
    """ComfyUI runs nodes in inference mode; a pose is held by a gradient of the reader."""
    with torch.inference_mode():
        pipe = actions.open_model("nano", None)
        person = actions.read(pipe, photo, consent=True)
        images, _ = actions.generate(pipe, person, seed=1, values={"pose": "10,0,0"})
    assert images.shape[0] == 1


def test_edit_puts_the_face_back(nano: FacePipeline, photo: torch.Tensor) -> None:
    with pytest.raises(BadOption, match="set consent"):
        actions.edit(nano, "inpaint", source=None, target=photo, regions="mouth")
    values = {"strength": None, "pose": "", "expression": ""}
    images, _ = actions.edit(nano, "inpaint", source=None, target=photo, regions="mouth", consent=True, values=values)
    assert images.shape == photo.shape
    assert 0 < (images != photo).any(-1).float().mean() < 0.5


def test_a_pose_of_a_photo_is_a_piece_of_the_edit(nano: FacePipeline, photo: torch.Tensor) -> None:
    """As `personae edit attribute --pose photo.png`; every task of the node is one that its inputs are enough for."""
    wired = {"pose": "", "pose_image": photo, "expression_image": photo, "num_inference_steps": 2}
    images, recipe = actions.edit(nano, "attribute", target=photo, consent=True, values=wired)
    assert images.shape == photo.shape
    assert {"pose", "expression"} <= json.loads(recipe)["inputs"].keys()
    with pytest.raises(BadOption, match="typed and wired"):
        actions.edit(nano, "attribute", target=photo, consent=True, values=wired | {"pose": "20,0,0"})
    assert {*TASKS} - {*sockets.EDIT_TASKS} == {"mix"}


def test_detect_looks_at_every_picture(photo: torch.Tensor) -> None:
    lines, found = actions.detect(torch.cat([photo, photo]))
    assert [line.split(":")[0] for line in lines.splitlines()] == ["image 1", "image 2"]
    assert [one["mark"] for one in json.loads(found)] == ["watermark"] * 2
    assert all(one["state"] != "present" for one in json.loads(found))  # drawn by the pipeline, which marks nothing


def test_install(run: Run, tmp_path: Path) -> None:
    refused = run("comfyui", "install", tmp_path)
    assert refused.code == 2
    assert "give the folder of the main.py of a ComfyUI" in refused.err
    for name in ("custom_nodes", "comfy_api"):
        (tmp_path / name).mkdir()
    (tmp_path / "folder_paths.py").touch()
    folder = tmp_path / "custom_nodes" / install.FOLDER
    assert run("comfyui", "install", tmp_path).out.strip() == str(folder)
    assert run("comfyui", "install", tmp_path).code == 2
    assert run("comfyui", "install", tmp_path, "--force").code == 0
    compile((folder / "__init__.py").read_text(), "__init__.py", "exec")


def graph(photo: str) -> dict[str, dict[str, object]]:
    """read -> shift -> blend -> generate -> edit -> detect, and blend -> mean -> text and face: all nodes there are."""
    nodes: dict[str, tuple[str, dict[str, object]]] = {
        "model": ("PersonaeLoadModel", {"name": "nano", "accept_licence": False}),
        "photo": ("LoadImage", {"image": photo}),
        "ann": ("PersonaeRead", {"model": ["model", 0], "image": ["photo", 0], "face": 1, "consent": True}),
        "older": ("PersonaeShift", {"model": ["model", 0], "person": ["ann", 0], "amounts": "age=1"}),
        "blend": ("PersonaeBlend", {"first": ["ann", 0], "second": ["older", 0], "amount": 0.5}),
        "mean": ("PersonaeMean", {"person_1": ["ann", 0], "person_3": ["blend", 0]}),
        "words": (
            "PersonaeTextAndFace",
            {"model": ["model", 0], "person": ["mean", 0], "prompt": "a smiling {person}", "seed": 5, "count": 2}
            | {"speed": "fast", "num_inference_steps": 4},
        ),
        "preview": ("PreviewImage", {"images": ["words", 0]}),
        "new": (
            "PersonaeGenerate",
            {"model": ["model", 0], "person": ["blend", 0], "seed": 1, "count": 1, "speed": "fast", "pose": "10,0,0"},
        ),
        "edit": (
            "PersonaeEdit",
            {"model": ["model", 0], "task": "swap", "target": ["new", 0], "source": ["photo", 0], "face": 1}
            | {"seed": 2, "count": 1, "consent": True, "num_inference_steps": 6},
        ),
        "found": ("PersonaeDetect", {"image": ["edit", 0]}),
        "saved": ("SaveImage", {"images": ["edit", 0], "filename_prefix": "personae-test"}),
    }
    return {name: {"class_type": kind, "inputs": inputs} for name, (kind, inputs) in nodes.items()}


def executed(workflow: dict[str, dict[str, object]]) -> dict[str, object]:
    assert COMFYUI is not None
    nodes = Path(COMFYUI) / "custom_nodes" / install.FOLDER
    done = subprocess.run(
        [PYTHON, EXECUTOR, COMFYUI, nodes], input=json.dumps(workflow), capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.skipif(COMFYUI is None, reason="no COMFYUI_PATH: a copy of ComfyUI to run the nodes in")
def test_comfyui_runs_a_workflow(photo: torch.Tensor) -> None:
    assert COMFYUI is not None
    install.install(Path(COMFYUI), force=True)
    name = "personae-test-input.png"
    (Path(COMFYUI) / "input").mkdir(exist_ok=True)
    Image.fromarray(tensors.photo(photo, "photo")).save(Path(COMFYUI) / "input" / name)
    workflow = graph(name)
    found = executed(workflow)
    assert found["errors"] == []
    assert found["outputs"]["found"]["text"][0].startswith("image 1: watermark ")
    assert len(found["outputs"]["preview"]["images"]) == 2
    [image] = found["outputs"]["saved"]["images"]
    with Image.open(Path(COMFYUI) / "output" / image["filename"]) as saved:
        assert saved.size == (128, 128)
    del workflow["new"]["inputs"]["person"], workflow["words"]["inputs"]["seed"]
    missing = ["required_input_missing"]
    assert executed(workflow)["errors"] == {"new": missing, "words": missing}  # in ComfyUI's own words
