"""Short videos for tests: faces of the tiny reader (white rectangles) that wander, and a sine to listen to."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from reading_fixtures import white_face

RATE = 16_000  # Hz, of the sound


def wandering(count: int, *, empty: Sequence[int] = ()) -> list[np.ndarray]:
    """Frames (160, 320, 3) in which one "face" moves to the right and grows; none in those of `empty`."""
    grey = np.full((160, 320, 3), 90, np.uint8)
    return [
        grey if t in empty else white_face(grey, 20 + 2 * t, 30, 90 + 3 * t, 130)  # (top, bottom): 30, 130
        for t in range(count)
    ]


def write_video(
    path: Path,
    frames: Sequence[np.ndarray],
    *,
    fps: Fraction | int = 25,
    sound: str | None = "aac",
    times: Sequence[int] | None = None,
) -> Path:
    """`frames` as H.264, at the ticks `times` of 1 / fps (None: one after the other), and a sine of 440 Hz."""
    with av.open(str(path), "w") as made:
        stream = made.add_stream("libx264", rate=fps, options={"crf": "8"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        heard = made.add_stream(sound, rate=RATE, layout="mono") if sound else None
        for tick, pixels in zip(times or range(len(frames)), frames, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = tick, 1 / Fraction(fps)
            made.mux(stream.encode(frame))
        made.mux(stream.encode())
        if heard is not None:
            seconds = float(len(frames) / Fraction(fps))
            wave = np.sin(2 * np.pi * 440 * np.arange(int(RATE * seconds)) / RATE) * 8000
            samples = av.AudioFrame.from_ndarray(wave.astype(np.int16)[None], format="s16", layout="mono")
            samples.sample_rate, samples.pts = RATE, 0
            made.mux(heard.encode(samples))
            made.mux(heard.encode())
    return path


def packets(path: Path) -> list[tuple[float, bytes]]:
    """The sound of a file: when each packet is heard, in seconds, and what it holds."""
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return []
        heard = container.streams.audio[0]
        return [(float(p.pts * p.time_base), bytes(p)) for p in container.demux(heard) if p.pts is not None]
