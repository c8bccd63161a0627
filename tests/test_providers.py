"""Where a reader's networks compute: on the device of its pipeline, as far as onnxruntime has something for it."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from personae.reading import session
from personae.reading.reader import FaceReader
from personae.reading.session import CPU, CUDA, Session, providers_for
from reading_fixtures import tiny_reader_folder

WITH_GPU = ["TensorrtExecutionProvider", CUDA, CPU]  # onnxruntime-gpu's
WITHOUT = ["AzureExecutionProvider", CPU]


@pytest.mark.parametrize(
    ("device", "offered", "expected"),
    [
        ("cuda", WITH_GPU, [(CUDA, 0), CPU]),
        ("cuda:1", WITH_GPU, [(CUDA, 1), CPU]),
        ("cuda", WITHOUT, [CPU]),
        ("cpu", WITH_GPU, [CPU]),
        ("mps", WITH_GPU, [CPU]),
    ],
)
def test_a_cuda_device_is_used_where_onnxruntime_offers_it(device, offered, expected) -> None:
    found = [(one[0], one[1]["device_id"]) if isinstance(one, tuple) else one for one in providers_for(device, offered)]
    assert found == expected


def test_a_session_is_opened_anew_only_for_other_providers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: WITH_GPU)
    opened: list[list[session.Provider]] = []
    moving = Session(opened.append)
    for device in ("cpu", "cuda", "cuda:0", "cpu"):
        moving.to(device)
    assert opened == [[CPU], providers_for("cuda", WITH_GPU), [CPU]]


def test_a_whole_reader_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What each network is opened with; the real onnxruntime of this machine computes on."""
    tiny_reader_folder(tmp_path)
    reader = FaceReader.from_folder(tmp_path / "reader")
    pixels = np.random.default_rng(0).integers(0, 256, (1, reader.embedder.size, reader.embedder.size, 3), np.uint8)
    before = reader.embedder.embed(pixels)
    opened, real = [], onnxruntime.InferenceSession

    def watched(content: bytes, options: object, *, providers: list, **more: object) -> object:
        opened.append(providers)
        return real(content, options, providers=[CPU], **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", watched)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: WITH_GPU)
    assert reader.to("cuda:1") is reader
    assert opened == [providers_for("cuda:1", WITH_GPU)] * 3
    np.testing.assert_array_equal(reader.embedder.embed(pixels), before)
