"""The pipeline beside a bare loop over the same networks: the same images, so that their times may be compared."""

import pytest
import typer

from personae.evaluation.suites import overhead
from personae.pipeline import FacePipeline


def test_the_bare_loop_generates_the_same_images(sd15_like: FacePipeline) -> None:
    found = overhead.measure(sd15_like, images=2, steps=3, rounds=1)
    assert found["difference"] < 1e-5
    assert found["ratio"] == pytest.approx(found["pipeline_s"] / found["bare_s"])


def test_the_limit_is_the_exit_code(
    sd15_like: FacePipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {"pipeline_s": 1.2, "bare_s": 1.0, "ratio": 1.2, "difference": 0.0}
    monkeypatch.setattr(overhead, "load", lambda name, torch_dtype: sd15_like)
    monkeypatch.setattr(overhead, "measure", lambda pipe, **options: found)
    overhead.main("nano", images=1, steps=2, rounds=1, limit=1.2)
    assert "ratio 1.200 (limit 1.2)" in capsys.readouterr().out
    with pytest.raises(typer.Exit) as stopped:
        overhead.main("nano", images=1, steps=2, rounds=1, limit=1.19)
    assert stopped.value.exit_code == 1
