"""A photo that does what a video, or a track of numbers, does.

    done = animate(pipe, "me.jpg", "talk.mp4", "out.mp4", seed=0)
    done.path, done.report                                             # the video; beside it, out.json: frame by frame

Read the driver -> smooth -> draw the frames that are not there yet -> write the video with the driver's sound. A run
that was stopped goes on where it was when the same is asked for again; the video appears whole or not at all.
"""

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from PIL import Image

from personae.editing import inputs
from personae.errors import BadOption, BadOutput, BadVideo, NoFaceFound, unknown_name
from personae.io import lock, regular
from personae.model import Model
from personae.models.limits import Limits
from personae.provenance import writer
from personae.provenance.recipe_schema import FILES
from personae.reading.photo import load_photo, record_of
from personae.types import Face, Photo
from personae.version import __version__
from personae.video import face_tracker as driving
from personae.video import motion_track as tracks
from personae.video import smoothing, video_file
from personae.video.face_tracker import spans
from personae.video.frame_renderer import FrameRenderer, Move, PhotoRenderer, PortraitRenderer, moves_of
from personae.video.frame_store import FrameStore, digest, holds_report
from personae.video.motion_track import Track

ON_NO_FACE = ("error", "hold", "skip")
OnFrame = Callable[[str, int, int | None], None]  # what is being done, how many are, of how many


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


def animate(
    pipe: Model,
    source: inputs.EditSource,
    driver: str | Path | Track,
    out: str | Path,
    *,
    settings: Settings | None = None,
    frames: tuple[int, int | None] | None = None,
    fps: float | None = None,
    limits: video_file.Limits | None = None,
    audio: bool = True,
    batch_size: int = 8,
    keep_frames: bool = False,
    force: bool = False,
    on_frame: OnFrame = lambda stage, done, total: None,
    **options: Any,
) -> Animation:
    """A video of the person of `source` doing what the face of `driver` does.

    driver: a video, a track's file (`.json`, `.csv`, `.npz`) or a `Track`. frames: (first, end) of the driver's, None:
    to its last; smoothing sees the others, too. fps: of a track that does not say. limits: how far a video is read.
    audio: copy the driver's sound. batch_size: frames per call of the pipeline. keep_frames: leave the PNGs, for other
    ranges of frames. on_frame: hears how far it is. options: of the call, e.g. `num_inference_steps`, `speed`,
    `pose_scale`.

    Raises `BadVideo`, `BadImage`, `BadData`; `BadOption` for settings that there are not; `BadOutput` if `out` is
    there, unless `force`, or is what is read, or another process is at work on it; `NoFaceFound`; `WeightsMissing`.
    """
    asked, target = settings or Settings(), Path(out)
    report = target.with_suffix(".json")
    sound = _sound(driver, target, audio)
    _refuse_to_replace([target, report], [source, driver])
    # A run that was stopped may have written its report already, the last thing before the video.
    ours = holds_report(target, report)
    writer.refuse_overwriting([target] if ours else [target, report], force)
    writer.prepare(target.parent)
    face = inputs.read_input(pipe, "source", source).face(asked.face)
    began = time.perf_counter()
    plan = _plan(pipe, face, driver, asked, fps, options)
    alone = lock.own(target.with_name(f".{target.name}.lock"), f"the video {target}")
    with alone, FrameStore.beside(target, plan, force=force) as store:
        read = _track(pipe, driver, asked, fps, store, limits, on_frame)
        start, stop = _range(frames, len(read))
        steady = smoothing.smoothed(_filled(read, asked, start, stop), asked.smooth)
        moves = moves_of(steady, pipe.config.crop_template, Limits.of(pipe.folder).most)
        renderer = _renderer(pipe, face, moves, asked, options)
        drawn = _draw(renderer, moves, range(start, stop), store, batch_size, on_frame)

        facts = plan | {
            "fps": str(read.fps),
            "start": start,
            "sound": sound is not None,
            "moved_by": list(renderer.moved_by),
        }
        shown = _shown(moves, start, stop)
        rows = [_row(t, read, moves[t], shown[t - start], asked) for t in range(start, stop)]
        took = {"seconds": round(time.perf_counter() - began, 3), "drawn": drawn}
        told = {"format": "personae.animation/1"} | facts | took | {"frames": rows}
        content = json.dumps(told, indent=1).encode()
        store.keep_report(content)
        writer.write(report, content, force=force or ours)
        video_file.write(
            target,
            (store.get(number) for number in shown),
            fps=read.fps,
            sound=sound,
            start=start,
            stop=None if stop == len(read) else stop,
            notes={"description": "AI generated", "comment": json.dumps(facts | {"ai_generated": True})},
            force=force,
        )
        if not keep_frames:
            store.remove()
    return Animation(path=target, report=report, drawn=drawn)


# ---------------------------------------------------------------------- its stages


def _refuse_to_replace(written: Sequence[Path], read: Sequence[Any]) -> None:
    """Raise `BadOutput` if a file to be written is one of those to be read, by whatever name: force or not."""
    sources = [one.photo.source if isinstance(one, Face) and one.photo else one for one in read]
    paths = [Path(one) for one in sources if isinstance(one, str | Path)]
    for target in written:
        for path in paths:
            if target.exists() and path.exists() and target.samefile(path):
                raise BadOutput(
                    f"{target} is what is read: it would be replaced by what is made of it; choose another -o"
                )


def _sound(driver: str | Path | Track, target: Path, audio: bool) -> str | Path | None:
    """The file whose sound is copied, if there is any. Raises as `video.probe`, and `BadOption` where it cannot go."""
    video_file.pyav()
    video_file.format_of(target)
    if isinstance(driver, Track) or _is_track(driver):
        return None
    clip = video_file.probe(driver)
    if not audio or clip.sound is None:
        return None
    video_file.require_room_for_sound(target, clip)
    return driver


def _is_track(driver: str | Path) -> bool:
    return Path(driver).suffix.lower() in tracks.SUFFIXES


def _plan(
    pipe: Model,
    face: Face,
    driver: str | Path | Track,
    settings: Settings,
    fps: float | None,
    options: dict[str, Any],
) -> dict[str, Any]:
    """All that decides what frame t looks like."""
    assert face.photo is not None  # `cast.read` has seen to it
    known = digest(tracks.to_json(driver)) if isinstance(driver, Track) else regular.sha256(driver, BadVideo)
    return {
        "model": {"name": Path(pipe.name or "unnamed").name, "sha256": pipe.sha256},
        "source": {
            "sha256": digest(face.photo.pixels.tobytes()),
            "box": [round(float(edge)) for edge in face.detection.box],
        },
        "driver": {"sha256": known, "fps": fps},
        "settings": asdict(settings),
        "options": json.loads(json.dumps({n: _recorded(n, v) for n, v in options.items()}, default=str)),
        "software": f"personae {__version__}",
    }


def _recorded(name: str, value: Any) -> Any:
    """An option as the report tells it: of a file its content's hash and its name, never where it lies."""
    if name not in FILES:
        return value
    if isinstance(value, str | os.PathLike):
        return {"sha256": regular.sha256(value, BadOption), "name": Path(value).name}
    return record_of(load_photo(value)) if isinstance(value, Image.Image | Photo | bytes) else value


def _track(
    pipe: Model,
    driver: str | Path | Track,
    settings: Settings,
    fps: float | None,
    store: FrameStore,
    limits: video_file.Limits | None,
    on_frame: OnFrame,
) -> Track:
    """The driver's track as read, from the stopped run if that came so far."""
    if isinstance(driver, Track):
        return driver
    if _is_track(driver):
        return tracks.load(driver, fps=fps)
    if fps is not None:
        raise BadOption("fps is for tracks that do not say theirs: a video has its own")
    kept = store.folder / "driver.json"
    if not kept.is_file():
        assert pipe.reader is not None  # it has read the source
        tracks.save(
            kept,
            driving.read(
                driver,
                pipe.reader,
                face=settings.driver_face,
                limits=limits,
                on_frame=lambda count: on_frame("reading the driver", count, None),
            ),
        )
    return tracks.load(kept)  # also when it was just read, so that a run that goes on has the same numbers


def _range(frames: tuple[int, int | None] | None, count: int) -> tuple[int, int]:
    start, stop = frames or (0, None)
    stop = count if stop is None else stop
    if not 0 <= start < stop <= count:
        raise BadOption(f"frames {start}:{stop} are not there: the driver has 0:{count}")
    return start, stop


def _filled(track: Track, settings: Settings, start: int, stop: int) -> Track:
    """The track with its holes treated as asked. Raises `NoFaceFound`, naming the frames."""
    if not track.visible[start:stop].any():
        raise NoFaceFound(f"no face is seen in the frames {start}:{stop} of the driver: choose others")
    missing = [t for t in range(start, stop) if not track.visible[t]]
    if missing and settings.on_no_face == "error":
        raise NoFaceFound(
            f"no face in {len(missing)} of the driver's {stop - start} frames ({spans(missing)}): "
            "pass --on-no-face hold or skip"
        )
    return smoothing.held(track) if settings.on_no_face == "hold" else track


def _renderer(
    pipe: Model, face: Face, moves: Sequence[Move | None], settings: Settings, options: dict[str, Any]
) -> PortraitRenderer | PhotoRenderer:
    if settings.portrait:
        return PortraitRenderer(pipe, face, seed=settings.seed, options=options)
    asked = [move for move in moves if move is not None]
    return PhotoRenderer(pipe, face, asked, seed=settings.seed, options=options)


def _draw(
    renderer: FrameRenderer,
    moves: Sequence[Move | None],
    numbers: range,
    store: FrameStore,
    batch_size: int,
    on_frame: OnFrame,
) -> int:
    """Make the frames that are not in the store; returns how many."""
    if batch_size < 1:
        raise BadOption(f"batch_size must be at least 1, got {batch_size}")
    wanted = [(t, move) for t in numbers if (move := moves[t]) is not None]
    drawn = done = 0
    # By the frames' own numbers: a run that goes on must draw them in the company they would have had, since that
    # decides how their last digits are rounded.
    for _, group in groupby(wanted, key=lambda one: one[0] // batch_size):
        some = list(group)
        missing = {t for t, _ in some if t not in store}
        on_frame("drawing", done, len(wanted))
        for (t, _), picture in zip(some, renderer.draw([move for _, move in some]) if missing else [], strict=False):
            if t in missing:
                store.put(t, picture)
        drawn, done = drawn + len(missing), done + len(some)
    on_frame("drawing", len(wanted), len(wanted))
    return drawn


def _shown(moves: Sequence[Move | None], start: int, stop: int) -> list[int]:
    """The number of the picture that every frame shows: its own, or the last before it, or the first there is."""
    shown = next(t for t in range(start, stop) if moves[t] is not None)
    result = []
    for t in range(start, stop):
        shown = t if moves[t] is not None else shown
        result.append(shown)
    return result


def _row(t: int, track: Track, move: Move | None, shown: int, settings: Settings) -> dict[str, Any]:
    """What the report says of a frame."""
    row: dict[str, Any] = {"frame": t, "seconds": round(float(t / track.fps), 4), "face": bool(track.visible[t])}
    if move is None:
        return row | {"made": "skipped", "shows": shown}
    pose = {name: round(value, 2) for name, value in asdict(move.pose).items()} | {"tilt": round(move.tilt, 2)}
    row |= {"made": "read" if track.visible[t] else settings.on_no_face, "pose": pose}
    return row | {"limited": True} if move.limited else row
