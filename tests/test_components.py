"""Optional components are components as diffusers has them: moved, offloaded, shared and saved with the rest."""

import inspect
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import accelerate
import numpy as np
import pytest
import torch
from skimage import data

import personae
from component_fixtures import NAMES, complete
from conftest import made_up
from personae.errors import BadOption, WeightsCorrupt, WeightsMissing
from personae.models import catalog, hub
from personae.models import config as model_config
from personae.models.components import COMPONENTS
from personae.pipeline import FacePipeline
from personae.sampling.lora_weights import Lora

REQUIRED = ["scheduler", "text_encoder", "tokenizer", "unet", "vae"]
# What uses each of them in a call.
USES: dict[str, dict[str, Any]] = {
    "autoguidance": {"guidance_scale": 2.0},
    "controlnet": {"pose": (20, 5, 0)},
    "exp_adapter": {"expression": {"jawOpen": 0.6}},
    "face_tokens": {"prompt": "man smiling"},
    "lcm": {"fast": 2},
    "taesd": {"decoder": "tiny"},
}


def opened(folder: Path, **options: Any) -> FacePipeline:
    pipe = FacePipeline.from_pretrained(folder, **options)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return complete(tmp_path_factory.mktemp("complete"))


@pytest.fixture
def whole(folder: Path) -> FacePipeline:
    return opened(folder)


def pixels(pipe: FacePipeline, **options: Any) -> torch.Tensor:
    steps = {} if "fast" in options else {"num_inference_steps": 3}
    return pipe(made_up(pipe, 1), seed=0, output_type="pt", measure_likeness=False, **steps, **options).images


# ---------------------------------------------------------------------- one key space


def test_every_row_is_an_argument_a_component_and_a_known_part(whole: FacePipeline) -> None:
    arguments = inspect.signature(FacePipeline.__init__).parameters
    assert set(COMPONENTS) == set(FacePipeline._optional_components) == set(model_config._OPTIONAL)
    assert set(COMPONENTS) == {name for name in arguments if name in COMPONENTS}
    assert sorted(whole.components) == sorted([*REQUIRED, *COMPONENTS])
    assert all(getattr(whole, name) is None for name in COMPONENTS)


@pytest.mark.parametrize("ask", [FacePipeline.component, FacePipeline.has_component])
def test_an_unknown_name_is_answered_with_the_nearest(pipe: FacePipeline, ask: Callable[..., Any]) -> None:
    with pytest.raises(BadOption, match="unknown component 'controlnets': did you mean 'controlnet'"):
        ask(pipe, "controlnets")


def test_a_component_that_is_not_there_says_what_it_is_for(pipe: FacePipeline) -> None:
    assert not pipe.has_component("lcm")
    with pytest.raises(WeightsMissing, match="has no lcm/, which fast sampling"):
        pipe.component("lcm")


@pytest.mark.parametrize("name", NAMES)
def test_each_is_loaded_when_first_used(whole: FacePipeline, name: str) -> None:
    assert whole.has_component(name)
    module = whole.component(name)
    assert isinstance(module, torch.nn.Module)
    assert module is getattr(whole, name) is whole.components[name] is whole.component(name)
    assert [other for other in COMPONENTS if getattr(whole, other) is not None] == [name]


def test_asking_never_downloads(whole: FacePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(source: hub.Source) -> Path:
        raise AssertionError(f"{source.repo} would be fetched")

    monkeypatch.setattr(hub, "fetch", download)
    whole._on_hub = {"facex": hub.Source(repo="a/b", revision=None, files=("facex/config.json",))}
    assert whole.has_component("facex")
    with pytest.raises(AssertionError, match="a/b would be fetched"):
        whole.component("facex")


def test_a_folder_inside_the_hubs_cache_is_links_to_blobs(folder: Path, tmp_path: Path) -> None:
    snapshot = shutil.copytree(folder, tmp_path / "models--a--b" / "snapshots" / "abc")
    blobs = tmp_path / "models--a--b" / "blobs"
    blobs.mkdir()
    for number, file in enumerate(sorted((snapshot / "taesd").iterdir())):
        file.rename(blobs / str(number))
        file.symlink_to(blobs / str(number))
    assert opened(snapshot).component("taesd") is not None
    (snapshot / "taesd" / "config.json").unlink()
    (snapshot / "taesd" / "config.json").symlink_to(folder / "taesd" / "config.json")
    with pytest.raises(WeightsCorrupt, match="leads out of its folder"):
        FacePipeline.from_pretrained(snapshot)


# ---------------------------------------------------------------------- precision and device


def test_to_brings_all_of_them_along(whole: FacePipeline) -> None:
    for name in NAMES:
        whole.component(name)
    whole.to(torch.bfloat16)
    for name in NAMES:
        assert getattr(whole, name).dtype == torch.bfloat16, name
    assert whole.dtype == torch.bfloat16
    for name, options in USES.items():
        assert pixels(whole, **options).isfinite().all(), name
    parts = whole.parser.parts([np.zeros((32, 32, 3), np.uint8)])
    np.testing.assert_allclose(parts.sum(1), 1, atol=1e-5)
    whole.to("meta")
    for name in NAMES:
        assert {one.device.type for one in getattr(whole, name).state_dict().values()} == {"meta"}, name


def test_one_that_is_loaded_later_has_the_precision_of_the_others(folder: Path) -> None:
    pipe = opened(folder, dtype=torch.bfloat16)
    for name in ("autoguidance", "controlnet", "exp_adapter", "lcm", "ref_adapter", "taesd"):
        assert pipe.component(name).dtype == torch.bfloat16, name
    assert pipe.component("face_tokens").dtype == torch.float32  # in whose numbers an identity comes


@pytest.fixture
def accelerated_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accelerate's own hooks, whose accelerator is the CPU. Its name has no number, as diffusers would write it: a
    weight that moves from "cpu" to "cpu:0" is a copy, and no parameter any more."""
    layer_by_layer = accelerate.cpu_offload

    def offload(module: torch.nn.Module, device: torch.device, **options: Any) -> torch.nn.Module:
        return layer_by_layer(module, torch.device("cpu"), **options)

    monkeypatch.setattr(accelerate, "cpu_offload", offload)


@pytest.mark.usefixtures("accelerated_cpu")
@pytest.mark.parametrize("early", [True, False], ids=["loaded before", "loaded after"])
@pytest.mark.parametrize("offload", ["enable_model_cpu_offload", "enable_sequential_cpu_offload"])
def test_offloading_reaches_them_and_changes_no_picture(whole: FacePipeline, offload: str, early: bool) -> None:
    """Layer by layer, weights are on `meta` but while they are used."""
    layers = offload == "enable_sequential_cpu_offload"
    uses = {name: options for name, options in USES.items() if not (layers and name == "lcm")}
    expected = {name: pixels(whole, **options) for name, options in uses.items()}
    parts = whole.component("parser").parts([np.full((32, 32, 3), 90, np.uint8)])
    if not early:
        for name in COMPONENTS:
            setattr(whole, name, None)
    getattr(whole, offload)(device="cpu")
    for name, options in uses.items():
        torch.testing.assert_close(pixels(whole, **options), expected[name], rtol=0, atol=1e-5)
        assert hasattr(getattr(whole, name), "_hf_hook"), name
    np.testing.assert_array_equal(whole.component("parser").parts([np.full((32, 32, 3), 90, np.uint8)]), parts)
    for name in (*uses, "unet"):
        module = getattr(whole, name)
        weights = {one.device.type for one in module.state_dict().values()}
        assert weights == ({"meta"} if layers else {"cpu"}), name
    if layers:
        with pytest.raises(BadOption, match="offload whole models, not layer by layer"):
            pixels(whole, fast=2)


@pytest.mark.usefixtures("accelerated_cpu")
def test_facex_edits_while_offloaded_layer_by_layer() -> None:
    pipe = personae.load("nano", device="cpu", torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    photo = np.ascontiguousarray(data.astronaut())
    options = {"target": photo, "expression": {"smile": 0.8}, "seed": 0, "num_inference_steps": 2}
    plain = pipe.edit("attribute", **options, motion_guidance=0)
    pipe.enable_sequential_cpu_offload(device="cpu")
    assert {one.device.type for one in pipe.facex.parameters()} == {"meta"}
    again = pipe.edit("attribute", **options, motion_guidance=0)
    np.testing.assert_array_equal(np.asarray(again.images[0]), np.asarray(plain.images[0]))


@pytest.mark.gpu
@pytest.mark.parametrize("offload", ["enable_model_cpu_offload", "enable_sequential_cpu_offload", None])
def test_on_an_accelerator(whole: FacePipeline, offload: str | None) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no accelerator here")
    uses = {
        name: options for name, options in USES.items() if not (offload and "sequential" in offload and name == "lcm")
    }
    expected = {name: pixels(whole, **options) for name, options in uses.items()}
    getattr(whole, offload)() if offload else whole.to("cuda")
    for name, options in uses.items():
        torch.testing.assert_close(pixels(whole, **options).cpu(), expected[name], rtol=0, atol=0.02)


# ---------------------------------------------------------------------- shared and saved


def test_another_pipeline_of_the_same_parts(whole: FacePipeline) -> None:
    controlnet = whole.component("controlnet")
    other = FacePipeline.from_pipe(whole)
    other.set_progress_bar_config(disable=True)
    assert other.controlnet is controlnet
    assert other.reader is whole.reader
    assert other.component("face_tokens") is not None  # from the same folder
    assert whole.face_tokens is None
    assert other.sha256 == whole.sha256
    torch.testing.assert_close(pixels(other, pose=(9, 0, 0)), pixels(whole, pose=(9, 0, 0)), rtol=0, atol=0)


def test_loaded_or_not_all_are_saved_as_they_are(whole: FacePipeline, folder: Path, tmp_path: Path) -> None:
    for name in NAMES[::2]:
        whole.component(name)
    whole.save_pretrained(tmp_path / "copy")
    catalog.verify(tmp_path / "copy")
    for name in NAMES:
        for file in (folder / name).iterdir():
            assert (tmp_path / "copy" / name / file.name).read_bytes() == file.read_bytes(), file
    # Versions that have no registered components read the index as ever.
    index = json.loads((tmp_path / "copy" / "model_index.json").read_text())
    assert sorted(name for name, value in index.items() if isinstance(value, list)) == REQUIRED
    assert index == json.loads((folder / "model_index.json").read_text())


def test_an_index_that_lists_them_empty_is_read(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    index = json.loads((copy / "model_index.json").read_text())
    (copy / "model_index.json").write_text(json.dumps(index | {name: [None, None] for name in COMPONENTS}))
    assert opened(copy).has_component("taesd")
    (copy / "model_index.json").write_text(json.dumps(index | {"taesd": ["diffusers", "AutoencoderTiny"]}))
    with pytest.raises(WeightsCorrupt, match="as its taesd"):
        FacePipeline.from_pretrained(copy)


def test_components_that_were_put_in_are_saved_and_come_back(
    whole: FacePipeline, nano_like: FacePipeline, tmp_path: Path
) -> None:
    given = {name: whole.component(name) for name in NAMES}
    pipe = FacePipeline(**(whole.components | given), reader=whole.reader, steps=4)
    pipe.set_progress_bar_config(disable=True)
    pipe.save_pretrained(tmp_path / "new")
    again = opened(tmp_path / "new")
    for name in NAMES:
        before, after = given[name].state_dict(), again.component(name).state_dict()
        assert before.keys() == after.keys(), name
        for key, weight in before.items():  # face tokens are stored in half precision
            torch.testing.assert_close(after[key], weight, rtol=1e-3, atol=1e-3 if name == "face_tokens" else 0)
    for options in USES.values():
        torch.testing.assert_close(pixels(again, **options), pixels(pipe, **options), rtol=0, atol=1e-2)


def test_a_lora_whose_file_is_gone_cannot_be_saved(whole: FacePipeline, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "ref_adapter", tmp_path / "lora")
    whole.ref_adapter = Lora.read(next((tmp_path / "lora").glob("*.safetensors")), whole.unet)
    shutil.rmtree(tmp_path / "lora")
    with pytest.raises(WeightsMissing, match="that file is gone"):
        whole.save_pretrained(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_model_is_pushed_when_it_is_whole(
    whole: FacePipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: dict[str, Any] = {}

    class Repo:
        repo_id = "me/mine"

    def create(repo_id: str, **options: Any) -> Repo:
        sent.update(asked=repo_id, **options)
        return Repo()

    def upload(*, repo_id: str, folder_path: str, **options: Any) -> None:
        sent.update(repo_id=repo_id, files=catalog.hashes(Path(folder_path)), **options)
        catalog.verify(Path(folder_path))

    monkeypatch.setattr("diffusers.utils.hub_utils.create_repo", create)
    monkeypatch.setattr("diffusers.utils.hub_utils.upload_folder", upload)
    whole.save_pretrained(tmp_path / "mine", push_to_hub=True, private=True, commit_message="first")
    assert (sent["asked"], sent["repo_id"], sent["private"]) == ("mine", "me/mine", True)
    assert sent["commit_message"] == "first"
    assert {"reader/reader.json", "taesd/config.json", "unet/config.json"} <= sent["files"].keys()
    assert sent["files"] == json.loads((tmp_path / "mine" / "sha256.json").read_text())
    whole.push_to_hub("me/other")
    assert sent["asked"] == "me/other"
    assert "reader/reader.json" in sent["files"]
