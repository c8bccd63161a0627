"""personae edit animate | track: what `edit` does with videos."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from personae.cli import inputs
from personae.cli.destination import prepared, refuse_stdout
from personae.cli.options import Base, Force, Json, Licence, Model, Quiet, Steps
from personae.cli.report import say_written
from personae.cli.terminal import is_silent, load_model, require_reader, say_json
from personae.errors import BadOption


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


def animate(
    source: Annotated[Path, typer.Argument(metavar="PHOTO", help="A photo of the person to move.")],
    driver: Annotated[
        Path, typer.Argument(metavar="DRIVER", help="A video of whoever does it; or a track: .json, .csv, .npz.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The video: .mp4, .mov or .mkv.")],
    frames: Annotated[
        str | None, typer.Option(help="Which of the driver's, e.g. 0:48 or 100:.", show_default="all")
    ] = None,
    fps: Annotated[float | None, typer.Option(help="Frames per second, of a track that does not say.")] = None,
    portrait: Annotated[
        bool, typer.Option("--portrait", help="The model's own picture of the person instead of the whole photo.")
    ] = False,
    smooth: Smooth = Smoothing.savgol,
    on_no_face: Annotated[
        NoFaceInFrame,
        typer.Option(help="A frame without the face: stop; fill its motion in; or leave the picture before it."),
    ] = NoFaceInFrame.error,
    face: Annotated[int, typer.Option(min=1, help="Which face of the photo is moved: 1 is the largest.")] = 1,
    driver_face: DriverFace = 1,
    max_frames: MaxFrames = 200_000,
    max_gap: MaxGap = 60.0,
    no_audio: Annotated[bool, typer.Option("--no-audio", help="Leave the driver's sound out.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the noise that every frame begins at.")] = 0,
    steps: Steps = None,
    guidance: Annotated[
        float | None, typer.Option(help="How strictly to follow the identity.", show_default="the model's")
    ] = None,
    speed: Annotated[
        str | None, typer.Option(help="exact, balanced or fast: what may be skipped.", show_default="exact")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Frames made at once.")] = 8,
    keep_frames: Annotated[
        bool, typer.Option("--keep-frames", help="Leave the finished frames beside the video, for other --frames.")
    ] = False,
    model: Model = "nano",
    base: Base = None,
    accept_licence: Licence = False,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Let a photo do what a video does, with its sound; the same command goes on after a stop.

    Example: personae edit animate me.jpg talk.mp4 -o me-talking.mp4
    """
    from personae.provenance import writer
    from personae.video import video_file

    span = None if frames is None else _span(frames)
    video_file.pyav()  # before the model is loaded: what is missing, or in the way, is said at once
    refuse_stdout(out)
    video_file.format_of(out)
    photo = inputs.one(source)
    writer.refuse_overwriting([out], force)
    pipe = load_model(model, quiet, base=base, accept_licence=accept_licence)
    from personae.video.animate import Settings
    from personae.video.animate import animate as run

    options = {"num_inference_steps": steps, "guidance_scale": guidance, "speed": speed}
    with prepared(out.parent), _bar(quiet) as on_frame:
        done = run(
            pipe,
            photo.source,
            driver,
            out,
            settings=Settings(
                seed=seed,
                smooth=smooth.value,
                portrait=portrait,
                on_no_face=on_no_face.value,
                face=face,
                driver_face=driver_face,
            ),
            frames=span,
            fps=fps,
            limits=video_file.Limits(frames=max_frames, gap=max_gap),
            audio=not no_audio,
            batch_size=batch_size,
            keep_frames=keep_frames,
            force=force,
            on_frame=on_frame,
            **{name: value for name, value in options.items() if value is not None},
        )
    if as_json:
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
    from personae.provenance import writer
    from personae.video import face_tracker as driving
    from personae.video import motion_track as tracks
    from personae.video import smoothing, video_file

    refuse_stdout(out)
    tracks.require_suffix(out)
    writer.refuse_overwriting([out], force)
    reader = require_reader(model, base=base, accept_licence=accept_licence)
    with prepared(out.parent):
        with _bar(quiet) as on_frame:
            read = driving.read(
                driver,
                reader,
                face=driver_face,
                limits=video_file.Limits(frames=max_frames, gap=max_gap),
                on_frame=lambda count: on_frame("reading the driver", count, None),
            )
        tracks.save(out, smoothing.smoothed(read, smooth.value))
    say_written([out])


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
