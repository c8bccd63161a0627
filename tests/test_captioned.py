"""Captioned photos as training examples: folders and tars, the filter, the crop, the order. The tiny reader's "faces"
are white rectangles, and every picture here is drawn."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from personae.data import captioned
from personae.data.captioned import CaptionedFaces, find
from personae.errors import BadData, BadOption
from personae.reading.box_crop import FACE0, BoxCrop, square_with
from personae.reading.detect import Detector
from personae.reading.reader import FaceReader
from reading_fixtures import tiny_reader_folder, white_face


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    folder = tmp_path_factory.mktemp("reader")
    tiny_reader_folder(folder)
    return FaceReader.from_folder(folder / "reader", threads=1).detector


def picture(face: int | None = 60, shade: int = 90) -> bytes:
    """An encoded 320 x 320 picture with a "face" of `face` x 1.25 `face` pixels, or none."""
    pixels = np.full((320, 320, 3), shade, np.uint8)
    if face is not None:
        pixels = white_face(pixels, 40, 50, 40 + face, 50 + face * 5 // 4)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def folder_of(place: Path, files: dict[str, bytes | str]) -> Path:
    for name, content in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return place


def tar_of(path: Path, files: dict[str, bytes | str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            encoded = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(encoded)
            tar.addfile(info, io.BytesIO(encoded))
    return path


def numbered(count: int, start: int = 0) -> dict[str, bytes | str]:
    """Pictures that differ, each with the caption `number N`."""
    files: dict[str, bytes | str] = {}
    for n in range(start, start + count):
        files |= {f"{n:04d}.png": picture(shade=40 + n), f"{n:04d}.txt": f"number {n}"}
    return files


def captions(faces: CaptionedFaces, **options: int) -> list[str]:
    return [one.caption for one in faces.epoch(**options)]


# ---------------------------------------------------------------------- sources


def test_a_folder_takes_captions_from_txt_and_from_metadata_at_any_depth(tmp_path: Path, detector: Detector) -> None:
    rows = [{"file_name": "b.png", "text": "from metadata"}, {"file_name": "deep/c.png", "caption": "deeper"}]
    place = folder_of(
        tmp_path,
        {
            "a.PNG": picture(),
            "a.txt": " a person,\n  smiling \n",
            "sub/b.png": picture(),
            "sub/deep/c.png": picture(),
            "sub/metadata.jsonl": "\n".join(json.dumps(row) for row in rows) + "\n\n",
            "sub/b.txt": "metadata goes first",
            "nobody-said-anything.png": picture(),
        },
    )
    faces = CaptionedFaces(find(place), detector)
    assert sorted(captions(faces)) == ["a person, smiling", "deeper", "from metadata"]
    assert faces.skipped == {"no caption": 1}


def test_the_nearest_metadata_wins(tmp_path: Path, detector: Detector) -> None:
    rows = {"": {"file_name": "sub/a.png", "text": "from above"}, "sub/": {"file_name": "a.png", "text": "from beside"}}
    files = {f"{where}metadata.jsonl": json.dumps(row) for where, row in rows.items()}
    faces = CaptionedFaces(find(folder_of(tmp_path, {"sub/a.png": picture(), **files})), detector)
    assert captions(faces) == ["from beside"]


def test_shards_take_captions_from_txt_and_json(tmp_path: Path, detector: Detector) -> None:
    tar_of(
        tmp_path / "shards/a.tar",
        {
            "x/0.json": json.dumps({"text": "second choice", "caption": "of json", "width": 3}),
            "x/0.PNG": picture(),
            "y/0.png": picture(),  # the same name in another folder is another record
            "y/0.txt": "of txt",
            "y/0.json": "{}",
        },
    )
    tar_of(tmp_path / "shards/b.tar", {"1.png": picture(), "2.txt": "alone", "3.jpg": picture(), "3.txt": "third"})
    faces = CaptionedFaces(find(tmp_path / "shards"), detector)
    assert sorted(captions(faces)) == ["of json", "of txt", "third"]
    assert faces.skipped == {"no caption": 1, "no picture": 1}
    assert captions(CaptionedFaces(find(tmp_path / "shards/b.tar"), detector)) == ["third"]


def test_a_folder_and_its_tar_give_the_same_examples(tmp_path: Path, detector: Detector) -> None:
    files = numbered(5)
    one = CaptionedFaces(find(folder_of(tmp_path / "folder", files)), detector, seed=3)
    other = CaptionedFaces(find(tar_of(tmp_path / "same.tar", files)), detector, seed=3)
    for a, b in zip(one.epoch(), other.epoch(), strict=True):
        assert a.caption == b.caption
        for name in ("photo", "box", "face"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


# ---------------------------------------------------------------------- what is left out


def test_where_captions_do_not_matter_pictures_need_none(tmp_path: Path, detector: Detector) -> None:
    (tmp_path / "tars").mkdir()
    tar_of(tmp_path / "tars" / "a.tar", {"a.png": picture(), "b.png": picture(), "b.txt": b"", "c.txt": b"no picture"})
    place = folder_of(tmp_path / "folder", {"a.png": picture(), "b.png": picture(), "b.txt": "said"})
    for source in (tmp_path / "tars", place):
        assert captions(CaptionedFaces(find(source, captioned=False), detector)) == ["", ""]
    empty = folder_of(tmp_path / "empty", {"a.txt": "said"})
    with pytest.raises(BadData, match="holds no pictures"):
        find(empty, captioned=False)


def test_what_cannot_be_used_is_left_out_and_counted_once(tmp_path: Path, detector: Detector) -> None:
    place = folder_of(
        tmp_path,
        {
            **numbered(2),
            "damaged.png": picture()[:200],
            "damaged.txt": "a picture cut short",
            "empty.png": picture(None),
            "empty.txt": "nobody",
            "small.png": picture(20),
            "small.txt": "someone far away",
            "silent.png": picture(),
            "silent.txt": " \n",
            "latin.png": picture(),
            "latin.txt": "café".encode("latin-1"),
            "metadata.jsonl": json.dumps({"file_name": "lost.png", "text": "where is it"}),
        },
    )
    faces = CaptionedFaces(find(place), detector)
    for epoch in range(2):
        assert sorted(captions(faces, number=epoch)) == ["number 0", "number 1"]
    assert faces.skipped == {
        "picture cannot be read": 1,
        "no face": 1,
        "face too small": 1,
        "empty caption": 1,
        "caption cannot be read": 1,
        "file cannot be opened": 1,
    }
    assert sum(faces.skipped.values()) + 2 == len(faces)


def test_the_smallest_face_is_a_setting(tmp_path: Path, detector: Detector) -> None:
    place = folder_of(tmp_path, {"a.png": picture(30), "a.txt": "small"})
    assert captions(CaptionedFaces(find(place), detector)) == ["small"]
    with pytest.raises(BadData, match="1 face too small"):
        captions(CaptionedFaces(find(place), detector, smallest=31))


def test_the_largest_face_is_taken(tmp_path: Path, detector: Detector) -> None:
    pixels = white_face(white_face(np.full((320, 320, 3), 90, np.uint8), 20, 40, 60, 90), 200, 100, 290, 220)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    place = folder_of(tmp_path, {"two.png": buffer.getvalue(), "two.txt": "two people"})
    (one,) = CaptionedFaces(find(place), detector).epoch()
    np.testing.assert_allclose(one.box, (200, 100, 289, 219), atol=1)
    assert one.photo.shape == (320, 320, 3)
    assert one.face.shape == (160, 160, 3)


def test_a_tar_cut_short_gives_what_it_still_holds(tmp_path: Path, detector: Detector) -> None:
    path = tar_of(tmp_path / "a.tar", numbered(4))
    with tarfile.open(path) as tar:
        last = tar.getmembers()[-2]  # the picture of the last record
    path.write_bytes(path.read_bytes()[: last.offset_data + 100])
    faces = CaptionedFaces(find(path), detector)
    assert sorted(captions(faces)) == ["number 0", "number 1", "number 2"]
    assert faces.skipped["tar cut short"] == 1


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "nothing that looks like one"),
        ({"a.png": picture()}, "1 with no caption"),
        ({"metadata.jsonl": '{"file_name": "a.png", "text": "x"}\n{"text": "y"}'}, "line 2.*file_name"),
        ({"metadata.jsonl": '{"file_name": "a.png", "title": "x"}'}, "line 1: no 'caption' or 'text'"),
        ({"metadata.jsonl": '{"file_name": "../a.png", "text": "x"}'}, "lies outside"),
        ({"metadata.jsonl": '{"file_name": "/a.png", "text": "x"}'}, "lies outside"),
        ({"metadata.jsonl": "no json"}, "line 1"),
        ({"metadata.jsonl": b"\xff\xfe"}, "no text in UTF-8"),
        ({"a.tar": b"no tar"}, "no uncompressed tar"),
        ({"a.tar": b""}, "no uncompressed tar"),
    ],
)
def test_sources_that_will_not_do_are_one_clear_error(
    files: dict[str, bytes | str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(BadData, match=message):
        find(folder_of(tmp_path, files))


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="there is no"):
        find(tmp_path / "photos")


def test_a_source_without_any_face_says_so(tmp_path: Path, detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    place = folder_of(tmp_path, {"a.png": picture(None), "a.txt": "nobody", "b.png": b"", "b.txt": "nothing"})
    faces = CaptionedFaces(find(place), detector)
    with pytest.raises(BadData, match="1 no face"):
        captions(faces)
    monkeypatch.setattr(captioned, "_IN_VAIN", 20)
    with pytest.raises(BadData, match="1 picture cannot be read"):
        CaptionedFaces(find(place), detector).draw(np.random.default_rng(0), 1)


# ---------------------------------------------------------------------- the order


def test_workers_share_an_epoch_whose_order_the_seed_decides(tmp_path: Path, detector: Detector) -> None:
    tar_of(tmp_path / "a.tar", numbered(6))
    tar_of(tmp_path / "b.tar", numbered(5, start=6))
    faces = CaptionedFaces(find(tmp_path), detector)
    whole = captions(faces)
    assert whole == captions(CaptionedFaces(find(tmp_path), detector))
    assert sorted(whole) == sorted(f"number {n}" for n in range(11))
    assert whole != captions(faces, number=1)
    assert whole != captions(CaptionedFaces(find(tmp_path), detector, seed=1))
    parts = [captions(faces, worker=worker, workers=3) for worker in range(3)]
    assert [len(part) for part in parts] == [4, 4, 3]
    assert [parts[i % 3][i // 3] for i in range(11)] == whole
    with pytest.raises(BadOption, match="between 0 and 2"):
        captions(faces, worker=3, workers=3)


def test_draws_depend_on_the_generator_alone(tmp_path: Path, detector: Detector) -> None:
    place = folder_of(tmp_path, {**numbered(6), "empty.png": picture(None), "empty.txt": "nobody"})
    used, fresh = (CaptionedFaces(find(place), detector) for _ in range(2))
    captions(used)
    drawn = [[one.caption for one in faces.draw(np.random.default_rng(5), 20)] for faces in (used, fresh)]
    assert drawn[0] == drawn[1]
    assert set(drawn[0]) == {f"number {n}" for n in range(6)}


# ---------------------------------------------------------------------- the crops


def test_a_box_lies_in_its_crop_with_the_margins_asked_for() -> None:
    crop = BoxCrop(size=160, left=10, top=33, right=20, bottom=15)
    box = np.array((100, 50, 100 + 65, 50 + 40))  # as wide as 130 : 112 allows and wider: the width decides
    corners = crop.matrix(box) @ np.array([(100, 165), (50, 90), (1, 1)])
    np.testing.assert_allclose(corners[0], (9.5, 139.5))
    below, above = 159.5 - corners[1, 1], corners[1, 0] + 0.5
    assert corners[1, 1] - corners[1, 0] == pytest.approx(80)
    assert above - 33 == pytest.approx(below - 15)  # what is left of the square is shared
    tall = crop.matrix(np.array((0, 0, 10, 56))) @ np.array([(0, 10), (0, 56), (1, 1)])
    np.testing.assert_allclose(tall[1], (32.5, 144.5))


def test_a_crop_shows_the_photo_unstretched() -> None:
    photo = white_face(np.zeros((300, 400, 3), np.uint8), 120, 90, 190, 202)
    face = FACE0.cut(photo, np.array((119.5, 89.5, 189.5, 201.5)))  # 70 x 112 px: the height fills 160 - 33 - 15
    assert face.shape == (160, 160, 3)
    white = np.argwhere(face[:, :, 0] > 127)
    np.testing.assert_array_equal(white.min(0), (33, 45))
    np.testing.assert_array_equal(white.max(0) + 1, (145, 115))


def test_a_crop_beyond_the_photo_repeats_its_edge() -> None:
    photo = np.full((50, 50, 3), 80, np.uint8)
    np.testing.assert_array_equal(FACE0.cut(photo, np.array((5, 5, 45, 45))), np.full((160, 160, 3), 80))


def test_impossible_crops_are_refused() -> None:
    with pytest.raises(BadOption, match="leave room"):
        BoxCrop(size=40, left=20, right=20)
    with pytest.raises(BadOption, match="margins"):
        BoxCrop(size=40, top=-1)
    for box in ((5, 5, 5, 9), (0, 0, float("nan"), 4)):
        with pytest.raises(BadData, match="box"):
            FACE0.matrix(np.array(box))


@pytest.mark.parametrize(
    ("box", "first"),
    [((90, 20, 110, 60), 50), ((0, 20, 30, 60), 0), ((20, 20, 60, 60), 20), ((160, 10, 199, 50), 100)],
)
def test_the_square_around_a_face_moves_no_further_than_it_must(box: tuple[int, ...], first: int) -> None:
    photo = np.zeros((100, 200, 3), np.uint8)
    photo[:, :, 0] = np.arange(200)
    square = square_with(photo, np.array(box), 100)
    np.testing.assert_array_equal(square[:, :, 0], np.tile(np.arange(first, first + 100), (100, 1)))
    assert square_with(photo, np.array(box), 32).shape == (32, 32, 3)
