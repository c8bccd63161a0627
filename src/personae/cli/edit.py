"""personae edit swap | head | reenact | inpaint | attribute | style | mix

A verb for each row of `editing.tasks.TASKS`: it reads photos, edits faces in one of them after the other, and writes
that photo again at its full size, all around the edit as it was. What every verb takes is `Common`.
"""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personae.cli import inputs
from personae.cli.animate import animate, track
from personae.cli.completion import starting
from personae.cli.destination import destination, prepared, settled_marks
from personae.cli.option_groups import with_options
from personae.cli.options import (
    Base,
    Dtype,
    Force,
    Guidance,
    ImageFormat,
    Json,
    Licence,
    Model,
    NoC2pa,
    NoFace,
    NoWatermark,
    OnNoFace,
    Out,
    Quiet,
    Steps,
)
from personae.cli.report import Report
from personae.cli.steering import typer_option
from personae.cli.terminal import answer, load_model, progress, require_reader
from personae.console import note
from personae.controls.expression import read_expression
from personae.controls.pose import read_pose
from personae.errors import BadOption, BadOutput, NoFaceFound
from personae.reading.region_table import GROUPS, REGIONS

if TYPE_CHECKING:
    from personae.reading.reader import FaceReader
    from personae.types import Face

edit = typer.Typer(help="Change the faces in photos. Example: personae edit swap me.jpg target.jpg")
edit.command("animate")(animate)
edit.command("track")(track)

Source = Annotated[Path, typer.Argument(metavar="SOURCE", help="A photo of the person to put in.")]
Photos = Annotated[list[Path], typer.Argument(metavar="PHOTO", help="The photos to change; - is one from stdin.")]
SourcePhoto = Annotated[Path | None, typer.Option(help="A photo of the face that it comes from.")]


@dataclass(frozen=True, kw_only=True)
class Common:
    """The options of every edit."""

    out: Out = Path("personae-out")
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Results per photo.")] = 1
    seed: Annotated[int | None, typer_option("seed")] = None
    face: Annotated[
        int | None, typer.Option(min=1, help="Which face of the photo is changed: 1 is the largest.", show_default="1")
    ] = None
    all_faces: Annotated[bool, typer.Option("--all-faces", help="Change every face of the photo.")] = False
    steps: Steps = None
    guidance: Guidance = None
    likeness_guidance: Annotated[float | None, typer_option("likeness_guidance", default="the task's")] = None
    motion_guidance: Annotated[float | None, typer_option("motion_guidance", default="the task's")] = None
    strength: Annotated[float | None, typer_option("strength", default="the task's")] = None
    model: Model = "nano"
    base: Base = None
    dtype: Dtype = None
    accept_licence: Licence = False
    format: ImageFormat = None
    no_identity: Annotated[
        bool, typer.Option("--no-identity", help="Keep the photos' names out of the results; their hashes stay.")
    ] = False
    no_watermark: NoWatermark = False
    no_c2pa: NoC2pa = False
    on_no_face: NoFace = OnNoFace.error
    force: Force = False
    as_json: Json = False
    quiet: Quiet = False

    @property
    def of_a_call(self) -> dict[str, Any]:
        """As `pipe.edit` takes them, without those that the user left out."""
        optional = {
            "num_inference_steps": self.steps,
            "guidance_scale": self.guidance,
            "likeness_guidance": self.likeness_guidance,
            "motion_guidance": self.motion_guidance,
            "strength": self.strength,
        }
        picked = {"face": self.face or 1, "all_faces": self.all_faces, "num_images": self.count}
        return picked | {name: value for name, value in optional.items() if value is not None}


# ---------------------------------------------------------------------- the verbs


@edit.command()
@with_options(Common)
def swap(source: Source, photos: Photos, *, options: Common) -> None:
    """Put the source's face into photos, doing what the faces there do.

    Example: personae edit swap me.jpg group.jpg --face 2
    """
    _run("swap", photos, options, sources={"source": source})


@edit.command()
@with_options(Common)
def head(source: Source, photos: Photos, *, options: Common) -> None:
    """Put the source's whole head, hair and all, into photos.

    Example: personae edit head me.jpg target.jpg -n 4
    """
    _run("head", photos, options, sources={"source": source})


@edit.command()
@with_options(Common)
def reenact(
    photos: Photos,
    driver: Annotated[Path, typer.Argument(metavar="DRIVER", help="A photo of whoever does what is to be done.")],
    *,
    options: Common,
) -> None:
    """Let the faces of photos do what the driver's does: pose, expression and gaze.

    Example: personae edit reenact me.jpg driver.jpg
    """
    _run("reenact", photos, options, canvas="source", sources={"target": driver})


@edit.command()
@with_options(Common)
def inpaint(
    photos: Photos,
    region: Annotated[
        list[str] | None,
        typer.Option(
            help="face, head, skin, brows, eyes, nose, mouth, hair or surroundings; more than one: repeat.",
            autocompletion=starting((*GROUPS, *REGIONS)),
        ),
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(help="A picture as large as the photo, white where it is to be made anew.")
    ] = None,
    *,
    options: Common,
) -> None:
    """Make a part of a face anew, knowing whose it is.

    Example: personae edit inpaint me.jpg --region mouth
    """
    if not region and mask is None:
        raise BadOption("say what is to be made anew: --region, e.g. mouth, or --mask")
    _run("inpaint", photos, options, region=region, mask=mask)


@edit.command()
@with_options(Common)
def attribute(
    photos: Photos,
    age: Annotated[float | None, typer.Option(help="Older, or, below 0, younger: in standard deviations.")] = None,
    masculine: Annotated[float | None, typer.Option(help="More masculine, or, below 0, more feminine.")] = None,
    smile: Annotated[float | None, typer.Option(help="More given to smiling, or, below 0, more serious.")] = None,
    expression: Annotated[
        str | None, typer.Option(help="Amounts by name, e.g. smile=0.8,jawOpen=0.2; or a photo of who makes it.")
    ] = None,
    pose: Annotated[
        str | None, typer.Option(help="Of the head: yaw,pitch,roll in degrees, or a photo of who holds it.")
    ] = None,
    hair: SourcePhoto = None,
    light: SourcePhoto = None,
    *,
    options: Common,
) -> None:
    """Change something about a person: age, smile, expression, pose, hair, light.

    Example: personae edit attribute me.jpg --age 2 --expression smile=0.8
    """
    shift = {"age": age, "masculine": masculine, "smile": smile}
    changes: dict[str, Any] = {
        "shift": {name: amount for name, amount in shift.items() if amount is not None},
        "expression": None if expression is None else read_expression(expression, "--expression"),
        "pose": None if pose is None else read_pose(pose, "--pose"),
    }
    sources = {name: changes.pop(name) for name in ("expression", "pose") if isinstance(changes[name], Path)}
    sources |= {"hair": hair, "light": light}
    if not any(changes.values()) and not any(sources.values()):
        raise BadOption("say what is to change: --age, --masculine, --smile, --expression, --pose, --hair or --light")
    _run("attribute", photos, options, sources=sources, **changes)


@edit.command()
@with_options(Common)
def style(
    photos: Photos,
    prompt: Annotated[str | None, typer_option("prompt")] = None,
    lora: Annotated[Path | None, typer_option("lora")] = None,
    lora_scale: Annotated[float | None, typer_option("lora_scale")] = None,
    *,
    options: Common,
) -> None:
    """Show a person as another model (--model), a LoRA or other words would; --strength says how far from the photo.

    Example: personae edit style me.jpg --prompt "photo of a {person}, black and white" --strength 0.6
    """
    _run("style", photos, options, prompt=prompt, lora=lora, lora_scale=lora_scale)


@edit.command()
@with_options(Common)
def mix(
    photos: Photos,
    identity: SourcePhoto = None,
    skin: SourcePhoto = None,
    brows: SourcePhoto = None,
    eyes: SourcePhoto = None,
    nose: SourcePhoto = None,
    mouth: SourcePhoto = None,
    hair: SourcePhoto = None,
    surroundings: SourcePhoto = None,
    pose: SourcePhoto = None,
    expression: SourcePhoto = None,
    texture: SourcePhoto = None,
    light: SourcePhoto = None,
    gaze: SourcePhoto = None,
    *,
    options: Common,
) -> None:
    """Take pieces of a face from other photos, each from whom you like.

    Example: personae edit mix target.jpg --identity ann.jpg --expression bob.jpg --hair cem.jpg
    """
    sources = {
        "identity": identity,
        "skin": skin,
        "brows": brows,
        "eyes": eyes,
        "nose": nose,
        "mouth": mouth,
        "hair": hair,
        "surroundings": surroundings,
        "pose": pose,
        "expression": expression,
        "texture": texture,
        "light": light,
        "gaze": gaze,
    }
    if not any(sources.values()):
        raise BadOption(f"say what comes from where: --{' FILE, --'.join(sources)} FILE")
    _run("mix", photos, options, sources=sources)


# ---------------------------------------------------------------------- what all of them do


def _run(
    task: str,
    photos: Sequence[Path],
    options: Common,
    *,
    canvas: str = "target",
    sources: Mapping[str, Path | None] | None = None,
    **changes: Any,
) -> None:
    """Edit every photo and write the results. canvas: the role that the photos play; sources: photos by role or token;
    changes: as `pipe.edit` takes them."""
    if options.all_faces and options.face is not None:
        raise BadOption(f"--all-faces changes every face, --face {options.face} one of them: give one of the two")
    place = destination(options.out, options.format, results=len(photos) * options.count, as_json=options.as_json)
    beside = {name: path for name, path in {**(sources or {}), "mask": changes.pop("mask", None)}.items() if path}
    files = inputs.opened([*beside.values(), *photos])
    shared, targets = dict(zip(beside, files, strict=False)), files[len(beside) :]
    inputs.require(list(shared.values()))
    jobs = _jobs(task, targets, options)
    with prepared(place.folder), Report(as_json=options.as_json) as report:
        for job in jobs:
            place.require_room([0] * options.count, job.seeds, [job.stem], options.force)
        jobs = [job for job in jobs if _fits(job.photo, place.format, report)]
        if not jobs:
            return
        # First, and without torch: a photo that will not do is named at once.
        base, accepted = options.base, options.accept_licence
        reader = require_reader(options.model, base=base, accept_licence=accepted)
        same = _same_for_all(reader, shared) | options.of_a_call
        same |= {name: value for name, value in changes.items() if value not in (None, {}, [])}
        marks = settled_marks(no_watermark=options.no_watermark, no_c2pa=options.no_c2pa)
        pipe = load_model(options.model, options.quiet, reader, base=base, accept_licence=accepted, dtype=options.dtype)
        with progress(options.quiet, options.steps or pipe.config.steps) as stage:
            for job in jobs:
                with report.about(job.photo.name), _skipping(options.on_no_face):
                    call = {canvas: job.photo.source, "seed": job.seeds} | same | stage(job.stem, options.count)
                    done = pipe.edit(task, **call)
                    names, force = not options.no_identity, options.force
                    paths = place.save_edit(done, stem=job.stem, names=names, marks=marks, force=force)
                    report.wrote(answer(done, paths))
        if not report.rows:
            raise NoFaceFound(f"no face found in any of {len(photos)} photos: nothing is left to do")


def _same_for_all(reader: "FaceReader", files: Mapping[str, inputs.Input]) -> dict[str, Any]:
    """What every photo is edited with, as `pipe.edit` takes it: faces by role, those of single tokens, the mask."""
    mask = {"mask": files["mask"].source} if "mask" in files else {}
    faces = {name: _face(reader, file) for name, file in files.items() if name != "mask"}
    roles = {name: faces.pop(name) for name in ("source", "target") if name in faces}
    return mask | roles | {"tokens": faces}


@dataclass(frozen=True, kw_only=True)
class Job:
    """One photo to edit, how its results are named, and their seeds."""

    photo: inputs.Input
    stem: str
    seeds: Sequence[int]


def _jobs(task: str, photos: Sequence[inputs.Input], options: Common) -> list[Job]:
    """One for every photo, sound or not: seeds count on over all of them."""
    first = secrets.randbelow(1_000_000) if options.seed is None else options.seed
    return [
        Job(
            photo=photo,
            stem=f"{photo.stem}-{task}",
            seeds=[first + number * options.count + one for one in range(options.count)],
        )
        for number, photo in enumerate(photos)
    ]


@contextmanager
def _skipping(on_no_face: OnNoFace) -> Iterator[None]:
    """With `--on-no-face skip`, a photo without a face is only noted."""
    try:
        yield
    except NoFaceFound as error:
        if on_no_face is OnNoFace.error:
            raise
        note(f"{error}: skipped")


def _fits(photo: inputs.Input, format: str, report: Report) -> bool:  # noqa: A002
    """Whether a photo can be edited. One that is no picture, or too large for the format of the results, is reported;
    of a history that is too large for the format, a warning tells."""
    from personae.provenance import writer
    from personae.provenance.recipe import past, warn_of_history
    from personae.reading.photo import size_of

    if not inputs.sound([photo], report):
        return False
    if format == "png":
        return True
    try:
        writer.require_room(format, size_of(photo.source))
    except BadOutput as error:
        report.failed(photo.name, error)
        return False
    if isinstance(photo.source, Path):
        warn_of_history(past(photo.source), format)
    return True


def _face(reader: "FaceReader", photo: inputs.Input) -> "Face":
    """The largest face of a photo that pieces come from. Raises `NoFaceFound`."""
    faces = reader.read(photo.source)
    if not faces:
        raise NoFaceFound(f"no face found in {photo.name}: give a photo that shows one clearly")
    return faces[0]
