"""personae demo | generate | edit | read | identity | train | prepare | evaluate | models | inspect | replay | doctor

One function per verb: the signature is the interface, the work is done elsewhere. Results go to stdout, progress
and errors to stderr. A user's mistake is one line and exit code 2, Ctrl-C is 130; a traceback is a bug.
"""

import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Unpack

import typer
from typer.exceptions import Abort, TyperException

from personae import __version__
from personae.edit_cli import edit
from personae.errors import BadOption, PersonaeError
from personae.identity_cli import people
from personae.steering_options import Typed, spelled_out, steering
from personae.terminal import (
    Base,
    Force,
    Format,
    Json,
    Licence,
    Model,
    NoFace,
    OnNoFace,
    Quiet,
    Sources,
    Steps,
    answer,
    is_silent,
    load_model,
    note,
    progress,
    reader_for,
    require_reader,
    say_json,
)

if TYPE_CHECKING:
    from personae.gather import Person
    from personae.pipeline import FacePipeline
    from personae.reading.reader import FaceReader
    from personae.types import Face, Generation, Identity

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="A face as a handle: read a photo, then generate that person. Start with: personae demo",
)
app.add_typer(edit, name="edit")
app.add_typer(people, name="identity")


# ---------------------------------------------------------------------- faces


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the images and their page.")] = Path(
        "personae-out/demo"
    ),
    photo: Annotated[Path | None, typer.Option(help="Someone to blend the astronaut with.")] = None,
    model: Model = "nano",
    seed: int = 0,
    steps: Steps = None,
    quiet: Quiet = False,
) -> None:
    """See what personae does: one photo, its person eight ways, a blend, random people, on one page.

    Example: personae demo
    """
    from personae import demo as story
    from personae import output

    output.prepare(out)
    pipe = load_model(model, quiet)
    with progress(quiet, steps or pipe.config.steps) as stage:
        page = story.run(pipe, out, photo=photo, seed=seed, steps=steps, stage=stage)
    typer.echo(page)


@app.command()
@spelled_out
def generate(
    sources: Sources,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Images per person; with --region, in all.")] = 1,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the images.")] = Path("personae-out"),
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of the first image; the next ones count on.", show_default="random")
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(
            help='Words around the person: "a smiling {person}, black and white". Words without {person} stand beside '
            "the face (Face0), each with its weight."
        ),
    ] = None,
    blend: Annotated[
        float | None, typer.Option(min=0, max=1, help="Of two people: how far from the first to the second.")
    ] = None,
    shift: Annotated[
        str | None, typer.Option(help="Everyone first changed by, e.g. age=1.5 (see: personae identity directions).")
    ] = None,
    steps: Steps = None,
    guidance: Annotated[
        float | None, typer.Option(help="How strictly to follow the identity.", show_default="the model's")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="How to sample, e.g. dpm++.", show_default="the model's")
    ] = None,
    height: Annotated[int | None, typer.Option(help="Of the images, in pixels.", show_default="the model's")] = None,
    width: Annotated[int | None, typer.Option(help="Of the images, in pixels.", show_default="the model's")] = None,
    min_likeness: Annotated[
        float | None,
        typer.Option(help="Read every image back and keep those at least this alike, -1 to 1; retry the others."),
    ] = None,
    tries: Annotated[
        int | None, typer.Option(min=1, help="Seeds per image, with --min-likeness.", show_default="4")
    ] = None,
    model: Model = "nano",
    base: Base = None,
    accept_licence: Licence = False,
    format: Annotated[Format, typer.Option(help="Of the images.")] = Format.png,  # noqa: A002
    sheet: Annotated[bool, typer.Option("--sheet", help="Also write a page to look at.")] = False,
    no_identity: Annotated[
        bool, typer.Option("--no-identity", help="Keep the identity out of the files; a replay then needs the photo.")
    ] = False,
    on_no_face: NoFace = OnNoFace.error,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
    **typed: Unpack[Typed],
) -> None:
    """Generate the people of some photos (the largest face of each) or .identity files.

    Example: personae generate me.jpg -n 8 --sheet
    """
    from personae import output
    from personae import sheet as contact

    if tries is not None and min_likeness is None:
        raise BadOption(f"--tries {tries} needs --min-likeness: say how alike an image must be")
    asked = steering(typed)
    output.prepare(out)
    # First, and without torch: a photo that will not do is said at once.
    reader = reader_for(sources, model, base=base, accept_licence=accept_licence)
    found = _people(reader, sources, model, blend, shift, accept_licence=accept_licence, on_no_face=on_no_face)
    who, stems = [person.who for person in found], [person.name for person in found]
    if "regions" in asked:
        stems = ["-".join(stems)]  # one picture of all of them
    first = secrets.randbelow(1_000_000) if seed is None else seed
    attempts = 1 if min_likeness is None else tries or 4
    index = [person for person in range(len(stems)) for _ in range(count)]
    seeds = [first + i for i in range(len(index) * attempts)]  # those of later tries count on
    output.refuse_overwriting(output.paths_of(out, index * attempts, seeds, stems=stems, format=format.value), force)
    pipe = load_model(model, quiet, reader, base=base, accept_licence=accept_licence)
    with progress(quiet, steps or asked.get("fast") or pipe.config.steps) as stage:
        made, shortfall = _made(
            pipe,
            who,
            least=min_likeness,
            tries=attempts,
            prompt=prompt,
            num_images_per_prompt=count,
            num_inference_steps=steps,
            guidance_scale=guidance,
            scheduler=scheduler,
            seed=seeds[: len(index)],
            height=height,
            width=width,
            **asked,
            **stage("generating", len(index)),
        )
    if shortfall is not None:
        note(shortfall)
    if not made.images:
        raise typer.Exit(2)
    paths = output.save(made, out, people=who, stems=stems, format=format.value, identity=not no_identity, force=force)
    if sheet:
        page = contact.of_generation(made, paths, found)
        paths.append(output.write(out / f"{stems[0]}-seed{first}.html", page.encode(), force=force))
    _answer_generation(made, paths, as_json)


@app.command()
def read(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO", help="Photos to read.")],
    model: Model = "nano",
    base: Base = None,
    accept_licence: Licence = False,
    as_json: Json = False,
) -> None:
    """Say which faces photos show, largest first: box, pose, expression; with --json landmarks and identity too.

    Example: personae read group.jpg --json
    """
    from personae import describe

    reader = require_reader(model, base=base, accept_licence=accept_licence)
    faces = {str(photo): reader.read(photo) for photo in photos}
    if as_json:
        say_json({name: [describe.face(face) for face in found] for name, found in faces.items()})
    else:
        typer.echo("\n".join(describe.lines(faces)))


# ---------------------------------------------------------------------- making and judging models


@app.command()
def prepare(
    source: Annotated[Path, typer.Argument(help="A folder of photo tars (WebDataset).")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the labelled shards.")] = Path("cache/faces"),
    teachers: Annotated[Path, typer.Option(help="The labellers' folder.")] = Path("../shared/teachers"),
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
) -> None:
    """Label photos for training: detect, align, measure, embed. A stopped run goes on with the same command.

    Example: personae prepare ../shared/faces -o cache/faces
    """
    from personae.data.prepare import prepare as run

    for name, kept in run(source, out, teachers, workers).items():
        typer.echo(f"{name}: {kept} photos")


@app.command()
def train(
    recipe: Annotated[str | None, typer.Argument(help="Which run.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Say which recipes there are.")] = False,
    cache: Annotated[Path, typer.Option(help="Labelled shards, made by personae prepare.")] = Path("cache/faces"),
    teachers: Annotated[Path, typer.Option(help="The labellers' folder.")] = Path("../shared/teachers"),
    runs: Annotated[Path, typer.Option(help="Where runs lie; this one goes into a folder of its name.")] = Path("runs"),
    data: Annotated[
        Path | None, typer.Option(help="face0-sd15: captioned pictures, in folders or tars; facex-sd15: photos.")
    ] = None,
    base: Annotated[
        Path | None, typer.Option(help="face0-sd15: the Stable Diffusion 1.5 to begin from; facex-sd15: a model.")
    ] = None,
    reader: Annotated[str, typer.Option(help="face0-sd15: the model whose reader measures the faces.")] = "nano",
    backbone: Annotated[Path | None, typer.Option(help="facex-sd15: a DINOv2 to begin with, a folder.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's.")] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Stop after so long; resume with the same command.")
    ] = None,
    compile: Annotated[  # noqa: A002
        bool | None, typer.Option("--compile/--no-compile", help="Whether torch compiles the network.")
    ] = None,
) -> None:
    """Train a part of a model by its recipe. A stopped run goes on, exactly, with the same command.

    Example: personae train nano-base --cache cache/faces
    """
    from personae.training import recipes

    if list_:
        for entry in recipes.RECIPES.values():
            typer.echo(f"{entry.name:20} {entry.summary}")
        return
    if recipe is None:
        raise BadOption(f"name a recipe: {', '.join(recipes.RECIPES)} (or --list)")
    say_json(
        recipes.run(
            recipe,
            cache=cache,
            teachers=teachers,
            runs=runs,
            steps=steps,
            minutes=minutes,
            compiled=compile,
            data=data,
            base=base,
            reader=reader,
            backbone=backbone,
        )
    )


@app.command()
def assemble(
    out: Annotated[Path, typer.Option("--out", "-o", help="The model folder to write.")] = Path("runs/nano"),
    cache: Annotated[Path, typer.Option(help="Labelled shards, made by personae prepare.")] = Path("cache/faces"),
    runs: Annotated[Path, typer.Option(help="Where the recipes' runs lie.")] = Path("runs"),
    final: Annotated[str, typer.Option(help="The recipe whose UNet is taken.")] = "nano-longer",
) -> None:
    """Put the exports of nano's recipes together as one model folder.

    Example: personae assemble -o runs/nano
    """
    from personae.training.assemble import assemble as put_together

    put_together(out, cache=cache, runs=runs, final=final)
    typer.echo(out)


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="A named model or a model folder.")] = "nano",
    count: Annotated[int | None, typer.Option("--people", help="Held-out people.", show_default="200, or all")] = None,
    images: Annotated[int, typer.Option("--images", "-n", min=1, help="Images per person.")] = 4,
    reading: Annotated[bool, typer.Option("--reading", help="Measure the model's reader instead.")] = False,
    source: Annotated[
        Path | None, typer.Option(help="Photos: a prepared cache or raw tars.", show_default="what is there")
    ] = None,
    judge: Annotated[str, typer.Option(help="teacher, none, an .onnx with its preprocessing, or a .json.")] = "teacher",
    finder: Annotated[str, typer.Option(help="Who finds the faces to judge: reader or teacher.")] = "teacher",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for report and sheet.")] = Path("runs/evaluation"),
    seed: Annotated[int, typer.Option(min=0)] = 0,
    steps: Steps = None,
    guidance: Annotated[float | None, typer.Option(help="Of the generation.", show_default="the model's")] = None,
    base: Base = None,
    accept_licence: Licence = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Judge a model on held-out people: likeness, retrieval, diversity, realism; or its reader, with --reading.

    Example: personae evaluate nano --people 200
    """
    from personae.evaluation import reading as of_reader
    from personae.evaluation import report, tables

    shown = not is_silent(quiet)
    if reading:
        found = of_reader.evaluate_reader(
            require_reader(model, base=base, accept_licence=accept_licence),
            people=count,
            source=source,
            out=out,
            seed=seed,
            progress=shown,
        )
    else:
        found = report.evaluate(
            load_model(model, quiet, base=base, accept_licence=accept_licence),
            people=200 if count is None else count,
            images_per_person=images,
            judge=judge,
            finder=finder,
            source=source,
            out=out,
            seed=seed,
            steps=steps,
            guidance_scale=guidance,
            progress=shown,
        )
    if as_json:
        say_json(found)
        return
    from rich.console import Console

    Console().print(tables.rich_table(found))
    typer.echo(out)


weights = typer.Typer(help="Which models there are, under which licence. Example: personae models")
app.add_typer(weights, name="models", invoke_without_command=True)


@weights.callback()
def models(context: typer.Context, as_json: Json = False) -> None:
    """Say which models there are, from where, under which licence.

    Example: personae models
    """
    if context.invoked_subcommand is not None:
        return
    from personae import catalog, describe

    if as_json:
        say_json({name: describe.model(entry) for name, entry in catalog.MODELS.items()})
    else:
        for model in catalog.MODELS.values():
            state = "ready" if catalog.present(model) else "not here"
            typer.echo(
                f"{model.name:10} {state:9} {model.size} px  {model.about}\n{'':21}{model.licence}; {model.source}"
            )


@weights.command()
def convert(
    folder: Annotated[Path, typer.Argument(help="Arc2Face's published files.")],
) -> None:
    """Write the text encoder of Arc2Face's published files, a pickle, as safetensors beside it.

    Example: personae models convert arc2face-files
    """
    from personae.official.parts import convert as as_safetensors

    typer.echo(as_safetensors(folder))


# ---------------------------------------------------------------------- files


@app.command("inspect")
def inspect_file(path: Annotated[Path, typer.Argument(help="An image, an .identity file or a model folder.")]) -> None:
    """Print what a file holds: the recipe of an image, an identity's space, a model folder's parts and hashes.

    Example: personae inspect personae-out/me-seed7.png
    """
    from personae import describe

    say_json(describe.path(path))


@app.command()
def replay(
    path: Annotated[Path, typer.Argument(help="An image that personae wrote.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Also write the image made again (PNG).")] = None,
    photo: Annotated[
        Path | None, typer.Option(help="The person's photo, for images made with --no-identity or --pose.")
    ] = None,
    moved: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            help="Of an edit: where a photo lies now, by what its recipe calls it, e.g. target=me.jpg; or several.",
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Instead of the recipe's.", show_default="recipe's")
    ] = None,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make an image, or an edit, again from the recipe inside it, and say how far the two are apart (0-255).

    Example: personae replay personae-out/me-seed7.png
    """
    from personae import output

    recipe = output.read_recipe(path)  # before the model is loaded: a file without one should say so at once
    photos = dict(_named_file(text) for text in moved or [])
    pipe = load_model(model, quiet) if model else None
    image, drift = output.replay(path, pipe=pipe, photo=photo, photos=photos)
    if out is not None:
        output.write(out, output.encode(image, "png", recipe), force=force)
    if as_json:
        say_json({"mean": drift.mean, "max": drift.max, "same_model": drift.same_model})
    else:
        other = "" if drift.same_model else "; the model is another one than it was made with"
        typer.echo(f"mean difference {drift.mean:.3f}, largest {drift.max} of 255{other}")


@app.command()
def doctor(as_json: Json = False) -> None:
    """Say what is installed, what this machine can do, and whether the models are whole; exit code 1 if not.

    Example: personae doctor
    """
    from personae import doctor as examiner

    found = examiner.examine()
    if as_json:
        say_json(found)
    else:
        for title, rows in found.items():
            typer.echo(f"{title}: {rows}" if not isinstance(rows, dict) else title)
            for name, value in rows.items() if isinstance(rows, dict) else ():
                typer.echo(f"  {name:22} {value}")
    if not found["ok"]:
        raise typer.Exit(1)


# ---------------------------------------------------------------------- around every verb


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"personae {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which version.")
    ] = False,
) -> None:
    """A face as a handle: read a photo, then generate that person. Start with: personae demo"""


def _people(
    reader: "FaceReader | None",
    sources: Sequence[Path],
    model: str,
    blend: float | None,
    shift: str | None,
    *,
    accept_licence: bool,
    on_no_face: OnNoFace,
) -> "list[Person]":
    """Who is to be generated."""
    from personae import catalog, directions
    from personae.gather import blended, gather, shifted

    amounts = None if shift is None else directions.parse(shift)
    found = gather(reader, sources, on_no_face=on_no_face.value, skipped=note)
    if amounts is not None:
        table = directions.of_model(catalog.resolve(model, accept_licence=accept_licence))
        found = [shifted(person, table, amounts) for person in found]
    return found if blend is None else [blended(found, blend)]


def _made(
    pipe: "FacePipeline", who: "Sequence[Face | Identity]", *, least: float | None, tries: int, **options: Any
) -> "tuple[Generation, str | None]":
    """What may be saved, and what is to be said of the rest."""
    if least is None:
        return pipe(who, **options), None
    from personae.verified import generate_verified

    verified = generate_verified(pipe, who, min_likeness=least, tries=tries, **options)
    return verified.passed, verified.shortfall


def _named_file(text: str) -> tuple[str, str]:
    """`target=me.jpg`."""
    name, equals, file = text.partition("=")
    if not (name and equals and file):
        raise BadOption(f"--input takes a name and a file, e.g. target=me.jpg, got {text!r}")
    return name, file


def _answer_generation(made: "Generation", paths: Sequence[Path], as_json: bool) -> None:
    if not as_json:
        for path in paths:
            typer.echo(path)
        return
    rows = answer(made, paths)
    say_json(rows if made.tries is None else [row | {"tries": n} for row, n in zip(rows, made.tries, strict=True)])


def main() -> None:
    """The program: run a verb, turn errors into one line and an exit code."""
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    try:
        code = app(standalone_mode=False)
    except (PersonaeError, TyperException) as error:
        note(error.format_message() if isinstance(error, TyperException) else str(error))
        code = 2
    except (KeyboardInterrupt, Abort):
        code = 130
    if code == 130:
        # An interrupt that passes through an `exec` of text (how dataclasses are made, at import) leaves CPython 3.11
        # with a mark, by which `python -m` would end by the signal after all; the next `exec` of text wipes it off.
        exec("")
        note("stopped")
    sys.exit(code)
