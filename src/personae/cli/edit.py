"""personae edit swap | head | reenact | inpaint | attribute | style | mix

A verb for each row of `editing.tasks.TASKS`: it reads photos, edits faces in one of them after the other, and writes
that photo again at its full size, all around the edit as it was. What every verb takes is `Common`.
"""

import inspect
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from personae.cli import inputs
from personae.cli.animate import animate, track
from personae.cli.destination import destination, prepared
from personae.cli.options import (
    Base,
    Force,
    ImageFormat,
    Json,
    Licence,
    Model,
    NoFace,
    OnNoFace,
    Out,
    Quiet,
    Steps,
)
from personae.cli.report import Report
from personae.cli.steering import angles, sliders
from personae.cli.terminal import answer, load_model, note, progress, require_reader
from personae.errors import BadOption, BadOutput, NoFaceFound

if TYPE_CHECKING:
    from personae.reading.reader import FaceReader
    from personae.types import Face

edit = typer.Typer(help="Change the faces in photos. Example: personae edit swap me.jpg target.jpg")
edit.command("animate")(animate)
edit.command("track")(track)

Source = Annotated[Path, typer.Argument(metavar="SOURCE", help="A photo of the person to put in.")]
Photos = Annotated[list[Path], typer.Argument(metavar="PHOTO", help="The photos to change; - is one from stdin.")]
Giver = Annotated[Path | None, typer.Option(help="A photo of whoever gives it.")]


@dataclass(frozen=True, kw_only=True)
class Common:
    """The options of every edit."""

    out: Out = Path("personae-out")
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Results per photo.")] = 1
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of the first result; the next ones count on.", show_default="random")
    ] = None
    face: Annotated[
        int | None, typer.Option(min=1, help="Which face of the photo is changed: 1 is the largest.", show_default="1")
    ] = None
    all_faces: Annotated[bool, typer.Option("--all-faces", help="Change every face of the photo.")] = False
    steps: Steps = None
    guidance: Annotated[
        float | None, typer.Option(help="How strictly to follow the identity.", show_default="the model's")
    ] = None
    likeness_guidance: Annotated[
        float | None,
        typer.Option(help="How strongly the recogniser pulls towards the person; 0 is off.", show_default="the task's"),
    ] = None
    motion_guidance: Annotated[
        float | None,
        typer.Option(
            help="How strongly the reader pulls towards pose and expression; 0 is off.", show_default="the task's"
        ),
    ] = None
    strength: Annotated[
        float | None,
        typer.Option(help="How much of the edited region is made anew, 0-1.", show_default="the task's"),
    ] = None
    model: Model = "nano"
    base: Base = None
    accept_licence: Licence = False
    format: ImageFormat = None
    no_identity: Annotated[
        bool, typer.Option("--no-identity", help="Keep the photos' names out of the results; their hashes stay.")
    ] = False
    on_no_face: NoFace = OnNoFace.error
    force: Force = False
    as_json: Json = False
    quiet: Quiet = False

    @property
    def of_a_call(self) -> dict[str, Any]:
        """As `pipe.edit` takes them, what was not given left out."""
        said = {
            "num_inference_steps": self.steps,
            "guidance_scale": self.guidance,
            "likeness_guidance": self.likeness_guidance,
            "motion_guidance": self.motion_guidance,
            "strength": self.strength,
        }
        picked = {"face": self.face or 1, "all_faces": self.all_faces, "num_images": self.count}
        return picked | {name: value for name, value in said.items() if value is not None}


def _with_common(verb: Callable[..., None]) -> Callable[..., None]:
    """`verb(..., common: Common)` with a signature that names every option of `Common`, which is what typer reads."""
    hints = get_type_hints(Common, include_extras=True)
    options = [
        inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=one.default, annotation=hints[one.name])
        for one in fields(Common)
    ]
    own = [parameter for parameter in inspect.signature(verb).parameters.values() if parameter.name != "common"]

    @wraps(verb)
    def command(**typed: Any) -> None:
        shared = {one.name: typed.pop(one.name) for one in fields(Common)}
        verb(**typed, common=Common(**shared))

    command.__signature__ = inspect.Signature([*own, *options])  # type: ignore[attr-defined]
    return command


# ---------------------------------------------------------------------- the verbs


@edit.command()
@_with_common
def swap(source: Source, photos: Photos, *, common: Common) -> None:
    """Put the source's face into photos, doing what the faces there do.

    Example: personae edit swap me.jpg group.jpg --face 2
    """
    _run("swap", photos, common, givers={"source": source})


@edit.command()
@_with_common
def head(source: Source, photos: Photos, *, common: Common) -> None:
    """Put the source's whole head, hair and all, into photos.

    Example: personae edit head me.jpg target.jpg -n 4
    """
    _run("head", photos, common, givers={"source": source})


@edit.command()
@_with_common
def reenact(
    photos: Photos,
    driver: Annotated[Path, typer.Argument(metavar="DRIVER", help="A photo of whoever does what is to be done.")],
    *,
    common: Common,
) -> None:
    """Let the faces of photos do what the driver's does: pose, expression and gaze.

    Example: personae edit reenact me.jpg driver.jpg
    """
    _run("reenact", photos, common, canvas="source", givers={"target": driver})


@edit.command()
@_with_common
def inpaint(
    photos: Photos,
    region: Annotated[
        list[str] | None,
        typer.Option(help="face, head, skin, brows, eyes, nose, mouth, hair or surroundings; more than one: repeat."),
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(help="A picture as large as the photo, white where it is to be made anew.")
    ] = None,
    *,
    common: Common,
) -> None:
    """Make a part of a face anew, knowing whose it is.

    Example: personae edit inpaint me.jpg --region mouth
    """
    if not region and mask is None:
        raise BadOption("say what is to be made anew: --region, e.g. mouth, or --mask")
    _run("inpaint", photos, common, region=region, mask=mask)


@edit.command()
@_with_common
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
    hair: Giver = None,
    light: Giver = None,
    *,
    common: Common,
) -> None:
    """Change something about a person: age, smile, expression, pose, hair, light.

    Example: personae edit attribute me.jpg --age 2 --expression smile=0.8
    """
    shift = {"age": age, "masculine": masculine, "smile": smile}
    changes: dict[str, Any] = {
        "shift": {name: amount for name, amount in shift.items() if amount is not None},
        "expression": None if expression is None else sliders(expression),
        "pose": None if pose is None else angles(pose),
    }
    givers = {name: changes.pop(name) for name in ("expression", "pose") if isinstance(changes[name], Path)}
    givers |= {"hair": hair, "light": light}
    if not any(changes.values()) and not any(givers.values()):
        raise BadOption("say what is to change: --age, --masculine, --smile, --expression, --pose, --hair or --light")
    _run("attribute", photos, common, givers=givers, **changes)


@edit.command()
@_with_common
def style(
    photos: Photos,
    prompt: Annotated[
        str | None, typer.Option(help='Words around the person, e.g. "photo of a {person}, smiling".')
    ] = None,
    lora: Annotated[Path | None, typer.Option(help="The safetensors file of a LoRA made for the model.")] = None,
    lora_scale: Annotated[float | None, typer.Option(help="How strongly it acts, 0-2.", show_default="1")] = None,
    *,
    common: Common,
) -> None:
    """Show a person as another model (--model), a LoRA or other words would; --strength says how far from the photo.

    Example: personae edit style me.jpg --prompt "photo of a {person}, black and white" --strength 0.6
    """
    _run("style", photos, common, prompt=prompt, lora=lora, lora_scale=lora_scale)


@edit.command()
@_with_common
def mix(
    photos: Photos,
    identity: Giver = None,
    skin: Giver = None,
    brows: Giver = None,
    eyes: Giver = None,
    nose: Giver = None,
    mouth: Giver = None,
    hair: Giver = None,
    surroundings: Giver = None,
    pose: Giver = None,
    expression: Giver = None,
    texture: Giver = None,
    light: Giver = None,
    gaze: Giver = None,
    *,
    common: Common,
) -> None:
    """Take pieces of a face from other photos, each from whom you like.

    Example: personae edit mix target.jpg --identity ann.jpg --expression bob.jpg --hair cem.jpg
    """
    givers = {
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
    if not any(givers.values()):
        raise BadOption(f"say what comes from where: --{' FILE, --'.join(givers)} FILE")
    _run("mix", photos, common, givers=givers)


# ---------------------------------------------------------------------- what all of them do


def _run(
    task: str,
    photos: Sequence[Path],
    common: Common,
    *,
    canvas: str = "target",
    givers: Mapping[str, Path | None] | None = None,
    **changes: Any,
) -> None:
    """Edit every photo and write the results. canvas: the role that the photos play; givers: photos by role or token;
    changes: as `pipe.edit` takes them."""
    if common.all_faces and common.face is not None:
        raise BadOption(f"--all-faces changes every face, --face {common.face} one of them: give one of the two")
    place = destination(common.out, common.format, results=len(photos) * common.count, as_json=common.as_json)
    named = {**(givers or {}), "mask": changes.pop("mask", None)}
    beside = {name: path for name, path in named.items() if path is not None}
    looks = inputs.opened([*beside.values(), *photos])
    given, targets = dict(zip(beside, looks, strict=False)), looks[len(beside) :]
    inputs.require(list(given.values()))
    jobs = _jobs(task, targets, common)
    with prepared(place.folder), Report(as_json=common.as_json) as report:
        for job in jobs:
            place.require_room([0] * common.count, job.seeds, [job.stem], common.force)
        jobs = [job for job in jobs if _fits(job.photo, place.format, report)]
        if not jobs:
            return
        # First, and without torch: a photo that will not do is said at once.
        reader = require_reader(common.model, base=common.base, accept_licence=common.accept_licence)
        fixed: dict[str, Any] = {"mask": given.pop("mask").source} if "mask" in given else {}
        faces: dict[str, Any] = {name: _face(reader, look) for name, look in given.items()}
        fixed |= {name: faces.pop(name) for name in ("source", "target") if name in faces} | {"tokens": faces}
        fixed |= common.of_a_call | {name: value for name, value in changes.items() if value not in (None, {}, [])}
        pipe = load_model(common.model, common.quiet, reader, base=common.base, accept_licence=common.accept_licence)
        with progress(common.quiet, common.steps or pipe.config.steps) as stage:
            for job in jobs:
                with report.about(job.photo.name), _skipping(common.on_no_face):
                    options = {canvas: job.photo.source, "seed": job.seeds} | fixed | stage(job.stem, common.count)
                    done = pipe.edit(task, **options)
                    names = not common.no_identity
                    report.wrote(answer(done, place.save_edit(done, stem=job.stem, names=names, force=common.force)))
        if not report.rows:
            raise NoFaceFound(f"no face found in any of {len(photos)} photos: nothing is left to do")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One photo to edit, how its results are named, and their seeds."""

    photo: inputs.Input
    stem: str
    seeds: Sequence[int]


def _jobs(task: str, looks: Sequence[inputs.Input], common: Common) -> list[Job]:
    """One for every photo, sound or not: seeds count on over all of them."""
    first = secrets.randbelow(1_000_000) if common.seed is None else common.seed
    return [
        Job(
            photo=look,
            stem=f"{look.stem}-{task}",
            seeds=[first + number * common.count + one for one in range(common.count)],
        )
        for number, look in enumerate(looks)
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


def _fits(look: inputs.Input, format: str, report: Report) -> bool:  # noqa: A002
    """Whether a photo may do: what is no picture, or too large for the format of the results, is reported; of a history
    that is too large for it, a warning tells."""
    from personae.provenance import writer
    from personae.provenance.recipe import past, warn_of_history
    from personae.reading.photo import size_of

    if not inputs.sound([look], report):
        return False
    if format == "png":
        return True
    try:
        writer.require_room(format, size_of(look.source))
    except BadOutput as error:
        report.failed(look.name, error)
        return False
    if isinstance(look.source, Path):
        warn_of_history(past(look.source), format)
    return True


def _face(reader: "FaceReader", look: inputs.Input) -> "Face":
    """The largest face of a photo that gives something. Raises `NoFaceFound`."""
    faces = reader.read(look.source)
    if not faces:
        raise NoFaceFound(f"no face found in {look.name}: give a photo that shows one clearly")
    return faces[0]
