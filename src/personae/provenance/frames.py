"""The watermark in the frames of a video: a few of them, each by itself and all together.

watermark, rows, reason = of_frames("talk.mp4")      # rows: {"frame": 12, "watermark": True, "score": 9.1}
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from personae.errors import PersonaeError
from personae.io import video_file
from personae.provenance import pixel_mark
from personae.provenance.pixel_mark import Found
from personae.types import Array

FRAMES = 32  # of a video that are looked at, spread evenly over it
_MOST_POOLED = 2**28  # bytes of these frames

Numbered = tuple[int, Array]  # a frame (H, W, 3) RGB uint8 and which one it is


def of_frames(path: str) -> tuple[Found | None, list[dict[str, Any]], str]:
    """What the frames of a video say together (None: none could be looked at), what each says by itself, and why not
    all were looked at, if so: of a video that breaks off, what could be read counts."""
    some, reason = spread(video_file.glance(path, FRAMES))
    rows, alone = [], []
    try:
        for number, pixels in some:
            one = pixel_mark.DETECT([pixels])
            alone.append(one)
            rows.append({"frame": number, "watermark": one.present, "score": round(one.score, 2)})
        together = pixel_mark.DETECT(_of_one_size([pixels for _, pixels in some])) if some else None
    except PersonaeError as error:
        return None, rows, str(error)
    if together is not None and not together.present:  # a part of the film may be marked, and the rest not
        together = next((one for one in alone if one.present), together)
    return together, rows, reason


def spread(frames: Iterator[Numbered]) -> tuple[list[Numbered], str]:
    """Some of many frames, evenly spread, without knowing how many there are: every second of them goes whenever there
    are too many. And why the rest could not be read, if so."""
    some: list[Numbered] = []
    every = 1
    try:
        for place, one in enumerate(frames):
            if place % every:
                continue
            some.append(one)
            while len(some) > FRAMES or (len(some) > 1 and sum(pixels.nbytes for _, pixels in some) > _MOST_POOLED):
                some, every = some[::2], every * 2
    except PersonaeError as error:
        return some, str(error)
    return some, ""


def _of_one_size(pictures: Sequence[Array]) -> list[Array]:
    """Those of the size that most have: a film may change it on the way."""
    [(shape, _)] = Counter(one.shape for one in pictures).most_common(1)
    return [one for one in pictures if one.shape == shape]
