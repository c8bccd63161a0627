"""Videos in and out, by PyAV (`pip install 'personae[video]'`).

    clip = probe("talk.mp4")                          # fps, size, whether there is sound
    for pixels in frames("talk.mp4"): ...             # (H, W, 3) RGB uint8, upright, clip.fps of them per second
    for number, pixels in glance("film.mp4", 32): ... # some of them, in bounded time
    write("out.mp4", pictures, fps=clip.fps, sound="talk.mp4")

Frame t of a video is what is on the screen at t / fps seconds, give or take half a frame: one of variable rate is read
at its average rate, so that a frame's number says when it is. Sound is copied packet by packet, never decoded.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from personae.errors import BadOption, BadOutput, BadVideo
from personae.io import atomic, regular
from personae.io.boundary import errors_as
from personae.shapes import UInt8
from personae.types import Array

FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
# The first that this build of FFmpeg has; with what makes it look as good as its frames. x264's mbtree, on processors
# with AVX-512, now and then makes another file of the same pictures: one in three with 7 frames of 320 x 160.
ENCODERS: dict[str, dict[str, str]] = {
    "libx264": {"crf": "16", "preset": "medium", "mbtree": "0"},
    "libopenh264": {"rc_mode": "quality", "qmin": "10", "qmax": "24"},
    "mpeg4": {"qscale": "2", "flags": "+qscale", "global_quality": str(2 * 118)},  # 118: FFmpeg's FF_QP2LAMBDA
}
# Containers that hold their pictures themselves. Playlists (HLS, DASH, ffconcat, numbered picture files) name others,
# which a stranger's file must not make us read, and FFmpeg knows them by content, whatever the file is called.
_CONTAINERS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "mpegts", "mpeg", "flv", "ogg", "asf", "gif")
_LOCAL = {"protocol_whitelist": "file", "format_whitelist": ",".join(_CONTAINERS)}
MOST_PIXELS = 10_000_000  # of a frame: cinema's 4K; a decoder holds some twenty of them
_THREADS = 4  # each holds frames of its own
FASTEST = 1000  # frames per second
_MOST_GLANCED = 2**30  # pixels of frames that a glance decodes: 500 frames of full HD
_MOST_PACKETS = 2000  # that are read until one holds a picture by itself
_BT709 = 1  # ITU-T H.273's number; said in the file, else players guess it from the size


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How far a video is read: five hundred bytes may say that two pictures lie ten hours apart.

    `frames`: at most so many, the last one stood still included; `gap`: seconds for which one picture may stand."""

    frames: int = 200_000
    gap: float = 60.0

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise BadOption(f"--max-frames is at least 1, got {self.frames}")
        if not self.gap > 0:  # NaN is not
            raise BadOption(f"--max-gap is a number of seconds above 0, got {self.gap}")


@dataclass(frozen=True, kw_only=True)
class Clip:
    """What a video file says of itself. `fps`: on average; `size` (W, H) upright; `sound`: the audio codec, if any."""

    fps: Fraction
    size: tuple[int, int]
    sound: str | None


def probe(path: str | Path) -> Clip:
    """Raises `BadVideo` if it cannot be opened, holds no video or none with a picture."""
    with _opened(path) as container:
        stream = container.streams.video[0]
        first = next(iter(_decoded(container, path)), None)
        if first is None:
            raise BadVideo(f"{path} holds no frame that can be decoded: it may be damaged or cut short")
        fps = stream.average_rate or stream.guessed_rate
        if not fps or not 0 < fps <= FASTEST:
            raise BadVideo(
                f"{path} does not say how many frames it shows per second, up to {FASTEST}, got {fps or 'nothing'}: "
                "convert it to mp4 first"
            )
        width, height = (first.height, first.width) if first.rotation % 180 else (first.width, first.height)
        sounds = container.streams.audio
        return Clip(fps=Fraction(fps), size=(width, height), sound=_codec_of(sounds[0]) if sounds else None)


def notes(path: str | Path) -> dict[str, str]:
    """The metadata of a video's file, by key. Raises `BadVideo`."""
    with _opened(path) as container:
        return {str(key).lower(): str(value) for key, value in container.metadata.items()}


def frames(path: str | Path, limits: Limits | None = None) -> Iterator[UInt8[Array, "H W 3"]]:
    """Every frame (H, W, 3) RGB uint8, upright, `probe(path).fps` per second. Raises `BadVideo`, also on the way, and
    where the video goes beyond `limits` (None: `Limits()`)."""
    fps, most = probe(path).fps, limits or Limits()
    with _opened(path) as container:
        count, start, current = 0, None, None
        for frame in _decoded(container, path):
            time = float(frame.time) if frame.time is not None else float(count / fps)
            start = time if start is None else start
            _require_within(most, path, count, time - start - float(count / fps))
            # Until this one comes, the one before is on the screen.
            while current is not None and (count + 0.5) / fps <= time - start:
                _require_within(most, path, count + 1, 0)
                yield _pixels(current)
                count += 1
            current = frame
        if current is not None:
            _require_within(most, path, count + 1, 0)
            yield _pixels(current)


def glance(path: str | Path, most: int) -> Iterator[tuple[int, UInt8[Array, "H W 3"]]]:
    """Frames (H, W, 3) RGB uint8, upright, each with its number, in time that does not grow with the video's: of a
    short one all, of a longer one at most `most`, evenly spread, each of which can be decoded by itself. Raises
    `BadVideo`, also on the way."""
    fps = probe(path).fps
    with _opened(path) as container:
        stream = container.streams.video[0]
        context, length = stream.codec_context, (container.duration or 0) / 1_000_000
        pixels = context.width * context.height
        if length == 0 or (stream.frames or length * fps) * pixels <= _MOST_GLANCED:
            found = _decoded(container, path)
        else:
            found = _key_frames(container, path, [length * (part + 0.5) / most for part in range(most)])
        origin, last, looked = None, -1, 0
        for frame in found:
            time = float(frame.time) if frame.time is not None else float((last + 1) / fps)
            origin = _start_of(stream, time) if origin is None else origin
            number = round((time - origin) * fps)
            if number > last:
                yield number, _pixels(frame)
                last = number
            looked += frame.width * frame.height
            if looked > _MOST_GLANCED:  # it is longer than it says
                return


def write(
    path: str | Path,
    pictures: Iterable[UInt8[Array, "H W 3"]],
    *,
    fps: Fraction,
    sound: str | Path | None = None,
    start: int = 0,
    stop: int | None = None,
    notes: Mapping[str, str] | None = None,
    finish: Callable[[Path], None] | None = None,
    force: bool = False,
) -> Path:
    """A video file, whole or not at all; returns its path.

    pictures: (H, W, 3) RGB uint8, at least one, all of a size; a side that is odd loses its last row or column, since
    H.264 stores colour for pairs. sound: a file whose audio is copied, between the times of its frames `start` and
    `stop` (None: to its end), give or take a packet. notes: the file's metadata. finish: what is still to be done to
    the file before it appears, e.g. signing it. Raises `BadOutput`.
    """
    target = Path(path)
    kind = format_of(target)
    av = pyav()
    with atomic.file(target, replace=force) as partial:
        try:
            with av.open(str(partial), "w", format=kind) as output:
                output.metadata.update(notes or {})
                with _sound(output, sound, start / fps, None if stop is None else stop / fps) as copy_sound:
                    _fill(output, pictures, fps, copy_sound)
        except av.FFmpegError as error:
            raise BadOutput(f"cannot write {target}: {getattr(error, 'strerror', None) or error}") from error
        if finish is not None:
            finish(partial)
    return target


def format_of(path: Path) -> str:
    """FFmpeg's name of the container that a file's suffix asks for. Raises `BadOption`."""
    if path.suffix.lower() not in FORMATS:
        raise BadOption(f"a video is written as {', '.join(FORMATS)}, got {path.name!r}")
    return FORMATS[path.suffix.lower()]


def require_room_for_sound(path: Path, clip: Clip) -> None:
    """Raise `BadOption` unless the kind of file at `path` can hold the sound of `clip` as it is: before the work."""
    kind = format_of(path)
    if clip.sound is not None and kind in _SOUNDS and clip.sound not in _SOUNDS[kind]:
        raise BadOption(
            f"{path.suffix} holds no {clip.sound} sound: write .mkv, which does, or leave it out (--no-audio)"
        )


# What players take in these; matroska takes everything.
_SOUNDS = {
    "mp4": ("aac", "mp3", "mp3float", "ac3", "eac3", "alac", "opus", "libopus", "flac"),
    "mov": ("aac", "mp3", "mp3float", "ac3", "eac3", "alac", "pcm_s16le", "pcm_s16be", "pcm_s24le"),
}


def pyav() -> Any:
    """The module `av`. Raises `BadOption`, naming the extra, if it is not installed."""
    try:
        import av
    except ImportError as error:
        raise BadOption("videos need PyAV: pip install 'personae[video]'") from error
    return av


@contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    """An input container with a video stream; whatever FFmpeg says of a bad one becomes `BadVideo`."""
    av, place = pyav(), Path(path)
    regular.require(place, None, BadVideo)
    # Damaged: FFmpeg's errors are OSErrors, ValueErrors and some of PyAV's own.
    with errors_as(BadVideo, f"{place} is not a video that can be read", f"give {', '.join(FORMATS)}, .webm or .avi"):
        container = av.open(str(place.resolve()), options=_LOCAL)
    with container:
        if not container.streams.video:
            raise BadVideo(f"{place} has no video stream: give a file with pictures")
        yield container


def _decoded(container: Any, path: str | Path) -> Iterator[Any]:
    stream = container.streams.video[0]
    context = stream.codec_context
    if context is None:
        raise BadVideo(f"{path} holds pictures of a kind that this FFmpeg cannot decode: convert it to mp4 first")
    _require_pixels(path, context.width, context.height)
    stream.thread_type = "AUTO"
    context.thread_count = min(_THREADS, os.cpu_count() or 1)
    context.options = {"max_pixels": str(MOST_PIXELS)}  # a frame may be larger than its container says
    decoding = container.decode(stream)
    while True:
        with errors_as(BadVideo, f"{path} is damaged"):
            frame = next(decoding, None)
        if frame is None:
            return
        _require_pixels(path, frame.width, frame.height)
        yield frame


def _start_of(stream: Any, time: float) -> float:
    """When a video's first frame is shown. time: of one of its frames."""
    return time if stream.start_time is None else float(stream.start_time * stream.time_base)


def _key_frames(container: Any, path: str | Path, times: Iterable[float]) -> Iterator[Any]:
    """The frames at or before some times (seconds) that need no other to be decoded."""
    stream = container.streams.video[0]
    context = stream.codec_context
    _require_pixels(path, context.width, context.height)
    context.thread_count = 1  # others hold a frame back for each
    context.options = {"max_pixels": str(MOST_PIXELS)}
    for time in times:
        with errors_as(BadVideo, f"{path} is damaged"):
            container.seek(round((time + _start_of(stream, 0)) / stream.time_base), stream=stream)
            packets = islice(container.demux(stream), _MOST_PACKETS)
            packet = next((one for one in packets if one.is_keyframe and one.size), None)
            frames = [] if packet is None else [*packet.decode(), *context.decode(None)]
        for frame in frames[:1]:
            _require_pixels(path, frame.width, frame.height)
            frame.time_base = stream.time_base  # of what a decoder gave when it was emptied, it is not set
            yield frame


def _require_pixels(path: str | Path, width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise BadVideo(
            f"{path} has frames of {width} x {height} pixels, more than {MOST_PIXELS / 1e6:.0f} million: shrink it"
        )


def _require_within(most: Limits, path: str | Path, count: int, ahead: float) -> None:
    """Raise `BadVideo` beyond the limits: with `count` frames, of which one stands for `ahead` seconds."""
    if count > most.frames:
        raise BadVideo(f"{path} has more than {most.frames} frames: cut it, or pass --max-frames with a higher limit")
    if ahead > most.gap:
        raise BadVideo(
            f"{path} shows one picture for {ahead:.0f} seconds, more than {most.gap:g}: cut it, or pass --max-gap"
        )


def _codec_of(stream: Any) -> str:
    return "unknown" if stream.codec_context is None else str(stream.codec_context.name)


def _pixels(frame: Any) -> UInt8[Array, "H W 3"]:
    """RGB, turned as the camera was held: `rotation` is counter-clockwise, as `rot90` is."""
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90))


CopySound = Callable[[Fraction | None], None]  # up to so many seconds; None: the rest


def _fill(output: Any, pictures: Iterable[Array], fps: Fraction, copy_sound: CopySound) -> None:
    """All packets in the order of their time, which is how a player wants to find them."""
    av, some = pyav(), iter(pictures)
    first = next(some)
    height, width = (side - side % 2 for side in first.shape[:2])
    name = next((name for name in ENCODERS if name in av.codecs_available), None)
    if name is None:
        raise BadOutput(f"this PyAV has none of the encoders {', '.join(ENCODERS)}: install another build")
    stream = output.add_stream(name, rate=fps, options=ENCODERS[name])
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    context = stream.codec_context
    context.time_base = 1 / fps
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    for t, picture in enumerate(chain([first], some)):
        copy_sound(t / fps)
        pixels = np.ascontiguousarray(picture[:height, :width])
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
            format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG"
        )
        frame.pts, frame.time_base = t, 1 / fps
        output.mux(stream.encode(frame))
    output.mux(stream.encode())
    copy_sound(None)


@contextmanager
def _sound(output: Any, source: str | Path | None, begin: Fraction, end: Fraction | None) -> Iterator[CopySound]:
    """What copies the packets of a file's sound between two times, in seconds of its first frame."""
    if source is None:
        yield lambda until: None
        return
    with _opened(source) as container:
        heard, watched = container.streams.audio[0], container.streams.video[0]
        with errors_as(BadVideo, f"the sound of {source} cannot be copied", "leave it out (--no-audio)"):
            stream = output.add_stream_from_template(heard)
        origin = (watched.start_time or 0) * watched.time_base
        # A codec's first packets may lie before 0 and are needed to start it up: only a later start drops any.
        packets = (
            packet
            for packet in container.demux(heard)
            if packet.pts is not None and (begin == 0 or packet.pts * packet.time_base >= origin + begin)
        )
        waiting = next(packets, None)

        def copy_sound(until: Fraction | None) -> None:
            nonlocal waiting
            while waiting is not None:
                time = waiting.pts * waiting.time_base - origin
                if (until is not None and time - begin > until) or (end is not None and time >= end):
                    return
                shift = round((origin + begin) / waiting.time_base)
                waiting.pts, waiting.dts = waiting.pts - shift, (waiting.dts or waiting.pts) - shift
                waiting.stream = stream
                output.mux(waiting)
                waiting = next(packets, None)

        yield copy_sound
