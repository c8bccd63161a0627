"""The benchmarks of speed, rehearsed on tiny networks: that they measure, and write what the documents can draw."""

import multiprocessing
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from conftest import WIDTH, nano_parts, tiny_tokenizer
from personae.errors import BadOption
from personae.evaluation import compared_sides, machine, measures, tables
from personae.evaluation.compared_sides import Run, Side, Work
from personae.evaluation.estimate import Estimate
from personae.evaluation.judge import Judge, JudgeSpec
from personae.evaluation.people import Person
from personae.evaluation.random_networks import TINY
from personae.evaluation.subjects import Subject
from personae.evaluation.suites import compare, modes, steering
from personae.evaluation.suites.compare import Plan
from personae.pipeline import FacePipeline
from personae.types import BLENDSHAPES, Detection, Face, Identity, Motion, Photo, Pose
from test_evaluation_report import judge_file

CPU = torch.device("cpu")
POINTS = np.array([[10, 12], [22, 12], [16, 18], [12, 24], [20, 24]], np.float32)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of tiny random networks, as all sides load it."""
    words, folder = tmp_path_factory.mktemp("tokenizer"), tmp_path_factory.mktemp("weights") / "model"
    tiny_tokenizer().save_pretrained(words)
    compared_sides.write(TINY, words, folder)
    return folder


@pytest.fixture(scope="module")
def reports(weights: Path) -> list[dict]:
    """One after each run, and the finished one; of processes that are alive one at a time."""
    those = compared_sides.sides(weights, CPU, timed=3, compile=False)
    found: list[dict] = []
    plan = Plan(batches=[1], repeats=1, together=False, why="one process alive at a time", peak_side=128)
    report = compare.compare(those, plan, subject="random weights of TINY size", save=found.append)
    return [*found, report]


def test_everyone_is_compared_with_the_readmes_recipe(reports: list[dict]) -> None:
    report = reports[-1]
    assert set(report["groups"]) == {"25 guided steps, batch 1", "4 LCM steps, batch 1"}
    for work, rows in report["groups"].items():
        plain, *others = rows
        assert plain == "diffusers float32"
        assert {"exact", "balanced", "fast"} <= {name.split()[1] for name in others}
        assert rows[plain]["speedup"]["value"] == 1
        for name, row in rows.items():
            ratio = rows[plain]["seconds"]["value"] / row["seconds"]["value"]
            assert row["speedup"]["value"] == pytest.approx(ratio, abs=1e-2)
            assert row["peak"]["value"] > 0, name
        assert {row["memory"]["value"] is None for row in rows.values()} == {"LCM" in work}
    guided = report["groups"]["25 guided steps, batch 1"]
    peaks = [row["memory"]["value"] for row in guided.values()]
    assert all(0.2 < peak < 4 for peak in peaks)
    figures = report["figures"]
    if "float32" in list(guided)[-1]:
        assert report["kind"] == "compare_float32"
        assert 0 < figures["memory_beside"]["value"] < peaks[-3]
    else:
        assert report["kind"] in ("compare_amx", "compare_avx512")
        assert figures["memory_share"]["value"] == pytest.approx(peaks[-3] / peaks[0], abs=1e-3)


@pytest.mark.parametrize("amx", [True, False])
def test_each_family_of_processors_has_bars_of_its_own(
    weights: Path, monkeypatch: pytest.MonkeyPatch, *, amx: bool
) -> None:
    monkeypatch.setattr(machine, "has_amx", lambda: amx)
    one = compared_sides.sides(weights, CPU, timed=None, compile=False)[-1]
    kinds = {dtype: compare.kind_of([replace(one, dtype=dtype)]) for dtype in ("float32", "bfloat16")}
    assert kinds == {"float32": "compare_float32", "bfloat16": "compare_amx" if amx else "compare_avx512"}
    gpu = compare.kind_of([replace(one, device="cuda")])
    bars = [measures.measure_of(kind, "exact_speedup").bars for kind in kinds.values()]
    assert len(set(bars)) == 2
    assert "exact_speedup" not in measures.measures_of(gpu)
    # A network in half the precision takes half the memory.
    half, whole = (compare.weights_gib(replace(one, dtype=dtype)) for dtype in ("bfloat16", "float32"))
    assert half == pytest.approx(whole / 2)


def test_what_there_is_is_written_after_each_run(reports: list[dict]) -> None:
    counts = [sum(len(rows) for rows in report["groups"].values()) for report in reports]
    assert counts == [*range(1, len(reports)), len(reports) - 1]
    assert "balanced_speedup" not in reports[0]["figures"]
    for report in reports:
        assert tables.markdown(report)


def test_a_benchmark_becomes_a_table(reports: list[dict]) -> None:
    text = tables.markdown(reports[-1])
    assert "3 steps were timed and scaled up to 25" in text
    assert "one process alive at a time" in text
    assert "| personae balanced (" in text
    assert "TINY" in text  # a rehearsal's figures cannot pass for real ones


def test_what_steps_alike_is_scaled_up(weights: Path) -> None:
    """Of three counted steps of exact, all 25 are made; nothing of `balanced`, whose steps differ."""
    guided, lcm = compared_sides.works([1])
    sides = {side.mode: side for side in compared_sides.sides(weights, CPU, timed=3, compile=False)}
    with torch.no_grad():
        whole = replace(sides["exact"], timed=None).runner().run(guided, counted=True)
        scaled = sides["exact"].runner().run(guided, counted=True)
        few = sides["exact"].runner().run(lcm, counted=True)
        balanced = sides["balanced"].runner().run(guided, counted=True)
    assert scaled.flop == pytest.approx(whole.flop, rel=1e-6)
    assert few.flop < whole.flop / 6
    assert balanced.flop < whole.flop
    assert np.isnan(sides[None].runner().run(lcm).flop)


def test_in_which_order_everyone_works(weights: Path) -> None:
    one, other, *_ = compared_sides.sides(weights, CPU, timed=None, compile=False)
    guided, lcm = compared_sides.works([2])

    def order(together: bool) -> list[tuple[str, Work]]:
        plan = Plan(batches=[2], repeats=4, together=together)
        return [(side.name, work) for side, work in compare.visits([one, other], plan)]

    turn = [(one.name, guided), (other.name, guided)]
    assert order(True) == turn * 2 + [(name, lcm) for name, _ in turn] * 2
    assert order(False) == [(name, work) for name in (one.name, other.name) for work in (guided, lcm)] * 2


def test_who_lives_together_is_decided_by_the_memory_that_is_free(weights: Path) -> None:
    those = compared_sides.sides(weights, CPU, timed=None, compile=False)
    enough, why = compare.plan_alive(those, 100 << 30)
    assert enough
    assert "8 GiB, 100 are free" in why
    short, why = compare.plan_alive(those, 4 << 30)
    assert not short
    assert "one process alive at a time" in why


def test_a_comparison_ends_in_time_with_what_it_has(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process is ended while it works."""
    plain, *_ = compared_sides.sides(weights, CPU, timed=2, compile=False)
    own, began = compared_sides.Apart.run, time.monotonic()

    def run(self: compared_sides.Apart, work: Work, *, counted: bool, limit: float | None) -> Run:
        assert limit is not None
        return own(self, work, counted=counted, limit=0 if work.lcm else limit)  # the guided run alone has time

    monkeypatch.setattr(compared_sides.Apart, "run", run)
    plan = Plan(batches=[1], repeats=1, minutes=5, peak_side=128)
    report = compare.compare([plain], plan, subject="TINY")
    assert time.monotonic() - began < 120
    assert list(report["groups"]) == ["25 guided steps, batch 1"]
    assert "out of time: 5 minutes were allowed" in report["caveats"][-1]
    assert not multiprocessing.active_children()


def test_what_is_compiled_comes_last_beside_exact_as_written(weights: Path) -> None:
    *others, last = compared_sides.sides(weights, CPU, timed=None, compile="max-autotune")
    assert (last.name, last.compile) == (f"{others[1].name}, compiled", "max-autotune")
    assert not any(side.compile for side in others)


def test_a_gpus_headline_is_its_largest_batch_and_the_better_exact(tmp_path: Path) -> None:
    those = [Side(name="diffusers float16", dtype="float16", mode=None, folder=tmp_path, device="cuda")]

    def row(seconds: float) -> dict[str, Estimate]:
        return {"seconds": Estimate(value=seconds, low=seconds, high=seconds, n=1)}

    rows = {
        "diffusers float16": row(9),
        "personae exact (bfloat16)": row(2),
        "personae exact (bfloat16), compiled": row(1),
    }
    groups = {"25 guided steps, batch 1": rows, "25 guided steps, batch 16": {"diffusers float16": row(9)}}
    assert compare._headlines(groups, those) == {}  # batch 16 has not come to exact
    groups["25 guided steps, batch 16"] = rows
    assert compare._headlines(groups, those)["guided_images_per_s"].value == 1


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


def test_speeds_are_measured_by_name_beside_the_readmes_recipe(tmp_path: Path) -> None:
    those = compared_sides.sides(tmp_path, CPU, timed=1, compile=False, modes=["fast"])
    assert [side.mode for side in those if side.mode] == ["fast"]
    assert those[0].name.startswith("diffusers float32")
    with pytest.raises(BadOption, match="balanced"):
        compare.main(tmp_path / "compare.json", speed=["balancd"])
