"""The benchmarks of speed, rehearsed on tiny networks: that they measure, and write what the documents can draw."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from conftest import WIDTH, nano_parts, tiny_tokenizer
from personae.evaluation import tables
from personae.evaluation.judge import Judge, JudgeSpec
from personae.evaluation.people import Person
from personae.evaluation.random_networks import TINY
from personae.evaluation.subjects import Subject
from personae.evaluation.suites import compare, modes, steering
from personae.pipeline import FacePipeline
from personae.types import BLENDSHAPES, Detection, Face, Identity, Motion, Photo, Pose
from test_evaluation_report import judge_file

CPU = torch.device("cpu")
POINTS = np.array([[10, 12], [22, 12], [16, 18], [12, 24], [20, 24]], np.float32)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def report(words: Path) -> dict:
    return compare.compare(compare.sides(TINY, words, CPU, 3, False), batches=[1], repeats=1, peak_side=128)


def test_everyone_is_compared_with_the_readmes_recipe(report: dict) -> None:
    assert set(report["groups"]) == {"25 guided steps, batch 1", "4 LCM steps, batch 1"}
    for work, rows in report["groups"].items():
        plain, *others = rows
        assert plain == "diffusers float32"
        assert {"exact", "balanced", "fast"} <= {name.split()[1] for name in others}
        assert rows[plain]["speedup"]["value"] == 1
        for row in rows.values():
            ratio = rows[plain]["seconds"]["value"] / row["seconds"]["value"]
            assert row["speedup"]["value"] == pytest.approx(ratio, abs=1e-2)
        assert {row["memory"]["value"] is None for row in rows.values()} == {"LCM" in work}
    guided = report["groups"]["25 guided steps, batch 1"]
    peaks = [row["memory"]["value"] for row in guided.values()]
    assert all(0.2 < peak < 4 for peak in peaks)
    assert report["figures"]["memory_share"]["value"] == pytest.approx(peaks[-3] / peaks[0], abs=1e-3)


def test_a_benchmark_becomes_a_table(report: dict) -> None:
    text = tables.markdown(report)
    assert "3 steps were timed and scaled up to 25" in text
    assert "| personae balanced (" in text
    assert "TINY" in text  # a rehearsal's figures cannot pass for real ones


def test_arithmetic_is_counted_not_assumed(tmp_path: Path, words: Path) -> None:
    """Half of the calls unguided and cached: `exact` does more than `balanced`, one image of LCM-4 a 12th of 25 x 2."""
    with torch.no_grad():
        sides = compare.sides(TINY, words, CPU, None, False)
        guided, lcm = compare.works([1])
        exact, balanced = (side.runner(tmp_path) for side in sides if side.mode in ("exact", "balanced"))
        full, few, saved = exact.flop(guided), exact.flop(lcm), balanced.flop(guided)
    assert saved < full
    assert few < full / 6


@pytest.fixture
def pipe() -> FacePipeline:
    made = FacePipeline(**nano_parts(), identity_width=WIDTH)
    made.set_progress_bar_config(disable=True)
    return made


def two_people(photos: np.ndarray | None = None) -> list[Subject]:
    """Noise for photos (2, 32, 32, 3), unless there are others."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    photos = noise if photos is None else photos
    found = Detection(box=np.array([4, 4, 28, 28], np.float32), points=POINTS, score=1.0)
    return [
        Subject(
            person=Person(key=str(n), photo=Photo(pixels=photos[n]), groups={}),
            face=Face(detection=found, identity=Identity(vector=rng.standard_normal(WIDTH), space="unnamed")),
        )
        for n in range(2)
    ]


def test_what_a_speed_costs_is_measured_against_exact(pipe: FacePipeline, tmp_path: Path) -> None:
    judge = Judge(JudgeSpec(path=str(judge_file(tmp_path / "judge.onnx"))))
    people = two_people()
    speeds = {name: modes.SPEEDS[name] for name in ("exact", "balanced", "fast")}
    report = modes.compare(pipe, people, judge, lambda _: POINTS, images_per_person=1, steps=10, speeds=speeds)
    rows = report["groups"]["speed"]
    assert rows["exact"]["loss"]["value"] == rows["exact"]["pixels"]["value"] == 0
    assert rows["exact"]["same"]["value"] == pytest.approx(1)
    assert rows["balanced"]["pixels"]["value"] > 0
    assert report["figures"]["balanced_loss"] == rows["balanced"]["loss"]
    assert "| balanced | 2 |" in tables.markdown(report)


def test_steering_is_measured_where_there_are_adapters(
    pipe: FacePipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = Judge(JudgeSpec(path=str(judge_file(tmp_path / "judge.onnx"))))
    shapes = np.zeros(52, np.float32)
    shapes[[BLENDSHAPES.index("mouthSmileLeft"), BLENDSHAPES.index("jawOpen")]] = 1.0, 0.25
    motion = Motion(landmarks=np.zeros((478, 3), np.float32), pose=Pose(yaw=7, pitch=-3, roll=0), blendshapes=shapes)
    bench = steering.Bench(pipe, two_people(), judge, lambda _: POINTS, lambda _: motion)
    monkeypatch.setattr(steering, "time", SimpleNamespace(perf_counter=iter((10.0, 14.0)).__next__))
    posed, expressed, few = bench.pose(None), bench.expression(None), bench.few({})
    assert (posed["yaw"].value, posed["pitch"].value) == (7, -3)
    assert (expressed["smile"].value, expressed["jawOpen"].value, expressed["eyeBlink"].value) == (0.5, 0.25, 0)
    assert few["likeness"].value == pytest.approx(posed["likeness"].value)  # the same seeds
    assert few["seconds"].value == 2  # of each of two images
    report = steering.measure(bench)
    assert report["groups"] == {}  # this model has no adapters
    report["groups"] = {"pose": {"nothing": {name: one.as_json() for name, one in posed.items()}}}
    assert "| nothing | 2 | 7" in tables.markdown(report)
    assert "| figure |" not in tables.markdown(report)  # it has none of its own


def test_a_look_is_judged_by_the_colour_of_the_next_photo(pipe: FacePipeline, tmp_path: Path) -> None:
    judge = Judge(JudgeSpec(path=str(judge_file(tmp_path / "judge.onnx"))))
    black = two_people(np.zeros((2, 32, 32, 3), np.uint8))
    found = steering.Bench(pipe, black, judge, lambda _: POINTS, lambda _: None).look(None)["colour"]
    images = [pipe(one.face, seed=row, measure_likeness=False).images[0] for row, one in enumerate(black)]
    assert found.value == pytest.approx(np.mean([np.asarray(image).mean() for image in images]), rel=1e-6)


def test_costs_count_missing_faces_as_no_likeness() -> None:
    real = np.eye(4)[:2]
    exact = np.stack([real, real], 1)  # (2, 2, 4): two images each, all perfect
    seen = exact.copy()
    seen[0, 0] = np.nan
    images = np.zeros((2, 2, 3, 3, 3), np.uint8)
    costs = modes.costs(real, images, exact, images + np.uint8(51), seen)
    assert costs["likeness"].value == pytest.approx(0.75)
    assert costs["loss"].value == pytest.approx(0.25)
    assert costs["pixels"].value == pytest.approx(0.2)
    assert costs["same"].value == pytest.approx(1)
