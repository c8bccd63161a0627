"""A whole tiny model folder, reader and random people included: what the command line and the files are tested on.

Everything in it is real and random; its "photos" are white rectangles, which the tiny reader takes for faces.
"""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import WIDTH, nano_parts
from personae.gather import PEOPLE
from personae.identity import IdentitySampler
from personae.models import catalog
from personae.pipeline import FacePipeline
from personae.reading.reader import FaceReader
from reading_fixtures import tiny_reader_folder, white_face


def tiny_model_folder(folder: Path) -> Path:
    """Write the model below `folder`; returns its place."""
    tiny_reader_folder(folder / "made")
    reader = FaceReader.from_folder(folder / "made" / "reader")
    model = folder / "tiny"
    FacePipeline(**nano_parts(), reader=reader, steps=2).save_pretrained(model)
    rows = np.random.default_rng(0).standard_normal((200, WIDTH))
    IdentitySampler.fit(rows / np.linalg.norm(rows, axis=1, keepdims=True), reader.space).save(model / PEOPLE)
    catalog.seal(model)
    return model


def face_photo(path: Path, *, left: int = 20) -> Path:
    """A picture with one "face", which starts at column `left`."""
    grey = np.full((160, 320, 3), 90, np.uint8)
    grey[:, :, 1] = np.arange(320) // 4
    Image.fromarray(white_face(grey, left, 30, left + 90, 130)).save(path)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model; never written to: copy it to change it."""
    return tiny_model_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """`me.png` in the test's own folder."""
    return face_photo(tmp_path / "me.png")


def empty_photo(path: Path) -> Path:
    """A picture without a "face"."""
    Image.fromarray(np.full((160, 320, 3), 90, np.uint8)).save(path)
    return path
