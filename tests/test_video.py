"""Videos: what goes in comes out, sound packet by packet, whole files or none, one error per bad one."""

import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from personae.errors import BadOption, BadOutput, BadVideo
from personae.io import video_file
from video_fixtures import packets, wandering, write_video

GREYS = [np.full((48, 64, 3), 8 * t, np.uint8) for t in range(30)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "in.mp4", GREYS)


def levels(path: Path) -> list[float]:
    return [float(frame.mean()) for frame in video_file.frames(path)]


def test_a_video_is_read_as_it_is(clip: Path) -> None:
    assert video_file.probe(clip) == video_file.Clip(fps=Fraction(25), size=(64, 48), sound="aac")
    frames = list(video_file.frames(clip))
    assert len(frames) == 30
    assert frames[0].shape == (48, 64, 3)
    assert frames[0].dtype == np.uint8
    np.testing.assert_allclose(levels(clip), [8 * t for t in range(30)], atol=1.5)


@pytest.mark.parametrize("suffix", video_file.FORMATS)
@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30000, 1001)])
def test_pictures_rate_and_colours_are_kept(fps: Fraction, suffix: str, tmp_path: Path) -> None:
    smooth = gaussian_filter(np.random.default_rng(0).uniform(0, 255, (66, 64, 3)), (6, 6, 0))
    picture = np.interp(smooth, (smooth.min(), smooth.max()), (0, 255)).astype(np.uint8)
    path = video_file.write(tmp_path / f"a{suffix}", [picture] * 4, fps=fps, notes={"comment": "{}"})
    assert video_file.probe(path) == video_file.Clip(fps=fps, size=(64, 66), sound=None)
    for frame in (frames := list(video_file.frames(path))):
        assert np.abs(frame.astype(int) - picture).mean() < 5
    assert len(frames) == 4
    with av.open(str(path)) as made:
        assert {k.lower(): v for k, v in made.metadata.items()}["comment"] == "{}"
        assert made.streams.video[0].codec_context.name in ("h264", "mpeg4")


def test_the_same_pictures_are_the_same_file(tmp_path: Path) -> None:
    """With x264's mbtree, about one in three differed."""
    coarse = np.random.default_rng(0).integers(0, 256, (20, 40, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    pictures = [np.roll(coarse, 3 * t, axis=1) for t in range(7)]
    made = {
        video_file.write(tmp_path / "out.mp4", pictures, fps=Fraction(25), force=True).read_bytes() for _ in range(40)
    }
    assert len(made) == 1


def test_the_sound_is_the_same_packets(clip: Path, tmp_path: Path) -> None:
    made = video_file.write(tmp_path / "out.mp4", GREYS, fps=Fraction(25), sound=clip)
    assert packets(made) == packets(clip)
    assert len(packets(clip)) > 15


def test_of_a_part_the_sound_of_that_part(clip: Path, tmp_path: Path) -> None:
    made = video_file.write(tmp_path / "out.mp4", GREYS[10:20], fps=Fraction(25), sound=clip, start=10, stop=20)
    heard = packets(made)
    whole = packets(clip)
    at = [content for _, content in whole].index(heard[0][1])
    assert [content for _, content in heard] == [content for _, content in whole][at : at + len(heard)]
    assert 0 <= heard[0][0] < 0.07  # a packet is 64 ms
    assert heard[0][0] == pytest.approx(whole[at][0] - 0.4, abs=1e-3)
    assert 0.3 < heard[-1][0] < 0.4


def test_of_a_rate_that_varies_what_is_on_the_screen_is_read(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", GREYS[:10], times=[0, 1, 2, 3, 4, 8, 9, 10, 11, 19], sound=None)
    fps = video_file.probe(path).fps
    found = levels(path)
    shown = np.array([0, 1, 2, 3, 4, 8, 9, 10, 11, 19])
    for t, level in enumerate(found):
        last = np.flatnonzero(shown / 25 < (t + 0.5) / float(fps))[-1]
        assert level == pytest.approx(8 * last, abs=1.5), t
    assert len(found) == pytest.approx(float(fps) * 20 / 25, abs=1)


def test_a_camera_held_upright(tmp_path: Path) -> None:
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:, :32] = 255
    path = write_video(tmp_path / "v.mp4", [picture] * 3, sound=None)
    content = path.read_bytes()
    matrix = content.index(b"tkhd") + 44  # ISO 14496-12, 8.3.2: a b u c d v x y w
    assert content[matrix : matrix + 4] == (0x00010000).to_bytes(4, "big")
    turned = b"".join(n.to_bytes(4, "big", signed=True) for n in (0, 0x00010000, 0, -0x00010000, 0, 0))
    (tmp_path / "turned.mp4").write_bytes(content[:matrix] + turned + content[matrix + 24 :])
    [frame, *_] = video_file.frames(tmp_path / "turned.mp4")
    assert video_file.probe(tmp_path / "turned.mp4").size == (48, 64)
    assert frame.shape == (64, 48, 3)
    assert frame[:28].mean() > 250  # what lay left lies on top, after a quarter turn clockwise
    assert frame[36:].mean() < 5


def test_odd_sides_lose_a_line(tmp_path: Path) -> None:
    path = video_file.write(tmp_path / "a.mp4", [np.zeros((47, 65, 3), np.uint8)], fps=Fraction(25))
    assert video_file.probe(path).size == (64, 46)


def test_whole_or_not_at_all(clip: Path, tmp_path: Path) -> None:
    def stopping() -> Iterator[np.ndarray]:
        yield from GREYS[:5]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        video_file.write(tmp_path / "out.mp4", stopping(), fps=Fraction(25), sound=clip)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "out.mp4").write_bytes(b"mine")
    with pytest.raises(BadOutput, match="already there"):
        video_file.write(tmp_path / "out.mp4", GREYS, fps=Fraction(25))
    assert (tmp_path / "out.mp4").read_bytes() == b"mine"
    assert video_file.write(tmp_path / "out.mp4", GREYS, fps=Fraction(25), force=True).stat().st_size > 500
    with pytest.raises(BadOutput, match="cannot write"):
        video_file.write(tmp_path / "nowhere" / "out.mp4", GREYS, fps=Fraction(25))


def test_without_x264_there_is_mpeg4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_file, "ENCODERS", {"not-there": {}, "mpeg4": video_file.ENCODERS["mpeg4"]})
    path = video_file.write(tmp_path / "a.mp4", GREYS[4:8], fps=Fraction(25))
    np.testing.assert_allclose(levels(path), [32, 40, 48, 56], atol=1.5)
    with av.open(str(path)) as made:
        assert made.streams.video[0].codec_context.name == "mpeg4"


def test_files_that_are_no_videos(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video at all")
    (tmp_path / "empty.mp4").touch()
    whole = write_video(tmp_path / "whole.mp4", wandering(6)).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    with av.open(str(tmp_path / "sound.mp4"), "w") as made:
        heard = made.add_stream("aac", rate=16_000, layout="mono")
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.int16), format="s16", layout="mono")
        samples.sample_rate = 16_000
        made.mux(heard.encode(samples))
        made.mux(heard.encode())
    for name in ("text.mp4", "empty.mp4", "cut.mp4"):
        with pytest.raises(BadVideo, match=f"{name} is not a video that can be read"):
            video_file.probe(tmp_path / name)
    with pytest.raises(BadVideo, match="no video stream"):
        video_file.probe(tmp_path / "sound.mp4")
    with pytest.raises(BadVideo, match="no such file"):
        video_file.probe(tmp_path / "none.mp4")


def test_a_playlist_reads_nothing_from_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/secret.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(BadVideo):
        video_file.probe(tmp_path / "list.m3u8")


def test_what_a_file_can_hold(tmp_path: Path) -> None:
    with pytest.raises(BadOption, match=r"written as \.mp4, \.mov, \.mkv, got 'a.gif'"):
        video_file.format_of(tmp_path / "a.gif")
    raw = video_file.Clip(fps=Fraction(25), size=(64, 48), sound="pcm_s16le")
    with pytest.raises(BadOption, match=r"\.mp4 holds no pcm_s16le sound: write \.mkv"):
        video_file.require_room_for_sound(tmp_path / "a.mp4", raw)
    video_file.require_room_for_sound(tmp_path / "a.mkv", raw)


def test_without_pyav_the_extra_is_named(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(BadOption, match=r"pip install 'personae\[video\]'"):
        video_file.probe(clip)
