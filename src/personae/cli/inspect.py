"""personae read | models | inspect | replay | doctor: what photos, files, models and this machine hold."""

from pathlib import Path
from typing import Annotated, Any

import typer

from personae.cli import inputs
from personae.cli.destination import destination, prepared, refuse_stdout, settled_marks
from personae.cli.options import Base, Force, Json, Licence, Model, NoC2pa, NoWatermark, Quiet
from personae.cli.terminal import load_model, require_reader
from personae.console import note, say, say_json
from personae.errors import BadImage, BadOption

weights = typer.Typer(help="Which models there are, under which licence. Example: personae models")


def read(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO", help="Photos to read; - is one from stdin.")],
    model: Model = "nano",
    base: Base = None,
    accept_licence: Licence = False,
    as_json: Json = False,
) -> None:
    """Say which faces photos show, largest first: box, pose, expression; with --json landmarks and identity too.

    Example: personae read group.jpg --json
    """
    from personae import describe

    looks = inputs.opened(photos)
    answers: dict[str, Any] = {look.name: {"error": str(look.error)} for look in looks if look.error is not None}
    for look in looks:
        if look.error is not None:
            note(str(look.error))
    sound = [look for look in looks if look.error is None]
    reader = require_reader(model, base=base, accept_licence=accept_licence) if sound else None
    for look in sound:
        assert reader is not None
        try:
            faces = reader.read(look.source)
        except BadImage as error:
            answers[look.name] = {"error": str(error)}
            note(str(error) if look.name in str(error) else f"{look.name}: {error}")
            continue
        answers[look.name] = [describe.face(face) for face in faces]
        if not as_json:
            say(*describe.lines({look.name: faces}))
    if as_json:
        say_json({look.name: answers[look.name] for look in looks})
    if any(isinstance(answer, dict) for answer in answers.values()):
        raise typer.Exit(2)


@weights.callback()
def models(context: typer.Context, as_json: Json = False) -> None:
    """Say which models there are, from where, under which licence.

    Example: personae models
    """
    if context.invoked_subcommand is not None:
        return
    from personae import describe
    from personae.models import catalog

    if as_json:
        say_json({name: describe.model(entry) for name, entry in catalog.MODELS.items()})
    else:
        for model in catalog.MODELS.values():
            state = "ready" if catalog.present(model) else "not here"
            say(
                f"{model.name:10} {state:9} {model.size} px  {model.about}",
                f"{'':21}{model.licence}; {model.source}",
            )


@weights.command()
def convert(
    folder: Annotated[Path, typer.Argument(help="Arc2Face's published files.")],
) -> None:
    """Write the text encoder of Arc2Face's published files, a pickle, as safetensors beside it.

    Example: personae models convert arc2face-files
    """
    from personae.models.official.parts import convert as as_safetensors

    say(as_safetensors(folder))


def inspect_file(
    path: Annotated[Path, typer.Argument(help="An image, a video, an .identity file or a model folder.")],
) -> None:
    """Print what a file holds: the recipe of an image or video, an identity's space, a model folder's parts and hashes.

    Example: personae inspect personae-out/me-seed7.png
    """
    from personae import describe

    say_json(describe.path(path))
    if (word := describe.recipe_word(path)) is not None:
        note(word)


def replay(
    path: Annotated[Path, typer.Argument(help="An image that personae wrote.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Also write the image made again: a file (again.png), or a folder."),
    ] = None,
    files: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            help="A file that took part, by what the recipe calls it, e.g. target=me.jpg or reference=look.jpg; once "
            "for each. No recipe opens a file by itself.",
        ),
    ] = None,
    photo: Annotated[
        Path | None,
        typer.Option(help="The person's photo, for images made with --no-identity or --pose; as --input photo=..."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Instead of the recipe's.", show_default="recipe's")
    ] = None,
    budget: Annotated[
        float, typer.Option(min=1, help="The most work that a recipe may ask for, in steps of the model's own size.")
    ] = 1000,
    no_watermark: NoWatermark = False,
    no_c2pa: NoC2pa = False,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make an image, or an edit, again from the recipe inside it, and say how far the two are apart (0-255).

    Example: personae replay personae-out/target-swap-seed1.png --input source=me.jpg --input target=target.jpg
    """
    from personae import replay as replaying
    from personae.provenance import writer
    from personae.reading.photo import size_of

    refuse_stdout(out)
    inputs_by_name = dict(_named_file(text) for text in files or []) | (
        {} if photo is None else {replaying.PHOTO: photo}
    )
    place = None if out is None else destination(out, None, results=1)
    with prepared(None if place is None else place.folder):
        # Before the model is loaded: what the file or its inputs lack should be said at once.
        recipe = replaying.readable(path)
        inputs_by_name = replaying.taken(recipe, inputs_by_name)
        if place is not None:
            seed = recipe["seed"]
            [target] = place.paths([0], [seed], [path.stem.removesuffix(f"-seed{seed}")])
            writer.refuse_overwriting([target], force)
            writer.require_room(place.format, size_of(path))
        marks = None if out is None else settled_marks(no_watermark=no_watermark, no_c2pa=no_c2pa)
        pipe = None if model is None else load_model(model, quiet, dtype=recipe.get("dtype"))
        again = replaying.remake(path, pipe=pipe, inputs=inputs_by_name, budget=budget)
        if place is not None:
            content = writer.encode(
                again.image, place.format, again.recipe, marks=marks, area=again.area, ingredients=again.ingredients
            )
            writer.write(target, content, force=force)
    drift = again.drift
    if as_json:
        mark = {} if drift.mark is None else {"mark": drift.mark}
        say_json({"mean": drift.mean, "max": drift.max, "same_model": drift.same_model} | mark)
    else:
        other = "" if drift.same_model else "; the model is not known to be the one that it was made with"
        both = "" if drift.mark is None else f" (both watermarked; the mark alone is {drift.mark:.3f})"
        say(f"mean difference {drift.mean:.3f}, largest {drift.max} of 255{both}{other}")


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
            say(f"{title}: {rows}" if not isinstance(rows, dict) else title)
            for name, value in rows.items() if isinstance(rows, dict) else ():
                say(f"  {name:22} {value}")
    if not found["ok"]:
        raise typer.Exit(1)


def _named_file(text: str) -> tuple[str, str]:
    """`target=me.jpg`."""
    name, equals, file = text.partition("=")
    if not (name and equals and file):
        raise BadOption(f"--input takes a name and a file, e.g. target=me.jpg, got {text!r}")
    return name, file
