"""A stranger's model folder: plain files that lead nowhere, configs that ask for nothing outrageous, and no network."""

import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from personae.errors import PersonaeError, WeightsCorrupt, WeightsMissing
from personae.io.folder_contents import require_plain
from personae.models import catalog, components
from personae.models import config as model_config
from personae.models import folder as model_folder
from personae.pipeline import FacePipeline


@pytest.fixture
def copied(nano_folder: Path, tmp_path: Path) -> Path:
    """A copy of a tiny model without its promise of hashes."""
    shutil.copytree(nano_folder, tmp_path / "model")
    (tmp_path / "model" / catalog.MANIFEST).unlink()
    return tmp_path / "model"


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for a host, or connects, fails the test; and the Hub is not forbidden by anything else."""
    from huggingface_hub import constants

    def refuse(*args: object, **options: object) -> None:
        pytest.fail(f"the network was asked: {args}")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def replaced_by(make: Callable[[Path], object], name: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return apply


@pytest.mark.parametrize("name", ["unet/config.json", "text_encoder/model.safetensors", "reader/detector.onnx"])
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (os.mkfifo, "is a pipe"),
        (lambda path: path.symlink_to("/dev/zero"), "leads out of its folder"),
        (lambda path: path.symlink_to("/etc/hostname"), "leads out of its folder"),
        (lambda path: path.symlink_to(path), "cannot be looked through"),
        (lambda path: path.symlink_to(path.parent.parent / "scheduler"), "link to a folder"),
    ],
)
def test_what_is_no_plain_file_is_refused(
    name: str, make: Callable[[Path], object], says: str, copied: Path, no_network: None
) -> None:
    replaced_by(make, name)(copied)
    with pytest.raises(WeightsCorrupt, match=says):
        FacePipeline.from_pretrained(copied)
    with pytest.raises(WeightsCorrupt, match=says):
        catalog.resolve(copied)


def test_a_folder_in_place_of_a_file_is_one_error(copied: Path, no_network: None) -> None:
    for name in ("reader/detector.onnx", "unet/config.json", "model_index.json"):
        (copied / name).unlink()
        (copied / name).mkdir()
        with pytest.raises(PersonaeError):
            FacePipeline.from_pretrained(copied)


def test_a_link_inside_and_those_of_the_hubs_cache_are_as_they_should_be(tmp_path: Path) -> None:
    repo = tmp_path / "models--some--one"
    for place in (repo / "blobs", repo / "snapshots" / "abc"):
        place.mkdir(parents=True)
    (repo / "blobs" / "1234").write_text("{}")
    (repo / "snapshots" / "abc" / "a.json").symlink_to(Path("..") / ".." / "blobs" / "1234")
    (repo / "snapshots" / "abc" / "b.json").symlink_to("a.json")
    require_plain(repo / "snapshots" / "abc")
    (tmp_path / "outside.json").write_text("{}")
    (repo / "snapshots" / "abc" / "c.json").symlink_to(tmp_path / "outside.json")
    with pytest.raises(WeightsCorrupt, match=r"c\.json is a link that leads out"):
        require_plain(repo / "snapshots" / "abc")


def test_nothing_outside_is_sent_on_with_a_saved_model(tmp_path: Path) -> None:
    (tmp_path / "private").write_text("secret")
    (tmp_path / "model" / "taesd").mkdir(parents=True)
    (tmp_path / "model" / "taesd" / "note").symlink_to(tmp_path / "private")
    with pytest.raises(WeightsCorrupt, match="leads out"):
        components.copy(tmp_path / "model", tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def test_endless_texts_and_folders_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "a.json").open("wb") as file:
        file.truncate(1 << 40)  # a terabyte of nothing
    with pytest.raises(WeightsCorrupt, match="more than"):
        require_plain(tmp_path)
    (tmp_path / "a.json").rename(tmp_path / "a.safetensors")
    with pytest.raises(WeightsCorrupt, match="more than"):
        require_plain(tmp_path)


# ---------------------------------------------------------------------- configs


@pytest.mark.parametrize("content", ['"owner/name"', '["owner/name"]', "7", "null", "[" * 5000, "\ufeff", ""])
@pytest.mark.parametrize(
    "name",
    ["unet/config.json", "vae/config.json", "text_encoder/config.json", "scheduler/scheduler_config.json",
     "tokenizer/tokenizer_config.json", "model_index.json"],
)  # fmt: skip
def test_json_of_another_kind_never_asks_the_hub(content: str, name: str, copied: Path, no_network: None) -> None:
    (copied / name).write_text(content)
    with pytest.raises(WeightsCorrupt, match=name.rpartition("/")[2].replace(".", r"\.")):
        FacePipeline.from_pretrained(copied)


def test_an_adapter_of_a_model_elsewhere_is_refused(copied: Path, no_network: None) -> None:
    (copied / "text_encoder" / "adapter_config.json").write_text('{"base_model_name_or_path": "owner/name"}')
    with pytest.raises(WeightsCorrupt, match="names a model elsewhere"):
        FacePipeline.from_pretrained(copied)


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("model_index.json", {"unet": ["os", "system"]}),
        ("model_index.json", {"unet": ["diffusers", "DiffusionPipeline"]}),
        ("model_index.json", {"unet": ["diffusers"]}),
        ("model_index.json", {"unet": [["diffusers"], {}]}),
        ("model_index.json", {"evil": ["evil", "Evil"]}),
        ("model_index.json", {"steps": 10**9}),
        ("model_index.json", {"steps": "many"}),
        ("model_index.json", {"guidance_scale": float("nan")}),
        ("model_index.json", {"identity_space": 7}),
        ("unet/config.json", {"sample_size": 10**6}),
        ("unet/config.json", {"block_out_channels": [10**12, 8]}),
        ("unet/config.json", {"layers_per_block": 10**6}),
        ("unet/config.json", {"extra": json.loads("[" * 40 + "]" * 40)}),
        ("vae/config.json", {"latent_channels": -(10**12)}),
        ("text_encoder/config.json", {"num_hidden_layers": 10**5}),
        ("text_encoder/config.json", {"hidden_size": 2**20}),
        ("text_encoder/config.json", {"hidden_size": "wide"}),
        ("text_encoder/config.json", {"vocab_size": 2**20}),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 10**12}),
    ],
)
def test_what_no_model_asks_for_is_refused_before_it_is_made(
    file: str, change: dict[str, Any], copied: Path, no_network: None
) -> None:
    config = json.loads((copied / file).read_text())
    (copied / file).write_text(json.dumps(config | change))
    with pytest.raises(WeightsCorrupt):
        FacePipeline.from_pretrained(copied)


def test_the_bundled_model_passes() -> None:
    folder = catalog.resolve("nano")
    assert model_config.require_index(folder) == ["scheduler", "text_encoder", "tokenizer", "unet", "vae"]
    model_config.require_configs(folder)
    model_folder.require_text_fits(folder)


def test_a_name_too_long_for_any_disk_is_one_error() -> None:
    with pytest.raises(PersonaeError):
        catalog.resolve("./" + "n" * 300)
    with pytest.raises(WeightsMissing):
        catalog.resolve("a/" + "n" * 300 + "/c")
