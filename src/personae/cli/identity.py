"""personae identity show | mean | deny | blend | shift | directions | noise | sample | fit-directions"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from personae.cli import inputs
from personae.cli.completion import directions_like
from personae.cli.destination import (
    STDOUT,
    identity_files,
    prepared,
    refuse_stdout,
    require_stdout,
    save_identity,
)
from personae.cli.options import Force, Json, Model, Sources, Target
from personae.cli.report import say_written
from personae.cli.terminal import reader_for, require_reader
from personae.console import say, say_json
from personae.controls.option import numbers
from personae.errors import SpaceMismatch

if TYPE_CHECKING:
    from personae.types import Identity

people = typer.Typer(
    help="Identities as files: show, average, blend, shift, invent. Example: personae identity show me.jpg"
)


@people.command()
def show(source: Annotated[Path, typer.Argument(help="A photo or an .identity file.")], model: Model = "nano") -> None:
    """Print an identity as JSON: its space and its vector.

    Example: personae identity show ann.identity
    """
    from personae import describe

    say_json(describe.person(_identities_of([source], model)[0]))


@people.command()
def mean(
    sources: Sources,
    out: Target,
    weights: Annotated[str | None, typer.Option(help="One number per source, e.g. 2,1,1.")] = None,
    model: Model = "nano",
    force: Force = False,
) -> None:
    """Average several photos of one person into one identity.

    Example: personae identity mean a.jpg b.jpg -o ann.identity
    """
    from personae import identity

    with _room([out], force):
        shares = numbers(weights, "--weights") if weights else None
        _write(out, identity.mean(_identities_of(sources, model), shares))


@people.command()
def deny(
    sources: Sources,
    out: Target,
    threshold: Annotated[
        float, typer.Option(min=0.01, max=1, help="From which cosine on somebody counts as one of them.")
    ] = 0.5,
    model: Model = "nano",
    force: Force = False,
) -> None:
    """Write a list of people that a server must not make: personae serve --deny-list.

    Example: personae identity deny ann.jpg bob.identity -o denied.safetensors
    """
    from personae.serving.safety import DenyList

    refuse_stdout(out)
    with _room([out], force):
        DenyList.of(_identities_of(sources, model), threshold=threshold).save(out)
        say_written([out])


@people.command("blend")
def blend_people(
    first: Annotated[Path, typer.Argument(help="A photo or .identity file.")],
    second: Annotated[Path, typer.Argument(help="Another.")],
    out: Target,
    amount: Annotated[float, typer.Option(min=0, max=1, help="How far from the first to the second.")] = 0.5,
    model: Model = "nano",
    force: Force = False,
) -> None:
    """Make someone between two people.

    Example: personae identity blend ann.identity bob.jpg --amount 0.3 -o between.identity
    """
    from personae import identity

    with _room([out], force):
        a, b = _identities_of([first, second], model)
        _write(out, identity.blend(a, b, amount))


@people.command("shift")
def shift_person(
    source: Annotated[Path, typer.Argument(help="A photo or .identity file.")],
    out: Target,
    by: Annotated[
        str, typer.Option(help="Standard deviations by name: age=1.5,masculine=-1.", autocompletion=directions_like)
    ],
    model: Model = "nano",
    force: Force = False,
) -> None:
    """Turn attributes of a person up or down.

    Example: personae identity shift ann.identity --by age=1.5,smile=1 -o older.identity
    """
    from personae.identity import directions
    from personae.models import catalog

    with _room([out], force):
        amounts, table = directions.parse(by), directions.of_model(catalog.resolve(model))
        [person] = _identities_of([source], model)
        _write(out, directions.shift(person, table, amounts))


@people.command("directions")
def list_directions(model: Model = "nano", as_json: Json = False) -> None:
    """Say which attributes a model can shift, and how well its identities hold each.

    Example: personae identity directions
    """
    from personae import describe
    from personae.models import catalog

    found = describe.directions_of(catalog.resolve(model))
    if as_json:
        say_json(found)
    else:
        say(*describe.direction_lines(found))


@people.command("noise")
def relative(
    source: Annotated[Path, typer.Argument(help="A photo or .identity file.")],
    out: Target,
    degrees: Annotated[float, typer.Option(help="How far from the person, 0-180.")] = 10,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    model: Model = "nano",
    force: Force = False,
) -> None:
    """Make a relative of someone, at random.

    Example: personae identity noise ann.identity --degrees 20 --seed 3 -o sister.identity
    """
    from personae import identity

    with _room([out], force):
        [person] = _identities_of([source], model)
        _write(out, identity.noise(person, seed=seed, degrees=degrees))


@people.command()
def sample(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the files; of one person, the file, or - for stdout.")
    ],
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many people.")] = 1,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    model: Model = "nano",
    force: Force = False,
) -> None:
    """Draw people who do not exist.

    Example: personae identity sample -n 4 -o people
    """
    from personae.gather import strangers
    from personae.models import catalog

    paths = identity_files(out, [f"stranger{seed}-{i}.identity" for i in range(count)])
    with _room(paths, force):
        for path, nobody in zip(paths, strangers(catalog.resolve(model), count, seed=seed), strict=True):
            _write(path, nobody)


@people.command("fit-directions")
def fit_directions(
    out: Annotated[Path, typer.Option("--out", "-o", help="The directions.safetensors to write.")],
    cache: Annotated[Path, typer.Option(help="Labelled shards, made by personae prepare.")] = Path("cache/faces"),
    model: Model = "nano",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Learn what shifts a model's identities, from labelled people, and judge it on others.

    Example: personae identity fit-directions --cache cache/faces -o runs/nano/directions.safetensors
    """
    from personae import describe
    from personae.training import fit_directions as directions

    refuse_stdout(out)
    with _room([out], force):
        found = directions.run(require_reader(model), cache=cache, out=out)
    if as_json:
        say_json(found)
    else:
        say(*describe.direction_lines(found), out)


@contextmanager
def _room(paths: Sequence[Path], force: bool) -> Iterator[None]:
    """Before any work: there is a place for the files, and none of them is there already. Raises `BadOutput`."""
    from personae.provenance import writer

    if STDOUT in paths:
        require_stdout(False)
        yield
        return
    with prepared(paths[0].parent):
        writer.refuse_overwriting(paths, force)
        yield


def _write(path: Path, person: "Identity") -> None:
    save_identity(path, person)
    if path != STDOUT:
        say_written([path])


def _identities_of(sources: Sequence[Path], model: str) -> "list[Identity]":
    """Who is seen in photos or held in .identity files, in order."""
    from personae.gather import gather

    looks = inputs.opened(sources)
    inputs.require(looks)
    found = [look.source for look in looks]
    people = [person.identity for person in gather(reader_for(found, model), found)]
    for look, one in zip(looks, people, strict=True):
        try:
            one.require_alike(people[0])
        except SpaceMismatch as error:
            raise SpaceMismatch(f"{look.name} and {looks[0].name} do not go together: {error}") from error
    return people
