"""A photo that does what a video, or a track of numbers, does.

    done = animate(pipe, "me.jpg", "talk.mp4", "out.mp4", seed=0)
    done.path, done.report                                             # the video; beside it, out.json: frame by frame

Read the driver -> smooth -> draw the frames that are not there yet -> write the video with the driver's sound. A run
that was stopped goes on where it was when it is started again with the same settings; the video appears whole or not at
all.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from personae.editing import inputs
from personae.errors import BadOption, BadOutput, NoFaceFound
from personae.io import lock, video_file
from personae.model import Model
from personae.models.limits import Limits
from personae.provenance import writer
from personae.provenance.marks import Marks
from personae.provenance.recipe import ANIMATE, canonical
from personae.types import Face
from personae.video import face_tracker, smoothing
from personae.video import motion_track as tracks
from personae.video.animation import Animation, Settings, plan_of, row_of
from personae.video.frame_renderer import (
    FrameRenderer,
    Move,
    PhotoRenderer,
    PortraitRenderer,
    moves_of,
    require_drawable,
)
from personae.video.frame_store import FrameStore, holds_report
from personae.video.label import Label, label_of
from personae.video.motion_track import Track

OnFrame = Callable[[str, int, int | None], None]  # the stage of the work, how many frames are done, of how many


@dataclass(frozen=True, kw_only=True)
class Job:
    """What `animate` is called with, once the files are checked and the face is read. What is wrong with it is named
    before the driver is read, as far as it is known by then."""

    pipe: Model
    face: Face
    driver: str | Path | Track
    settings: Settings
    frames: tuple[int, int | None] | None
    fps: float | None
    limits: video_file.Limits | None
    batch_size: int
    on_frame: OnFrame
    options: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise BadOption(f"batch_size must be at least 1, got {self.batch_size}")
        start, stop = self.frames or (0, None)
        if start < 0 or (stop is not None and stop <= start):
            raise BadOption(f"frames {start}:{stop} are not there: give first and end, 0 or more, the end the larger")
        require_drawable(self.pipe, self.options, portrait=self.settings.portrait)


@dataclass(frozen=True, kw_only=True)
class Film:
    """The frames `start` to `stop` of a driver, drawn. track: the driver's, as read. moves: of all frames. moved_by:
    which options of the pipeline moved the face. drawn: how many frames were generated now."""

    track: Track
    moves: Sequence[Move | None]
    start: int
    stop: int
    moved_by: Sequence[str]
    drawn: int

    @property
    def pictures(self) -> list[int]:
        """The number of the picture that each frame shows: its own, or the last before it, or the first there is."""
        with_picture = [t for t in range(self.start, self.stop) if self.moves[t] is not None]
        before = np.searchsorted(with_picture, range(self.start, self.stop), side="right") - 1
        return [with_picture[max(index, 0)] for index in before.tolist()]


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
    marks: Marks | None = None,
    force: bool = False,
    on_frame: OnFrame = lambda stage, done, total: None,
    **options: Any,
) -> Animation:
    """A video of the person of `source` doing what the face of `driver` does.

    driver: a video, a track's file (`.json`, `.csv`, `.npz`) or a `Track`. frames: (first, end) of the driver's, None:
    to its last; smoothing uses the others, too. fps: of a track that does not say. limits: how far a video is read.
    audio: copy the driver's sound. batch_size: frames per call of the pipeline. keep_frames: leave the PNGs, for other
    ranges of frames. marks: what the video is marked with, None: `Marks.of_environment()`.
    on_frame: hears how far it is. options: of the call, e.g. `num_inference_steps`, `speed`.

    Raises `BadVideo`, `BadImage`, `BadData`; `BadOption` for settings that there are not; `BadOutput` if `out` is
    there, unless `force`, or is what is read, or another process is at work on it; `NoFaceFound`; `WeightsMissing`.
    """
    chosen, target = settings or Settings(), Path(out)
    report, sound = target.with_suffix(".json"), _sound(driver, target, audio)
    replace_report = _require_room(target, report, [source, driver], force)
    face = inputs.read_input(pipe, "source", source).face(chosen.face)
    job = Job(pipe=pipe, face=face, driver=driver, settings=chosen, frames=frames, fps=fps, limits=limits,
              batch_size=batch_size, on_frame=on_frame, options=options)  # fmt: skip
    label = label_of(target, face, marks or Marks.of_environment(), driver)
    began = time.perf_counter()
    plan = plan_of(pipe, face, driver, chosen, fps=fps, options=options, measured=isinstance(source, Face))
    alone = lock.own(target.with_name(f".{target.name}.lock"), f"the video {target}")
    with alone, FrameStore.beside(target, plan, force=force) as store:
        film = draw_film(job, store)
        label = label.fitting(store.get(film.pictures[0]))
        facts = plan | {
            "fps": str(film.track.fps),
            "start": film.start,
            "sound": sound is not None,
            "moved_by": list(film.moved_by),
            "marks": label.marks.recorded(),
        }
        seconds = round(time.perf_counter() - began, 3)
        content = facts | {"seconds": seconds, "drawn": film.drawn, "frames": rows_of(film, chosen)}
        write_report(store, report, content, force=replace_report)
        write_video(store, target, film, facts, sound, label, force=force)
        if not keep_frames:
            store.remove()
    return Animation(path=target, report=report, drawn=film.drawn)


# ---------------------------------------------------------------------- before the work


def _require_room(target: Path, report: Path, read: Sequence[Any], force: bool) -> bool:
    """Raise `BadOutput` if the video or its report may not be written. Whether the report may be replaced: a run that
    was stopped may have written it already, the last thing before the video."""
    _refuse_to_replace([target, report], read)
    ours = holds_report(target, report)
    writer.refuse_overwriting([target] if ours else [target, report], force)
    writer.prepare(target.parent)
    return force or ours


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


# ---------------------------------------------------------------------- its stages


def draw_film(job: Job, store: FrameStore) -> Film:
    """Read the driver, smooth its motion, and draw the frames that are not in the store."""
    track = _track(job, store)
    start, stop = _range(job.frames, len(track))
    steady = smoothing.smoothed(_filled(track, job.settings, start, stop), job.settings.smooth)
    moves = moves_of(steady, job.pipe.config.crop_template, Limits.of(job.pipe.folder).most)
    renderer = _renderer(job, moves)
    drawn = _draw(renderer, moves, range(start, stop), store, job.batch_size, job.on_frame)
    return Film(track=track, moves=moves, start=start, stop=stop, moved_by=renderer.moved_by, drawn=drawn)


def _track(job: Job, store: FrameStore) -> Track:
    """The driver's track as read, from the stopped run if that came so far."""
    driver = job.driver
    if isinstance(driver, Track):
        return driver
    if _is_track(driver):
        return tracks.load(driver, fps=job.fps)
    if job.fps is not None:
        raise BadOption("fps is for tracks that do not say theirs: a video has its own")
    if not store.reading.is_file():
        assert job.pipe.reader is not None  # it has read the source
        track = face_tracker.read(
            driver,
            job.pipe.reader,
            face=job.settings.driver_face,
            limits=job.limits,
            on_frame=lambda count: job.on_frame("reading the driver", count, None),
        )
        tracks.save(store.reading, track)
    return tracks.load(store.reading)  # also when it was just read, so that a run that goes on has the same numbers


def _range(frames: tuple[int, int | None] | None, count: int) -> tuple[int, int]:
    start, stop = frames or (0, None)
    stop = count if stop is None else stop
    if not 0 <= start < stop <= count:
        raise BadOption(f"frames {start}:{stop} are not there: the driver has 0:{count}")
    return start, stop


def _filled(track: Track, settings: Settings, start: int, stop: int) -> Track:
    """The track, its holes treated as `on_no_face` says. Raises `NoFaceFound`, naming the frames."""
    if not track.visible[start:stop].any():
        raise NoFaceFound(f"none of the frames {start}:{stop} of the driver shows the face: choose others")
    missing = [t for t in range(start, stop) if not track.visible[t]]
    if missing and settings.on_no_face == "error":
        raise NoFaceFound(
            f"no face in {len(missing)} of the driver's {stop - start} frames ({face_tracker.spans(missing)}): "
            "pass --on-no-face hold or skip"
        )
    return smoothing.without_gaps(track) if settings.on_no_face == "hold" else track


def _renderer(job: Job, moves: Sequence[Move | None]) -> PortraitRenderer | PhotoRenderer:
    seed, options = job.settings.seed, job.options
    if job.settings.portrait:
        return PortraitRenderer(job.pipe, job.face, seed=seed, options=options)
    return PhotoRenderer(job.pipe, job.face, [one for one in moves if one is not None], seed=seed, options=options)


def _draw(
    renderer: FrameRenderer,
    moves: Sequence[Move | None],
    numbers: range,
    store: FrameStore,
    batch_size: int,
    on_frame: OnFrame,
) -> int:
    """Make the frames that are not in the store; returns how many."""
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


def rows_of(film: Film, settings: Settings) -> list[dict[str, Any]]:
    """What the report says of each frame."""
    frames = zip(range(film.start, film.stop), film.pictures, strict=True)
    return [row_of(t, film.track, film.moves[t], picture, settings) for t, picture in frames]


def write_report(store: FrameStore, report: Path, content: Mapping[str, Any], *, force: bool) -> None:
    """The JSON beside the video. The store knows it first, so that a run that goes on may replace it."""
    text = json.dumps({"format": "personae.animation/1"} | dict(content), indent=1).encode()
    store.keep_report(text)
    writer.write(report, text, force=force)


def write_video(
    store: FrameStore,
    target: Path,
    film: Film,
    facts: Mapping[str, Any],
    sound: str | Path | None,
    label: Label,
    *,
    force: bool,
) -> None:
    """The video, whole or not at all, from the store's frames, with its marks. facts: for the file's metadata."""
    text = canonical(dict(facts) | {"task": ANIMATE, "ai_generated": True})
    video_file.write(
        target,
        label.in_pixels((store.get(number) for number in film.pictures), text),
        fps=film.track.fps,
        sound=sound,
        start=film.start,
        stop=None if film.stop == len(film.track) else film.stop,
        notes={"description": "AI generated", "comment": text},
        finish=lambda path: label.sign(path, text),
        force=force,
    )
