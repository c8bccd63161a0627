"""Suites of measurements: each is found by its name, has options of its own, and measures what it says."""

import inspect
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from personae.cli import app as program
from personae.cli import evaluate as verb
from personae.errors import BadData, BadOption, BadOutput
from personae.evaluation import report, suites
from personae.evaluation.measures import KINDS
from personae.evaluation.suites import finding, generation, precision, reading, speed, startup
from personae.pipeline import FacePipeline
from personae.types import Array, Face, Identity
from test_evaluation_report import judge_file, people_folder

OWN = {"generation", "reading"}  # the suites that `personae evaluate` runs by itself
FOLDER = Path(suites.__file__).parent


def answer(*words: str) -> str:
    """What `personae evaluate` prints."""
    result = CliRunner().invoke(program.app, ["evaluate", *words], env={"COLUMNS": "200"})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def test_every_module_of_the_folder_is_a_suite_and_every_suite_a_module() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} - {"__init__"} == set(suites.SUITES)
    for name in set(suites.SUITES) - OWN:
        assert inspect.signature(suites.main_of(name)).parameters


@pytest.mark.parametrize("name", sorted(set(suites.SUITES) - OWN))
def test_a_suite_has_its_own_options_behind_the_verb(name: str) -> None:
    text = answer("--suite", name, "--help")
    assert f"evaluate --suite {name}" in text
    for option in inspect.signature(suites.main_of(name)).parameters:
        assert option.replace("_", "-") in text.lower(), option
    assert text == answer(f"--suite={name}", "--help")
    assert "--finder" not in text  # an option of the verb itself


def test_the_verb_itself_says_which_suites_there_are() -> None:
    text = answer("--help")
    assert all(name in text for name in suites.SUITES)
    assert "--finder" in text
    assert "--finder" in answer("--suite", "reading", "--help")


def test_an_unknown_suite_is_answered_with_the_names_that_there_are() -> None:
    with pytest.raises(BadOption, match=r"unknown suite 'zzz': choose one of angles, animate, .*, steering"):
        answer("--suite", "zzz")
    with pytest.raises(BadOption, match="did you mean 'editing'"):
        suites.main_of("edting")


@pytest.mark.parametrize("function", [generation.evaluate, reading.evaluate_reader])
def test_the_verb_and_its_functions_have_the_same_defaults(function) -> None:
    typed, own = (inspect.signature(one).parameters for one in (verb.evaluate, function))
    shared = typed.keys() & own.keys()
    assert {"source", "out", "seed"} <= shared
    assert {"judge", "finder"} <= shared or function is reading.evaluate_reader
    for name in shared - {"out"}:  # a command writes its report, a function returns it
        assert typed[name].default == own[name].default, name


# ---------------------------------------------------------------------- reports


def test_a_report_is_published_or_says_why_it_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = report.assemble(kind="startup", subject="a against b", settings={}, figures={}, caveats=[None, "slow"])
    assert found["caveats"] == ["slow"]
    assert "groups" not in found
    report.publish(found, tmp_path / "new" / "startup.json")
    assert '"slow"' in (tmp_path / "new" / "startup.json").read_text()
    assert "- slow" in capsys.readouterr().out
    (tmp_path / "file").write_text("")
    with pytest.raises(BadOutput, match="cannot be written"):
        report.publish(found, tmp_path / "file" / "startup.json")


@pytest.mark.parametrize(
    ("suite", "options", "text"),
    [
        ("modes", ("--steps", "9"), "**fast_loss**"),
        ("likeness_guidance", ("--steps", "2", "--strengths", "0,0.1"), "**gain_halved**"),
    ],
)
def test_a_suite_measures_a_model_and_writes_its_report(
    suite: str, options: tuple[str, ...], text: str, nano_folder: Path, tmp_path: Path
) -> None:
    cache, judge = people_folder(tmp_path / "cache", count=3), judge_file(tmp_path / "judge.onnx")
    common = ("--people", "2", "--images-per-person", "1", "--source", str(cache), "--judge", str(judge))
    printed = answer("--suite", suite, str(nano_folder), *common, *options, "-o", str(tmp_path / "report.json"))
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["kind"] == suite
    assert found["settings"]["people"] == 2
    assert text in printed


# ---------------------------------------------------------------------- startup, speed


def checkout(folder: Path, seconds: float, code: int = 0) -> Path:
    """A checkout whose personae does nothing but take its time."""
    package = folder / "src" / "personae"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(f"import sys, time\ntime.sleep({seconds})\nsys.exit({code})\n")
    return folder


def test_startup_is_the_median_ratio_of_alternating_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here, other = (startup.sources_of(checkout(tmp_path / name, s)) for name, s in (("slow", 1.5), ("quick", 0)))
    found = startup.measure(here, other, pairs=2)
    assert set(found["figures"]) == set(KINDS["startup"])
    figures = {name: one["value"] for name, one in found["figures"].items()}
    assert figures["seconds"] > 1.5
    assert figures["ratio"] > 1.2
    assert found["figures"]["ratio"]["n"] == 2
    order = [line.split(":")[1].strip() for line in capsys.readouterr().err.splitlines()]
    assert order == ["quick", "slow", "slow", "quick", "quick", "slow"]  # the first pair warms up


def test_startup_refuses_what_it_cannot_compare(tmp_path: Path) -> None:
    with pytest.raises(BadOption, match=r"no src/personae/__init__\.py"):
        startup.sources_of(tmp_path)
    broken = startup.sources_of(checkout(tmp_path / "broken", 0, code=3))
    with pytest.raises(BadData, match="failed with exit code 3"):
        startup.measure(broken, broken, pairs=1)


def test_reading_is_timed_in_a_process_of_its_own(tmp_path: Path) -> None:
    found = speed.reading_ms("nano", speed.portrait(tmp_path), 2)
    assert found.n == 2
    assert found.value > 1


# ---------------------------------------------------------------------- precision, finding


def test_two_precisions_are_compared_on_the_same_seeds(nano_like: FacePipeline) -> None:
    lines = precision.measure({torch.float32: nano_like, torch.bfloat16: nano_like}, people=2, steps=2)
    assert lines[0].startswith("torch.float32: ")
    assert "loses +0.0000 of likeness" in lines[2] or "nan" in lines[2]
    assert lines[3] == "drift: mean 0.00, largest 0 of 255"  # one pipeline in both places


class Blind:
    """A reader that finds no face, and recognises everybody."""

    def read(self, pixels: Array, **_: bool) -> list[Face]:
        return []

    def identify(self, pictures: list[Array]) -> list[Identity]:
        return [Identity(vector=np.eye(4, dtype=np.float32)[0], space="a/b/c") for _ in pictures]


def test_finding_counts_beside_the_labelling_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "_SIZES", ((20, (64, 48)),))
    monkeypatch.setattr(finding, "_SHEETS", ((3, 16, 2),))
    photo = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    box = np.array([[10, 10, 30, 30]], np.float32)
    lines = finding.measure(Blind(), lambda _: box, [photo] * 3, count=2)  # type: ignore[arg-type]
    assert lines[0].startswith("20 px in 64 x 48: 0 of 2, YuNet ")
    assert lines[1] == "sheet of 3: 0, YuNet 1"
    assert lines[2:] == [f"tilt {tilt}: median 1.000, at least 0.9: 100%" for tilt in range(0, 360, 15)]
