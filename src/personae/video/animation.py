"""What decides how an animation looks, and what is reported of it.

settings = Settings(seed=7, smooth="one-euro")
plan = plan_of(pipe, face, "talk.mp4", settings, fps=None, options={})    # plain JSON
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from personae.errors import BadOption, BadVideo, unknown_name
from personae.io import regular
from personae.model import Model
from personae.provenance.recipe_schema import FILES
from personae.reading.photo import load_photo, record_of
from personae.types import Face, Photo
from personae.version import __version__
from personae.video import motion_track as tracks
from personae.video import smoothing
from personae.video.frame_renderer import Move
from personae.video.frame_store import digest
from personae.video.motion_track import Track

ON_NO_FACE = ("error", "hold", "skip")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What decides how an animation looks, beside the people in it and the options of the pipeline's call.

    seed: of the noise of every frame. smooth: a row of `smoothing.SMOOTHERS`. portrait: the model's own picture of the
    person instead of the photo. on_no_face: what a frame of the driver without the face does: `error`; `hold`: its
    motion is filled in from the frames around; `skip`: the picture before it stays. face: which one of the photo is
    moved, driver_face: which one of the driver is followed; 1 the largest.
    """

    seed: int = 0
    smooth: str = "savgol"
    portrait: bool = False
    on_no_face: str = "error"
    face: int = 1
    driver_face: int = 1

    def __post_init__(self) -> None:
        if self.smooth not in smoothing.SMOOTHERS:
            raise unknown_name("smoothing", self.smooth, smoothing.SMOOTHERS)
        if self.on_no_face not in ON_NO_FACE:
            raise unknown_name("way to treat a frame without a face", self.on_no_face, ON_NO_FACE)
        if self.face < 1 or self.driver_face < 1:
            raise BadOption("faces are counted from 1, the largest")


@dataclass(frozen=True, kw_only=True)
class Animation:
    """An animation: `path` of the video, `report` of the JSON beside it (docs/guides/video.md); `drawn`: how many
    frames were generated now, not found from a run before."""

    path: Path
    report: Path
    drawn: int


def plan_of(
    pipe: Model,
    face: Face,
    driver: str | Path | Track,
    settings: Settings,
    *,
    fps: float | None,
    options: Mapping[str, Any],
    measured: bool = False,
) -> dict[str, Any]:
    """All that decides what frame t looks like, as plain JSON. fps: of a track that does not say. options: of the
    pipeline's call. measured: the caller gave the face, not its photo, which then does not decide who it is and what it
    does. Raises `BadVideo` for a driver that cannot be read, `BadOption` or `BadImage` for such a file of the options.
    """
    assert face.photo is not None  # `inputs.read_input` has seen to it
    sha256 = digest(tracks.to_json(driver)) if isinstance(driver, Track) else regular.sha256(driver, BadVideo)
    return {
        "model": {"name": Path(pipe.name or "unnamed").name, "sha256": pipe.sha256},
        "source": {
            "sha256": digest(face.photo.pixels.tobytes()),
            "box": [round(float(edge)) for edge in face.detection.box],
            **(_reading_of(face) if measured else {}),
        },
        "driver": {"sha256": sha256, "fps": fps},
        "settings": asdict(settings),
        "options": json.loads(json.dumps({n: _recorded(n, v) for n, v in options.items()}, default=_hashed)),
        "software": f"personae {__version__}",
    }


def _reading_of(face: Face) -> dict[str, str]:
    """What was measured of a face, by its hashes."""
    hashes = {}
    if face.identity is not None:
        hashes["identity_sha256"] = digest(face.identity.vector.tobytes())
    if face.motion is not None:
        pose, motion = astuple(face.motion.pose), face.motion
        numbers = [np.asarray(one, np.float64).tobytes() for one in (pose, motion.blendshapes, motion.landmarks)]
        hashes["motion_sha256"] = digest(b"".join(numbers))
    return hashes


def _recorded(name: str, value: Any) -> Any:
    """An option as the report holds it: of a file its content's hash and its name, never where it lies."""
    if name in FILES and isinstance(value, str | os.PathLike):
        return {"sha256": regular.sha256(value, BadOption), "name": Path(value).name}
    return value


def _hashed(value: Any) -> Any:
    """What JSON cannot hold: photos and arrays by their hashes, anything else by what it says of itself."""
    if isinstance(value, Image.Image | Photo | bytes | bytearray | memoryview):
        return record_of(load_photo(value))
    if isinstance(value, np.ndarray):
        return {"sha256": digest(f"{value.shape} {value.dtype.str} ".encode() + value.tobytes())}
    return str(value)


def row_of(t: int, track: Track, move: Move | None, picture: int, settings: Settings) -> dict[str, Any]:
    """What the report says of frame t, which shows the picture number `picture`."""
    visible = bool(track.visible[t])
    row: dict[str, Any] = {"frame": t, "seconds": round(float(t / track.fps), 4), "face": visible}
    if move is None:
        return row | {"made": "skipped", "shows": picture}
    pose = {name: round(value, 2) for name, value in asdict(move.pose).items()} | {"tilt": round(move.tilt, 2)}
    row |= {"made": "read" if visible else settings.on_no_face, "pose": pose}
    return row | {"limited": True} if move.limited else row
