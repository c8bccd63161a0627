"""personae demo | generate: from people to pictures of them."""

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Unpack

import typer

from personae.cli.options import (
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
)
from personae.cli.steering import Typed, spelled_out, steering
from personae.cli.terminal import answer, load_model, note, progress, reader_for, say, say_json
from personae.errors import BadOption

if TYPE_CHECKING:
    from personae.gather import Person
    from personae.pipeline import FacePipeline
    from personae.reading.reader import FaceReader
    from personae.types import Face, Generation, Identity


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
    say(page)


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


def _answer_generation(made: "Generation", paths: Sequence[Path], as_json: bool) -> None:
    if not as_json:
        for path in paths:
            say(path)
        return
    rows = answer(made, paths)
    say_json(rows if made.tries is None else [row | {"tries": n} for row, n in zip(rows, made.tries, strict=True)])
