"""personae demo | generate: from people to pictures of them."""

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personae.cli import inputs
from personae.cli.destination import destination, prepared, refuse_stdout, settled_marks
from personae.cli.options import (
    Base,
    Dtype,
    Force,
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
    Shift,
    Sources,
    Steps,
)
from personae.cli.report import Report
from personae.cli.steering import controls_from, with_controls
from personae.cli.terminal import answer, load_model, progress, reader_for
from personae.console import note, say
from personae.errors import BadOption

if TYPE_CHECKING:
    from personae.gather import Person
    from personae.pipeline import FacePipeline
    from personae.types import Face, Generation, Identity


_SKIP = "--on-no-face skip"


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the images and their page.")] = Path(
        "personae-out/demo"
    ),
    photo: Annotated[Path | None, typer.Option(help="Someone to blend the astronaut with.")] = None,
    model: Model = "nano",
    seed: Annotated[int, typer.Option(min=0)] = 0,
    steps: Steps = None,
    no_watermark: NoWatermark = False,
    no_c2pa: NoC2pa = False,
    quiet: Quiet = False,
) -> None:
    """See what personae does: a photo, its person again, posed, blended and edited, and random people, on one page.

    Example: personae demo
    """
    from personae import demo as story

    refuse_stdout(out)
    if photo is not None:
        inputs.one(photo)
    with prepared(out):
        marks = settled_marks(no_watermark=no_watermark, no_c2pa=no_c2pa)
        pipe = load_model(model, quiet)
        with progress(quiet, steps or pipe.config.steps) as stage:
            page = story.run(pipe, out, photo=photo, seed=seed, steps=steps, marks=marks, stage=stage)
    say(page)


@with_controls
def generate(
    sources: Sources,
    out: Out = Path("personae-out"),
    blend: Annotated[
        float | None, typer.Option(min=0, max=1, help="Of two people: how far from the first to the second.")
    ] = None,
    shift: Shift = None,
    min_likeness: Annotated[
        float | None,
        typer.Option(help="Read every image back and keep those at least this alike, -1 to 1; retry the others."),
    ] = None,
    tries: Annotated[
        int | None, typer.Option(min=1, help="Seeds per image, with --min-likeness.", show_default="4")
    ] = None,
    model: Model = "nano",
    base: Base = None,
    dtype: Dtype = None,
    accept_licence: Licence = False,
    format: ImageFormat = None,  # noqa: A002
    sheet: Annotated[bool, typer.Option("--sheet", help="Also write a page to look at.")] = False,
    no_identity: Annotated[
        bool, typer.Option("--no-identity", help="Keep the identity out of the files; a replay then needs the photo.")
    ] = False,
    no_watermark: NoWatermark = False,
    no_c2pa: NoC2pa = False,
    on_no_face: NoFace = OnNoFace.error,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
    **typed: Any,
) -> None:
    """Generate the people of some photos (the largest face of each) or .identity files.

    Example: personae generate me.jpg -n 8 --sheet
    """
    from personae import sheet as contact
    from personae.gather import gather
    from personae.provenance import writer

    if tries is not None and min_likeness is None:
        raise BadOption(f"--tries {tries} needs --min-likeness: say how alike an image must be")
    options = controls_from(typed)
    count, first = options.pop("num_images_per_prompt", 1), options.pop("seed", None)
    together = blend is not None or "regions" in options
    place = destination(out, format, results=count * (1 if together else len(sources)), as_json=as_json, beside=sheet)
    writer.require_room(place.format, (options.get("width", 1), options.get("height", 1)))
    looks = inputs.opened(sources)
    inputs.require([*inputs.opened_files(options), *(looks if together else [])])
    with prepared(place.folder), Report(as_json=as_json) as report:
        sound = inputs.sound(looks, report)
        if not sound:
            return
        # First, and without torch: a photo that will not do is said at once.
        photos = [look.source for look in sound]
        reader = reader_for(photos, model, base=base, accept_licence=accept_licence)
        failed = None if together else report.failed
        # Only a page shows the photos: without one, hundreds of them need not stay in memory.
        found = gather(
            reader, photos, on_no_face=on_no_face.value, skipped=note, failed=failed, otherwise=_SKIP, pixels=sheet
        )
        found = _changed(found, model, blend, shift, accept_licence=accept_licence)
        if not found:
            return
        who, stems = [person.subject for person in found], [person.name for person in found]
        if "regions" in options:
            stems = ["-".join(stems)]  # one picture of all of them
        first = secrets.randbelow(1_000_000) if first is None else first
        attempts = 1 if min_likeness is None else tries or 4
        index = [person for person in range(len(stems)) for _ in range(count)]
        seeds = [first + i for i in range(len(index) * attempts)]  # those of later tries count on
        page_stem = f"{stems[0]}-seed{first}"
        place.require_room(index * attempts, seeds, stems, force, page=page_stem if sheet else None)
        marks = settled_marks(no_watermark=no_watermark, no_c2pa=no_c2pa)
        pipe = load_model(model, quiet, reader, base=base, accept_licence=accept_licence, dtype=dtype)
        with progress(quiet, options.get("num_inference_steps") or options.get("fast") or pipe.config.steps) as stage:
            generation, shortfall = _generated(
                pipe,
                who,
                least=min_likeness,
                tries=attempts,
                num_images_per_prompt=count,
                seed=seeds[: len(index)],
                **options,
                **stage("generating", len(index)),
            )
        if shortfall is not None:
            note(shortfall)
        if not generation.images:
            raise typer.Exit(2)
        paths = place.save(generation, people=who, stems=stems, identity=not no_identity, marks=marks, force=force)
        report.wrote(_rows(generation, paths))
        if sheet:
            page = contact.of_generation(generation, paths, found)
            report.wrote_page(place.save_page(page, page_stem, force))


def _changed(
    people: "list[Person]", model: str, blend: float | None, shift: str | None, *, accept_licence: bool
) -> "list[Person]":
    """Who is to be generated of those who were found."""
    from personae.gather import blended, shifted
    from personae.identity import directions
    from personae.models import catalog

    if shift is not None:
        amounts, folder = directions.parse(shift), catalog.resolve(model, accept_licence=accept_licence)
        table = directions.of_model(folder)
        people = [shifted(person, table, amounts) for person in people]
    return people if blend is None else [blended(people, blend)]


def _generated(
    pipe: "FacePipeline", who: "Sequence[Face | Identity]", *, least: float | None, tries: int, **options: Any
) -> "tuple[Generation, str | None]":
    """What may be saved, and a sentence about the rest."""
    if least is None:
        return pipe(who, **options), None
    from personae.best_of import generate_verified

    verified = generate_verified(pipe, who, min_likeness=least, tries=tries, **options)
    return verified.passed, verified.shortfall


def _rows(generation: "Generation", paths: Sequence[Path]) -> list[dict[str, Any]]:
    rows = answer(generation, paths)
    if generation.tries is None:
        return rows
    return [row | {"tries": tries} for row, tries in zip(rows, generation.tries, strict=True)]
