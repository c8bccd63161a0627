"""Names become folders, wrong names get an answer, and changed files are noticed."""

from pathlib import Path

import pytest

from personae.errors import BadOption, WeightsCorrupt, WeightsMissing
from personae.models import catalog


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "unet").mkdir()
    (tmp_path / catalog.INDEX).write_text("{}")
    (tmp_path / "unet" / "weights.safetensors").write_bytes(b"numbers")
    return tmp_path


def test_every_entry_says_where_it_is_from_and_under_which_licence() -> None:
    for name, model in catalog.MODELS.items():
        assert (model.name, bool(model.source), bool(model.licence)) == (name, True, True)


def test_a_folder_is_its_own_place(folder: Path) -> None:
    assert catalog.resolve(folder) == catalog.resolve(str(folder)) == folder


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(BadOption, match="'nanno': did you mean 'nano'"):
        catalog.resolve("nanno")


def test_a_missing_path_and_a_folder_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match="no model folder"):
        catalog.resolve(tmp_path / "nowhere")
    with pytest.raises(WeightsMissing, match=catalog.INDEX):
        catalog.resolve(tmp_path)


def test_a_sealed_folder_is_held_to_its_hashes(folder: Path) -> None:
    catalog.verify(folder)  # no promise yet
    catalog.seal(folder)
    before = catalog.fingerprint(folder)
    catalog.verify(folder)
    (folder / "unet" / "weights.safetensors").write_bytes(b"numbeRs")
    with pytest.raises(WeightsCorrupt, match=r"weights\.safetensors"):
        catalog.verify(folder)
    assert catalog.fingerprint(folder) != before


def test_a_missing_file_and_a_broken_promise_are_corrupt(folder: Path) -> None:
    catalog.seal(folder)
    (folder / "unet" / "weights.safetensors").unlink()
    with pytest.raises(WeightsCorrupt, match=r"weights\.safetensors"):
        catalog.verify(folder)
    (folder / catalog.MANIFEST).write_text("[")
    with pytest.raises(WeightsCorrupt, match=catalog.MANIFEST):
        catalog.verify(folder)
