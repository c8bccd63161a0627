"""Tiny models of both families with a random projector in `face_tokens/`, whose faces are plain to see."""

from pathlib import Path

import pytest
import torch

from conftest import WIDTH, nano_parts, sd15_parts
from personae.conditioning.face0 import FaceTokens, Sizes
from personae.pipeline import FacePipeline
from personae.reading.reader import FaceReader
from reading_fixtures import tiny_reader_folder

FAMILIES = {"nano": nano_parts, "sd15": sd15_parts}
TOKENS = 3
FREE = 16 - TOKENS  # of the tiny tokenizers' positions


def random_tokens(features: int, *, pooled: bool, space: str = "random/test/0") -> FaceTokens:
    """A projector whose vectors are as large as the text encoder's own."""
    torch.manual_seed(3)
    network = FaceTokens(
        Sizes(features=features, text_width=WIDTH, tokens=TOKENS, layers=3, width=32, pooled=pooled), space
    )
    with torch.no_grad():
        for head in network.heads:
            head[-1].weight *= 12
    return network


def telling(kind: str, folder: Path) -> FacePipeline:
    """A model with `face_tokens/`, read back from `folder`; of nano's kind with a reader, whose identities it takes."""
    options = {"identity_space": "random/test/0", "identity_width": 16}
    if kind == "nano":
        tiny_reader_folder(folder / "made")
        options = {"reader": FaceReader.from_folder(folder / "made" / "reader", threads=1)}
    model = FacePipeline(**FAMILIES[kind](), steps=4, **options)
    model.save_pretrained(folder / "model")
    tokens = random_tokens(model.config.identity_width, pooled=kind == "nano", space=model.config.identity_space)
    tokens.save(folder / "model" / "face_tokens")
    (folder / "model" / "sha256.json").unlink()
    pipe = FacePipeline.from_pretrained(folder / "model")
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module", params=["nano", "sd15"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FacePipeline:
    """Each of the two families in turn."""
    return telling(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> FacePipeline:
    """One of them, in place of the bundled model."""
    return telling("nano", tmp_path_factory.mktemp("nano"))
