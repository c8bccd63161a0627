"""InsightFace's networks as Arc2Face needs them: the same numbers as its own code, and no guessing of files.

What needs the package is tried where it is installed; the rest always.
"""

import hashlib
import importlib.util
import json
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from personae.errors import LicenceRefused, PersonaeError, WeightsCorrupt, WeightsMissing
from personae.io import user_folders
from personae.models import catalog
from personae.models.official import layout
from personae.reading.insightface import InsightFaceReader
from personae.reading.onnx_file import file_sha256
from personae.reading.reader import FaceReader
from personae.reading.reader_folder import open_folder
from reading_fixtures import FACE, model_of
from test_reader import red_recogniser, scrfd
from tolerances import assert_same

installed = pytest.mark.skipif(importlib.util.find_spec("insightface") is None, reason="insightface is not installed")


def shy_scrfd(path: Path) -> Path:
    """SCRFD that sees a face in the middle of its canvas, but only if the picture is mostly black: a bright photo needs
    the widest margin for it."""
    scrfd(path)
    model = onnx.load(path)
    tables = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    to_middle = ((320 // 8 * 80 + 320 // 8) - (48 // 8 * 80 + 64 // 8)) * 2  # rows of the finest stride
    tables = {n: np.roll(t, to_middle, axis=0) if n.endswith("_8_table") else t for n, t in tables.items()}
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[0, 1, 2, 3], keepdims=0),
        helper.make_node("Less", ["mean", "dark"], ["is_dark"]),
        helper.make_node("Cast", ["is_dark"], ["shown"], to=onnx.TensorProto.FLOAT),
    ]
    results = []
    for output in model.graph.output:
        nodes.append(helper.make_node("Mul", [f"{output.name}_table", "shown"], [output.name]))
        results.append((output.name, [dim.dim_value for dim in output.type.tensor_type.shape.dim]))
    tables |= {"dark": np.float32(-0.5)}
    onnx.save(model_of(nodes, ("image", [1, 3, 640, 640]), results, tables), path)
    return path


def opened(folder: Path, detector: Path) -> InsightFaceReader:
    recogniser = red_recogniser(folder / "arcface.onnx")
    return layout.insightface_reader(
        detector=detector,
        detector_sha256=file_sha256(detector),
        recogniser=recogniser,
        recogniser_sha256=file_sha256(recogniser),
        name="rgb",
        motion=catalog.resolve("nano") / "reader",
        threads=1,
    )


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (320, 320, 3)).astype(np.uint8)


@installed
def test_an_identity_equals_insightfaces_own(tmp_path: Path, picture: np.ndarray) -> None:
    from insightface.model_zoo import get_model
    from insightface.utils import face_align

    reader = opened(tmp_path, scrfd(tmp_path / "scrfd.onnx"))
    face = reader.read(picture)[0]
    detector = get_model(str(tmp_path / "scrfd.onnx"), providers=["CPUExecutionProvider"])
    detector.prepare(-1, input_size=(640, 640), det_thresh=0.5)
    boxes, points = detector.detect(picture[:, :, ::-1])
    recogniser = get_model(str(tmp_path / "arcface.onnx"), providers=["CPUExecutionProvider"])
    vector = recogniser.get_feat(face_align.norm_crop(picture[:, :, ::-1], points[0], 112)).ravel()
    np.testing.assert_allclose(face.detection.points, points[0], atol=1e-4)
    np.testing.assert_allclose(face.detection.box, boxes[0, :4], atol=1e-4)
    assert_same(face.identity.vector, vector / np.linalg.norm(vector))
    assert face.motion is not None  # from the bundled reader: pose and expression, which InsightFace lacks


@installed
def test_a_tight_crop_is_looked_at_again_within_a_margin(tmp_path: Path) -> None:
    reader = opened(tmp_path, shy_scrfd(tmp_path / "scrfd.onnx"))
    bright = np.full((320, 320, 3), 255, np.uint8)
    assert len(reader.detector._look(bright)) == 0
    (face,) = reader.detector.detect(bright)
    # 24 px to each side on a canvas of 640, which shows 960 px of photo and margin.
    np.testing.assert_allclose(face.box, (124, 124, 196, 196), atol=1)
    np.testing.assert_allclose(face.points, 160 + (FACE - 0.5) * 72, atol=1)


@installed
def test_a_saved_reader_comes_back(tmp_path: Path, picture: np.ndarray) -> None:
    reader = opened(tmp_path, scrfd(tmp_path / "scrfd.onnx"))
    reader.save(tmp_path / "saved")
    again = open_folder(tmp_path / "saved", threads=1)
    assert isinstance(again, InsightFaceReader)
    assert again.space == reader.space
    np.testing.assert_array_equal(again.read(picture)[0].identity.vector, reader.read(picture)[0].identity.vector)
    (tmp_path / "saved" / "recogniser.onnx").write_bytes(b"another")
    with pytest.raises(WeightsCorrupt, match="sha256"):
        open_folder(tmp_path / "saved")


@installed
def test_a_published_folder_reads_with_its_own_two_networks(
    tmp_path: Path, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = tmp_path / "antelopev2" / "antelopev2"
    pack.mkdir(parents=True)
    red_recogniser(tmp_path / "arcface.onnx")
    (pack / "glintr100.onnx").write_bytes(b"must not be taken")
    monkeypatch.setattr(layout, "DETECTOR_SHA256", file_sha256(scrfd(pack / "scrfd_10g_bnkps.onnx")))
    monkeypatch.setenv("PERSONAE_CONFIG", str(tmp_path / "config"))
    found = layout.Layout(
        folder=tmp_path, base=tmp_path, recogniser=tmp_path / "arcface.onnx", detector=pack / "scrfd_10g_bnkps.onnx"
    )
    with pytest.raises(LicenceRefused, match="non-commercial"):
        found.reader()
    reader = found.reader(accept_licence=True, threads=1)
    assert reader.space == found.space()
    assert reader.read(picture)[0].identity.space == found.space()
    assert user_folders.config_folder() == tmp_path / "config"


def test_the_folder_of_another_library_without_its_config(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"reader\.json: no such file"):
        open_folder(tmp_path)
    (tmp_path / "reader.json").write_text(json.dumps({"library": "insightface"}))
    with pytest.raises(WeightsCorrupt, match="not a reader's config"):
        open_folder(tmp_path)
    assert type(open_folder(catalog.resolve("nano") / "reader")) is FaceReader


@pytest.mark.parametrize("place", [".", "antelopev2", "antelopev2/antelopev2", "models/antelopev2/antelopev2"])
def test_the_detector_is_found_by_name_however_the_zip_was_unpacked(place: str, tmp_path: Path) -> None:
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    (tmp_path / place / "scrfd_10g_bnkps.onnx").write_bytes(b"detector")
    (tmp_path / place / "glintr100.onnx").write_bytes(b"never a recogniser")
    assert layout._detector(tmp_path).resolve() == (tmp_path / place / "scrfd_10g_bnkps.onnx").resolve()
    assert layout._first(tmp_path, layout._PACKS, "arcface.onnx") is None


def test_the_detector_is_taken_out_of_the_zip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "nobody")
    assert layout._detector(tmp_path) is None
    monkeypatch.setattr(layout, "DETECTOR_SHA256", hashlib.sha256(b"detector").hexdigest())
    with zipfile.ZipFile(tmp_path / "antelopev2.zip", "w") as pack:
        pack.writestr("antelopev2/scrfd_10g_bnkps.onnx", b"detector")
        pack.writestr("antelopev2/glintr100.onnx", b"recogniser of another space")
    assert layout._detector(tmp_path).read_bytes() == b"detector"
    assert [path.name for path in (tmp_path / "antelopev2").iterdir()] == ["scrfd_10g_bnkps.onnx"]
    (tmp_path / "antelopev2" / "scrfd_10g_bnkps.onnx").unlink()
    (tmp_path / "antelopev2.zip").write_bytes(b"half a zip")
    with pytest.raises(WeightsCorrupt, match="no zip file that can be read"):
        layout._detector(tmp_path)


@pytest.mark.skipif(importlib.util.find_spec("insightface") is not None, reason="insightface is installed")
def test_without_the_package_the_extra_is_named(tmp_path: Path) -> None:
    with pytest.raises(PersonaeError, match=r"personae\[insightface\]"):
        opened(tmp_path, scrfd(tmp_path / "scrfd.onnx"))
