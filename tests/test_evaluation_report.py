"""Whole reports on tiny real models: nothing is dropped, nothing marks its own work, documents follow the JSON."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from PIL import Image

from personae.data import shards
from personae.errors import BadData, BadOption, WeightsMissing
from personae.evaluation import scenes, tables
from personae.evaluation.judge import Finder, Judge, JudgeSpec, judge_spec
from personae.evaluation.measures import KINDS
from personae.evaluation.people import held_out_people
from personae.evaluation.suites import generation
from personae.evaluation.suites.generation import evaluate
from personae.evaluation.suites.reading import evaluate_reader, match, overlap
from personae.pipeline import FacePipeline
from reading_fixtures import FACE, model_of, white_face
from training_fixtures import write_cache, write_people

BOX = np.array((20, 30, 120, 130), np.float32)


def judge_file(path: Path, batch: int | str = 1) -> Path:
    """A recogniser that projects 7 x 7 means at random; its batch is fixed, as the teacher's is."""
    nodes = [
        helper.make_node("AveragePool", ["data"], ["pooled"], kernel_shape=[16, 16], strides=[16, 16]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "projection"], ["out"]),
    ]
    projection = np.random.default_rng(1).standard_normal((147, 32)).astype(np.float32)
    source = ("data", [batch, 3, 112, 112])
    onnx.save(model_of(nodes, source, [("out", [batch, 32])], {"projection": projection}), path)
    return path


def photo(seed: int, *, face: bool = True) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(0, 120, (10, 10, 3)).astype(np.uint8)
    pixels = np.asarray(Image.fromarray(pixels).resize((160, 160), Image.Resampling.BICUBIC)) // 2
    return white_face(pixels, *BOX.astype(int)) if face else pixels


def people_folder(folder: Path, *, count: int, faceless: int = 0) -> Path:
    """A prepared cache of `count` held-out people and others that must not be taken, labels as the teachers write."""
    keys = (f"{i:06d}" for i in range(10_000))
    held = [key for key in keys if shards.held_out(key)][:count]
    records = []
    for i, key in enumerate(sorted([*held, "000001" if not shards.held_out("000001") else "000002"])):
        buffer = io.BytesIO()
        Image.fromarray(photo(i, face=i >= faceless)).save(buffer, "PNG")
        points = BOX[:2] + FACE * (BOX[2:] - BOX[:2])
        landmarks = np.full((478, 3), 70, np.float32)
        landmarks[468, 0], landmarks[473, 0] = 50, 90
        identity = np.eye(128, dtype=np.float32)[[i, i]]
        labels = {"box": BOX, "points": points, "landmarks": landmarks, "identity": identity}
        labels |= {"blendshapes": np.zeros(52, np.float32), "pose": np.zeros(3, np.float32)}
        facts = {"key": key, "faces": 1, "age": "20-29", "gender": ("Female", "Male")[i % 2], "race": "Other"}
        parts = {"photo.jpg": buffer.getvalue(), "labels.npz": shards.pack_arrays(labels)}
        records.append((key, parts | {"json": shards.pack_json(facts)}))
    folder.mkdir()
    shards.write(folder / "train-00.tar", records)
    return folder


# ---------------------------------------------------------------- people


def test_of_several_views_of_a_person_one_is_judged(tmp_path: Path) -> None:
    views = write_people(tmp_path / "people", write_cache(tmp_path / "plain", count=80) / "train-00.tar")
    people = held_out_people(views)
    assert people
    assert all(one.key.endswith("-0") for one in people)


def test_only_held_out_people_are_drawn_and_always_the_same(tmp_path: Path) -> None:
    cache = people_folder(tmp_path / "cache", count=6)
    everyone, some = held_out_people(cache), held_out_people(cache, 3, seed=5)
    assert len(everyone) == 6
    assert all(shards.held_out(person.key) for person in everyone)
    assert [p.key for p in some] == [p.key for p in held_out_people(cache, 3, seed=5)]
    assert set(everyone[0].groups) == {"age", "gender", "race"}
    with pytest.raises(BadData, match="7 were asked for"):
        held_out_people(cache, 7)


def test_raw_photo_tars_serve_as_well(tmp_path: Path) -> None:
    key = next(f"{i:06d}" for i in range(99) if shards.held_out(f"{i:06d}"))
    buffer = io.BytesIO()
    Image.fromarray(photo(0)).save(buffer, "JPEG")
    shards.write(tmp_path / "train-00.tar", [(key, {"jpg": buffer.getvalue()})])
    (tmp_path / "labels.csv").write_text(f"key,age,gender,race\n{key},3-9,Female,Black\n")
    (person,) = held_out_people(tmp_path)
    assert (person.labels, person.groups["age"], person.photo.pixels.shape) == (None, "3-9", (160, 160, 3))


def test_a_folder_without_photos_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="holds no"):
        held_out_people(tmp_path)


# ---------------------------------------------------------------- judge


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("batch", [1, "N"])
def test_judge_gives_unit_vectors_for_fixed_and_free_batches(tmp_path: Path, batch: int | str, count: int) -> None:
    judge = Judge(JudgeSpec(path=str(judge_file(tmp_path / "judge.onnx", batch))))
    crops = np.random.default_rng(0).integers(0, 256, (count, 112, 112, 3)).astype(np.uint8)
    vectors = judge.embed(crops)
    assert (vectors.shape, vectors.dtype) == ((count, 32), np.float32)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)


def test_judge_reads_the_colour_order_it_declares(tmp_path: Path) -> None:
    path = str(judge_file(tmp_path / "judge.onnx"))
    crops = np.random.default_rng(0).integers(0, 256, (1, 112, 112, 3)).astype(np.uint8)
    swapped = Judge(JudgeSpec(path=path, colour="BGR")).embed(crops[..., ::-1])
    assert swapped == pytest.approx(Judge(JudgeSpec(path=path)).embed(crops), abs=1e-5)


def test_a_face_that_is_not_found_gives_a_row_of_nan(tmp_path: Path) -> None:
    judge = Judge(JudgeSpec(path=str(judge_file(tmp_path / "judge.onnx"))))
    points = FACE * 100 + 20
    rows = judge.look([photo(0), photo(1, face=False)], lambda pixels: points if pixels.max() == 255 else None)
    assert np.isfinite(rows[0]).all()
    assert np.isnan(rows[1]).all()


def test_judge_is_declared_on_the_command_line_or_in_a_file(tmp_path: Path) -> None:
    spec = judge_spec("other.onnx,size=96,mean=0,std=1,colour=BGR,layout=NHWC,input=face")
    assert (spec.name, spec.size, spec.mean, spec.colour) == ("other", 96, 0.0, "BGR")
    (tmp_path / "other.json").write_text(json.dumps({"path": "other.onnx", "std": 128}))
    assert judge_spec(str(tmp_path / "other.json")) == JudgeSpec(path=str(tmp_path / "other.onnx"), std=128.0)


@pytest.mark.parametrize("text", ["a.onnx,colour=GBR", "a.onnx,sise=3", "a.onnx,size=big", "a.onnx,size", "a.json"])
def test_a_judge_declared_wrongly_is_one_clear_error(text: str) -> None:
    with pytest.raises(BadOption, match="judge"):
        judge_spec(text)


def test_the_teacher_is_looked_for_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSONAE_TEACHERS", str(tmp_path))
    with pytest.raises(WeightsMissing, match="--judge"):
        Judge(judge_spec("teacher"))


def test_the_conditioning_recogniser_may_not_judge(nano_like: FacePipeline, nano_folder: Path) -> None:
    own = Judge(JudgeSpec(path=str(nano_folder / "reader" / "embedder.onnx")))
    with pytest.raises(BadOption, match="mark its own work"):
        own.require_unrelated(nano_like.config.identity_space)


# ---------------------------------------------------------------- whole reports


def test_evaluate_writes_json_table_and_sheet(nano_like: FacePipeline, tmp_path: Path) -> None:
    cache = people_folder(tmp_path / "cache", count=9, faceless=1)
    judge = str(judge_file(tmp_path / "judge.onnx"))
    options = {"people": 7, "images_per_person": 2, "judge": judge, "finder": "reader", "source": cache, "steps": 2}
    options["progress"] = False
    report = evaluate(nano_like, out=tmp_path / "out", seed=1, batch_people=3, **options)

    written = json.loads((tmp_path / "out" / "report.json").read_text())
    assert written == report
    assert set(report["figures"]) <= set(KINDS["generation"])
    assert len(report["people"]) + len(report["unread"]) == 7
    assert report["figures"]["likeness"]["n"] == len(report["people"])
    assert "not Inception" in " ".join(report["caveats"])
    assert "likeness" in (tmp_path / "out" / "report.md").read_text()
    with Image.open(tmp_path / "out" / "sheet.png") as sheet:
        assert sheet.width > 3 * 128
    again = evaluate(nano_like, seed=1, batch_people=7, **options)
    for name, figure in report["figures"].items():  # the batch changes nothing
        assert again["figures"][name]["value"] == pytest.approx(figure["value"], rel=1e-3, abs=1e-3), name


def test_without_a_judge_there_is_no_likeness(nano_like: FacePipeline, tmp_path: Path) -> None:
    cache = people_folder(tmp_path / "cache", count=5)
    report = evaluate(nano_like, people=3, images_per_person=2, judge="none", source=cache, steps=1, progress=False)
    assert "likeness" not in report["figures"]
    assert report["settings"]["judge"] is None


class Thumbs:
    """In dlib's place: whoever has the same thumbnail is the same person."""

    name = "thumbs"

    def look(self, images: list[np.ndarray], finder: Finder) -> np.ndarray:
        rows = [np.asarray(Image.fromarray(image).resize((4, 4)), np.float32).ravel() / 255 for image in images]
        found = [finder(image) is not None for image in images]
        return np.where(np.array(found)[:, None], np.stack(rows), np.nan).astype(np.float32)


@pytest.mark.parametrize("taught", [True, False])
def test_the_unrelated_judge_judges_first_and_the_teacher_beside_it(
    taught: bool, nano_like: FacePipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (teachers := tmp_path / "teachers").mkdir()
    judge_file(teachers / "mobilefacenet.onnx")
    for name in ("yunet.onnx", "face_landmarker.task"):
        (teachers / name).touch()
    monkeypatch.setenv("PERSONAE_TEACHERS", str(teachers if taught else tmp_path / "none"))
    monkeypatch.setattr(generation.DlibJudge, "fetch", lambda **_: Thumbs())
    cache = people_folder(tmp_path / "cache", count=6)
    options = {"people": 4, "images_per_person": 2, "finder": "reader" if taught else None}
    report = evaluate(nano_like, source=cache, steps=1, progress=False, **options)
    figures, groups = report["figures"], report["groups"]["gender"]
    assert set(figures) <= set(KINDS["generation"])
    assert {"distance", "distance_ceiling", "distance_rank1", "distance_within", "missing"} <= figures.keys()
    assert (next(iter(figures)), "likeness" in figures) == ("distance", taught)
    assert all({"distance", "distance_rank1"} <= row.keys() for row in groups.values())
    assert all(("likeness" in row) == taught for row in groups.values())
    assert report["settings"]["unrelated"] == "thumbs, distance"
    assert report["settings"]["finder"] == "reader"
    assert {"distance", "likeness"} & report["people"][0].keys() == (
        {"distance", "likeness"} if taught else {"distance"}
    )
    with pytest.raises(BadOption, match="leave them out"):
        evaluate(nano_like, judge="none", judge_weights=tmp_path / "weights")


def test_without_dlib_the_other_judges_are_named(nano_like: FacePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(WeightsMissing, match=r"personae\[judge\].*--judge"):
        evaluate(nano_like, people=3)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"images_per_person": 1}, "at least two"),
        ({"finder": "teatcher"}, "teacher"),
        ({"backbone": "inception"}, "TorchScript"),
    ],
)
def test_evaluate_refuses_before_it_generates(nano_like: FacePipeline, options: dict, says: str) -> None:
    with pytest.raises(BadOption, match=says):
        evaluate(nano_like, judge="none", **options)


def test_reader_report_holds_every_figure(nano_like: FacePipeline, tmp_path: Path) -> None:
    cache = people_folder(tmp_path / "cache", count=6, faceless=1)
    report = evaluate_reader(
        nano_like.reader, source=cache, faceless=5, composed=2, out=tmp_path / "out", progress=False
    )
    assert set(report["figures"]) == set(KINDS["reading"])
    lost = len(report["not_found"])
    assert report["figures"]["found_single"]["value"] == pytest.approx((6 - lost) / 6, abs=1e-5)
    assert report["figures"]["yaw_error"]["value"] == pytest.approx(10, abs=0.2)  # the tiny reader always says 10
    assert report["figures"]["mouthSmile"]["value"] is None  # and always the same smile
    assert (tmp_path / "out" / "report.md").is_file()


def test_boxes_match_by_overlap() -> None:
    a = np.array((0, 0, 10, 10), np.float32)
    assert overlap(a, a) == pytest.approx(1)
    assert overlap(a, a + 20) == 0
    assert overlap(a, np.array((0, 0, 10, 5), np.float32)) == pytest.approx(0.5)
    assert match([], a) is None


# ---------------------------------------------------------------- made pictures


def test_made_pictures_follow_from_the_seed_and_hold_no_face() -> None:
    photos = [(photo(i), BOX) for i in range(3)]
    first, second = (scenes.faceless(photos, 10, np.random.default_rng(3)) for _ in range(2))
    assert len({kind for kind, _ in first}) == 5
    for (kind, pixels), (_, again) in zip(first, second, strict=True):
        assert np.array_equal(pixels, again)
        assert (pixels.dtype, pixels.shape[2]) == (np.uint8, 3)
        if kind == "painted over, blurred":
            assert pixels.max() < 255  # the white "face" is gone


@pytest.mark.parametrize("count", [2, 5])
def test_composed_pictures_show_every_photo_whole(count: int) -> None:
    white = np.full((50, 50, 3), 255, np.uint8)
    scene = scenes.compose([white] * count, np.random.default_rng(0), side=300)
    cell = 300 // int(np.ceil(np.sqrt(count)))
    assert count * (0.6 * cell - 1) ** 2 < (scene == 255).all(-1).sum() < 1.1 * count * cell**2


def test_tight_crop_knows_where_the_box_went() -> None:
    pixels = photo(0)
    cut, box = scenes.tight(pixels, BOX, np.random.default_rng(0))
    assert abs(np.array(cut.shape[:2]) - 100).max() <= 21
    assert np.abs(box[:2]).max() <= 11


# ---------------------------------------------------------------- tables and documents


def report_of(value: float) -> dict:
    figure = {"value": value, "low": value - 0.01, "high": value + 0.01, "n": 200}
    return {
        "kind": "reading",
        "subject": "reader x",
        "machine": {"date": "2026-11-21", "cores": 2, "cpu": "a processor"},
        "figures": {"found_single": figure},
        "groups": {"gender": {"Female": {"found_single": figure}}},
        "caveats": ["a caveat"],
    }


def test_documents_follow_the_json(tmp_path: Path) -> None:
    document = tmp_path / "quality.md"
    document.write_text("before\n<!-- figures: r.json -->\nold\n<!-- end of figures -->\nafter\n")
    assert tables.redraw(document) == 1
    assert "not measured yet" in document.read_text()
    (tmp_path / "r.json").write_text(json.dumps(report_of(0.991)))
    tables.redraw(document)
    drawn = document.read_text()
    assert "99.1 %" in drawn
    assert "≥ 98.0 % met" in drawn
    assert "a caveat" in drawn
    assert "old" not in drawn
    assert drawn.startswith("before\n")
    assert drawn.endswith("after\n")
    tables.redraw(document)
    assert document.read_text() == drawn
    (tmp_path / "r.json").write_text(json.dumps(report_of(0.9)))
    tables.redraw(document)
    assert "**not met**" in document.read_text()


def test_a_figure_that_nobody_explained_is_an_error() -> None:
    report = report_of(0.5)
    report["figures"]["charm"] = report["figures"].pop("found_single")
    with pytest.raises(BadData, match="charm"):
        tables.markdown(report)


def test_the_terminal_table_has_a_row_per_figure() -> None:
    assert tables.rich_table(report_of(0.5)).row_count == 1
