"""personae identity show | mean | blend | shift | directions | noise | sample | fit-directions"""

from pathlib import Path
from typing import Annotated

import typer

from personae.cli.options import Force, Json, Model, Sources, Target
from personae.cli.steering import numbers
from personae.cli.terminal import identities_of, require_reader, say, say_json

people = typer.Typer(
    help="Identities as files: show, average, blend, shift, invent. Example: personae identity show me.jpg"
)


@people.command()
def show(source: Annotated[Path, typer.Argument(help="A photo or an .identity file.")], model: Model = "nano") -> None:
    """Print an identity as JSON: its space and its vector.

    Example: personae identity show ann.identity
    """
    from personae import describe

    say_json(describe.person(identities_of([source], model)[0]))


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
    from personae import identity, output

    output.refuse_overwriting([out], force)
    shares = numbers(weights, "--weights") if weights else None
    identity.save(out, identity.mean(identities_of(sources, model), shares))
    say(out)


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
    from personae import identity, output

    output.refuse_overwriting([out], force)
    a, b = identities_of([first, second], model)
    identity.save(out, identity.blend(a, b, amount))
    say(out)


@people.command("shift")
def shift_person(
    source: Annotated[Path, typer.Argument(help="A photo or .identity file.")],
    out: Target,
    by: Annotated[str, typer.Option(help="Standard deviations by name: age=1.5,masculine=-1.")],
    model: Model = "nano",
    force: Force = False,
) -> None:
    """Turn attributes of a person up or down.

    Example: personae identity shift ann.identity --by age=1.5,smile=1 -o older.identity
    """
    from personae import catalog, directions, identity, output

    output.refuse_overwriting([out], force)
    amounts, table = directions.parse(by), directions.of_model(catalog.resolve(model))
    [person] = identities_of([source], model)
    identity.save(out, directions.shift(person, table, amounts))
    say(out)


@people.command("directions")
def list_directions(model: Model = "nano", as_json: Json = False) -> None:
    """Say which attributes a model can shift, and how well its identities hold each.

    Example: personae identity directions
    """
    from personae import catalog, describe

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
    from personae import identity, output

    output.refuse_overwriting([out], force)
    [person] = identities_of([source], model)
    identity.save(out, identity.noise(person, seed=seed, degrees=degrees))
    say(out)


@people.command()
def sample(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the .identity files.")],
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many people.")] = 1,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    model: Model = "nano",
    force: Force = False,
) -> None:
    """Draw people who do not exist.

    Example: personae identity sample -n 4 -o people
    """
    from personae import catalog, identity, output
    from personae.gather import strangers

    output.prepare(out)
    paths = [out / f"stranger{seed}-{i}.identity" for i in range(count)]
    output.refuse_overwriting(paths, force)
    for path, nobody in zip(paths, strangers(catalog.resolve(model), count, seed=seed), strict=True):
        identity.save(path, nobody)
        say(path)


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
    from personae import describe, output
    from personae.training import directions

    output.refuse_overwriting([out], force)
    found = directions.run(require_reader(model), cache=cache, out=out)
    if as_json:
        say_json(found)
    else:
        say(*describe.direction_lines(found), out)
