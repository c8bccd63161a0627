"""The pipeline beside a bare loop over the same networks: the same images, so that their times may be compared."""

import shutil
from pathlib import Path

import diffusers
import pytest
import torch
import typer

import personae
from personae.evaluation.suites import overhead
from personae.pipeline import FacePipeline


def test_the_bare_loop_generates_the_same_images(sd15_like: FacePipeline) -> None:
    found = overhead.measure(sd15_like, images=2, steps=3, rounds=1)
    assert found["difference"] < 1e-5
    assert found["ratio"] == pytest.approx(found["pipeline_s"] / found["bare_s"])


def test_it_guides_away_from_what_the_model_guides_away_from(
    nano_like: FacePipeline, nano_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(nano_folder, tmp_path / "model", ignore=shutil.ignore_patterns("sha256.json"))
    weaker = diffusers.UNet2DConditionModel.from_config(nano_like.unet.config)
    weaker.save_pretrained(folder / "autoguidance")
    pipe = personae.load(folder, device="cpu", torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = diffusers.DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)
    assert overhead.measure(pipe, images=2, steps=3, rounds=1)["difference"] < 1e-5


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
