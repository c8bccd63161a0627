"""The pipeline beside a bare loop over the same networks: the same images, so that their times may be compared."""

import pytest
import typer

from personae.evaluation.suites import overhead
from personae.pipeline import FacePipeline


def test_the_bare_loop_generates_the_same_images(sd15_like: FacePipeline) -> None:
    found = overhead.measure(sd15_like, images=2, steps=3, rounds=1)
    assert found["difference"] < 1e-5
    assert found["ratio"] == pytest.approx(found["pipeline_s"] / found["bare_s"])


@pytest.mark.parametrize(("ratio", "code"), [(1.2, 1), (1.1, 0)])
def test_the_limit_is_the_exit_code(
    nano_like: FacePipeline,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ratio: float,
    code: int,
) -> None:
    found = {"pipeline_s": ratio, "bare_s": 1.0, "ratio": ratio, "difference": 0.0}
    monkeypatch.setattr(overhead, "load", lambda name, torch_dtype: nano_like)
    monkeypatch.setattr(overhead, "measure", lambda pipe, **options: found)
    try:
        overhead.main("nano", images=1, steps=2, rounds=1, limit=1.15)
    except typer.Exit as stopped:
        assert (stopped.exit_code, code) == (1, 1)
    else:
        assert code == 0
    assert f"ratio {ratio:.3f} (limit 1.15)" in capsys.readouterr().out
