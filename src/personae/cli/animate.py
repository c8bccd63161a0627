"""personae edit animate | track: what `edit` does with videos."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from personae.cli import inputs
from personae.cli.destination import prepared, refuse_stdout, settled_marks
from personae.cli.option_groups import with_options
from personae.cli.options import Base, Dtype, Force, Guidance, Json, Licence, Model, NoC2pa, NoWatermark, Quiet, Steps
from personae.cli.report import say_written
from personae.cli.steering import typer_option
from personae.cli.terminal import is_silent, load_model, require_reader
from personae.console import say_json
from personae.errors import BadOption, BadVideo


class NoFaceInFrame(StrEnum):
    """What a frame of the driver that does not show the face does."""

    error = "error"
    hold = "hold"
    skip = "skip"


class Smoothing(StrEnum):
    """How the jitter of the reading is taken off."""

    savgol = "savgol"
    one_euro = "one-euro"
    none = "none"


OnFrame = Callable[[str, int, int | None], None]
Smooth = Annotated[Smoothing, typer.Option(help="How the jitter of the driver's reading is taken off.")]
MaxFrames = Annotated[int, typer.Option(min=1, help="A driver with more frames is refused.")]
MaxGap = Annotated[float, typer.Option(help="A driver that shows one picture for more seconds is refused.")]
DriverFace = Annotated[int, typer.Option(min=1, help="Which of the driver's faces is followed: 1 is the largest.")]


@dataclass(frozen=True, kw_only=True)
class AnimateOptions:
    """The options of `personae edit animate`."""

    out: Annotated[Path, typer.Option("--out", "-o", help="The video: .mp4, .mov or .mkv.")]
    frames: Annotated[
        str | None, typer.Option(help="Which of the driver's, e.g. 0:48 or 100:.", show_default="all")
    ] = None
    fps: Annotated[float | None, typer.Option(help="Frames per second, of a track that does not say.")] = None
    portrait: Annotated[
        bool, typer.Option("--portrait", help="The model's own picture of the person instead of the whole photo.")
    ] = False
    smooth: Smooth = Smoothing.savgol
    on_no_face: Annotated[
        NoFaceInFrame,
        typer.Option(help="A frame without the face: stop; fill its motion in; or leave the picture before it."),
    ] = NoFaceInFrame.error
    face: Annotated[int, typer.Option(min=1, help="Which face of the photo is moved: 1 is the largest.")] = 1
    driver_face: DriverFace = 1
    max_frames: MaxFrames = 200_000
    max_gap: MaxGap = 60.0
    no_audio: Annotated[bool, typer.Option("--no-audio", help="Leave the driver's sound out.")] = False
    seed: Annotated[int, typer.Option(min=0, help="Of the noise that every frame begins at.")] = 0
    steps: Steps = None
    guidance: Guidance = None
    speed: Annotated[str | None, typer_option("speed")] = None
    batch_size: Annotated[int, typer.Option(min=1, help="Frames made at once.")] = 8
    keep_frames: Annotated[
        bool, typer.Option("--keep-frames", help="Leave the finished frames beside the video, for other --frames.")
    ] = False
    model: Model = "nano"
    base: Base = None
    dtype: Dtype = None
    accept_licence: Licence = False
    no_watermark: NoWatermark = False
    no_c2pa: NoC2pa = False
    force: Force = False
    as_json: Json = False
    quiet: Quiet = False

    @property
    def of_a_call(self) -> dict[str, Any]:
        """As the pipeline takes them, without those that the user left out."""
        optional = {"num_inference_steps": self.steps, "guidance_scale": self.guidance, "speed": self.speed}
        return {name: value for name, value in optional.items() if value is not None}


@with_options(AnimateOptions)
def animate(
    source: Annotated[Path, typer.Argument(metavar="PHOTO", help="A photo of the person to move.")],
    driver: Annotated[
        Path, typer.Argument(metavar="DRIVER", help="A video of whoever does it; or a track: .json, .csv, .npz.")
    ],
    *,
    options: AnimateOptions,
) -> None:
    """Let a photo do what a video does, with its sound; the same command goes on after a stop.

    Example: personae edit animate me.jpg talk.mp4 -o me-talking.mp4
    """
    from personae.io import regular, video_file
    from personae.video import motion_track as tracks

    out = options.out
    frames = None if options.frames is None else _span(options.frames)
    video_file.pyav()  # before the model is loaded: what is missing, or in the way, is named at once
    refuse_stdout(out)
    video_file.format_of(out)
    limits = video_file.Limits(frames=options.max_frames, gap=options.max_gap)
    photo = inputs.one(source)
    regular.require(driver, None, BadVideo)
    _require_room(out, driver, options.force)
    if not options.no_audio and driver.suffix.lower() not in tracks.SUFFIXES:
        video_file.require_room_for_sound(out, video_file.probe(driver))
    marks = settled_marks(no_watermark=options.no_watermark, no_c2pa=options.no_c2pa)
    pipe = load_model(
        options.model,
        options.quiet,
        base=options.base,
        accept_licence=options.accept_licence,
        dtype=options.dtype,
    )
    from personae.video.animate import animate as run
    from personae.video.animation import Settings

    names = [one.name for one in fields(Settings)]
    settings = Settings(**{name: getattr(options, name) for name in names})
    with prepared(out.parent), _bar(options.quiet) as on_frame:
        done = run(
            pipe,
            photo.source,
            driver,
            out,
            settings=settings,
            frames=frames,
            fps=options.fps,
            limits=limits,
            audio=not options.no_audio,
            batch_size=options.batch_size,
            keep_frames=options.keep_frames,
            marks=marks,
            force=options.force,
            on_frame=on_frame,
            **options.of_a_call,
        )
    if options.as_json:
        say_json({"path": str(done.path), "report": str(done.report), "drawn": done.drawn})
    else:
        say_written([done.path])


def track(
    driver: Annotated[Path, typer.Argument(metavar="VIDEO", help="A video that shows a face.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The track: .json, .csv or .npz.")],
    smooth: Smooth = Smoothing.none,
    driver_face: DriverFace = 1,
    max_frames: MaxFrames = 200_000,
    max_gap: MaxGap = 60.0,
    model: Model = "nano",
    base: Base = None,
    accept_licence: Licence = False,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Read a face's pose and blendshapes off every frame of a video, as numbers to look at, change and drive with.

    Example: personae edit track talk.mp4 -o talk.csv
    """
    from personae.io import regular, video_file
    from personae.provenance import writer
    from personae.video import face_tracker, smoothing
    from personae.video import motion_track as tracks

    refuse_stdout(out)
    tracks.require_suffix(out)
    limits = video_file.Limits(frames=max_frames, gap=max_gap)
    regular.require(driver, None, BadVideo)
    writer.refuse_overwriting([out], force)
    reader = require_reader(model, base=base, accept_licence=accept_licence)
    with prepared(out.parent):
        with _bar(quiet) as on_frame:
            read = face_tracker.read(
                driver,
                reader,
                face=driver_face,
                limits=limits,
                on_frame=lambda count: on_frame("reading the driver", count, None),
            )
        tracks.save(out, smoothing.smoothed(read, smooth.value))
    say_written([out])


def _require_room(video: Path, driver: Path, force: bool) -> None:
    """Raise `BadOutput` if the video or its report is there, unless a stopped run has written that report, or it is the
    driver, which `animate` refuses to replace, force or not."""
    from personae.provenance import writer
    from personae.video.frame_store import holds_report

    report = video.with_suffix(".json")
    apart = holds_report(video, report) or (report.exists() and report.samefile(driver))
    writer.refuse_overwriting([video] if apart else [video, report], force)


def _span(text: str) -> tuple[int, int | None]:
    """`0:48`, `100:` or `:48`."""
    first, colon, end = text.partition(":")
    if not colon or not all(part == "" or part.isdecimal() for part in (first, end)):
        raise BadOption(f"--frames is first:end, e.g. 0:48 or 100:, got {text!r}")
    return int(first or 0), int(end) if end else None


@contextmanager
def _bar(quiet: bool) -> Iterator[OnFrame]:
    """What moves a bar on stderr for each stage of the work."""
    if is_silent(quiet):
        yield lambda stage, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()) as bars:
        tasks: dict[str, Any] = {}

        def on_frame(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield on_frame
