"""A stranger's video: bounded in frames, gaps and pixels, read from its own file alone."""

import os
import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from personae.errors import BadOption, BadVideo
from personae.io import video_file
from personae.io.video_file import Limits
from video_fixtures import wandering, write_video


@pytest.fixture
def apart(tmp_path: Path) -> Path:
    """Two frames, ten hours apart, at 25 per second as the file says."""
    path = tmp_path / "apart.mkv"
    with av.open(str(path), "w") as made:
        stream = made.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for tick in (0, 1, 10 * 3600 * 25):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, 25)
            made.mux(stream.encode(frame))
        made.mux(stream.encode())
    return path


def test_a_gap_of_hours_is_refused_before_it_is_filled(apart: Path) -> None:
    assert apart.stat().st_size < 10_000
    shown: list[np.ndarray] = []
    with pytest.raises(BadVideo, match=r"shows one picture for 3\d{4} seconds, more than 60: .*--max-gap"):
        shown.extend(video_file.frames(apart))
    assert len(shown) <= 2


def test_frames_are_counted_and_the_limit_can_be_raised(apart: Path) -> None:
    shown: list[np.ndarray] = []
    with pytest.raises(BadVideo, match=r"more than 20 frames: .*--max-frames"):
        shown.extend(video_file.frames(apart, Limits(frames=20, gap=1e9)))
    assert len(shown) == 20


@pytest.mark.parametrize("count", [5, 6])
def test_as_many_frames_as_allowed_are_allowed(count: int, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", wandering(6), sound=None)
    if count == 6:
        assert len(list(video_file.frames(path, Limits(frames=count)))) == 6
        return
    with pytest.raises(BadVideo, match="more than 5 frames"):
        list(video_file.frames(path, Limits(frames=count)))


@pytest.mark.parametrize("wrong", [{"frames": 0}, {"gap": 0}, {"gap": float("nan")}])
def test_limits_are_numbers_above_zero(wrong: dict[str, float]) -> None:
    with pytest.raises(BadOption, match="--max-"):
        Limits(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4"])
@pytest.mark.parametrize("kind", ["hls", "ffconcat", "dash"])
def test_a_playlist_reads_no_other_file(kind: str, name: str, tmp_path: Path) -> None:
    private = write_video(tmp_path / "private.ts", wandering(4), sound=None)
    written = {
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{private}\n#EXT-X-ENDLIST\n",
        "ffconcat": f"ffconcat version 1.0\nfile '{private.name}'\n",
        "dash": f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{private}</BaseURL></MPD>',
    }[kind]
    (tmp_path / name).write_text(written)
    with pytest.raises(BadVideo, match="is not a video that can be read"):
        video_file.probe(tmp_path / name)


def test_a_name_with_a_pattern_reads_no_pictures(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (64, 64)).save(tmp_path / "x001.png")
    (tmp_path / "x%03d.png").write_bytes(b"")
    with pytest.raises(BadVideo):
        video_file.probe(tmp_path / "x%03d.png")


@pytest.mark.parametrize("lead", ["fifo", "/dev/zero", "."])
def test_a_video_is_a_regular_file(lead: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "a.mp4").symlink_to(lead)
    with pytest.raises(BadVideo, match="cannot be opened"):
        video_file.probe(tmp_path / "a.mp4")


def test_a_codec_that_nobody_knows_is_said(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", wandering(2), sound=None)
    content = path.read_bytes()
    assert b"V_MPEG4/ISO/AVC" in content
    path.write_bytes(content.replace(b"V_MPEG4/ISO/AVC", b"V_NOBODY/KNOWSIT"[:15]))
    with pytest.raises(BadVideo, match="cannot decode"):
        video_file.probe(path)


def test_large_frames_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mp4", wandering(2), sound=None)
    monkeypatch.setattr(video_file, "MOST_PIXELS", 320 * 160 - 1)
    with pytest.raises(BadVideo, match="320 x 160 pixels"):
        video_file.probe(path)


def test_a_frame_larger_than_its_container_says_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """H.264 says its own size inside; the limit holds for what is decoded."""
    path = write_video(tmp_path / "a.mkv", wandering(2), sound=None)
    content = path.read_bytes()
    small = re.sub(rb"\xb0\x82\x01\x40\xba\x81\xa0", b"\xb0\x82\x00\x20\xba\x81\x20", content, count=1)
    assert small != content
    path.write_bytes(small)
    monkeypatch.setattr(video_file, "MOST_PIXELS", 320 * 160 - 1)
    with pytest.raises(BadVideo):
        list(video_file.frames(path))
