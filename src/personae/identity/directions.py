"""Attributes to turn up or down in an identity: named directions of one identity space, in a file beside the model.

    table = directions.load("directions.safetensors")          # {"age": Direction, "masculine": ..., "smile": ...}
    older = identity.shift(ann, table["age"], 1.5)             # by 1.5 standard deviations of the population
    both = directions.shift(ann, table, {"age": 1.5, "smile": 1})

A direction is what the vectors of people of one label have in common. What a vector holds of an attribute is for the
recogniser to say: one that saw past everything but who somebody is would hold no smile. Nano's does hold one, read off
it with a correlation of 0.80 on held-out people, and age with 0.84; `measured` tells it of every file.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from personae import identity
from personae.errors import BadIdentity, BadOption, WeightsMissing, unknown_name
from personae.identity import Direction
from personae.io import vector_file
from personae.io.boundary import errors_as
from personae.types import Identity

FILE = "directions.safetensors"  # in a model's folder
_FORMAT = "personae.directions/1"


def shift(person: Identity, table: Mapping[str, Direction], amounts: Mapping[str, float]) -> Identity:
    """`person` with several attributes changed at once.

    Arguments:
        person: of the space of the directions.
        table: the directions that there are, by name.
        amounts: by name, how far to go, in standard deviations of the population. The changes add up to one direction,
            so that their order does not matter.

    Returns an identity of the same space. Raises as `identity.shift`; `BadOption` for a name that is not in the table.
    """
    for name, amount in amounts.items():
        if name not in table:
            raise unknown_name("direction", name, table)
        if not np.isfinite(amount):
            raise BadOption(f"{name} is shifted by a number of standard deviations, got {amount}")
        person.require(table[name].space)
    steps = [amount * table[name].spread * table[name].vector.astype(np.float64) for name, amount in amounts.items()]
    if not steps or not (length := float(np.linalg.norm(np.sum(steps, axis=0)))) > 1e-8:
        return person
    together = Direction(vector=np.sum(steps, axis=0), spread=length, space=person.space)
    try:
        return identity.shift(person, together, 1)
    except BadOption as error:
        raise BadOption(_too_far(amounts, *identity.reach(person, together))) from error


def _too_far(amounts: Mapping[str, float], least: float, most: float) -> str:
    """What is said of a shift of which only `least` to `most` times as much is possible, in the units it came in."""
    if len(amounts) == 1:
        [(name, amount)] = amounts.items()
        low, high = sorted((least * amount, most * amount))
        return f"{name} of this identity can be shifted by {low:.1f} to {high:.1f} standard deviations, got {amount:g}"
    whole, part = (",".join(f"{name}={share * amount:.2g}" for name, amount in amounts.items()) for share in (1, most))
    return f"this identity cannot be shifted by {whole} (standard deviations) at once, but by {part} or less"


def parse(text: str) -> dict[str, float]:
    """`"age=1.5,smile=-1"` as amounts by name, in standard deviations. Raises `BadOption` if it is not written that
    way."""
    try:
        pairs = [part.partition("=") for part in text.split(",")]
        return {name.strip(): float(amount) for name, _, amount in pairs}
    except ValueError as error:
        raise BadOption(f"a shift is written age=1.5,masculine=-1, in standard deviations; got {text!r}") from error


def save(path: str | Path, table: Mapping[str, Direction], measured: Mapping[str, Mapping[str, Any]]) -> None:
    """Write a safetensors file of N directions (`vectors` (N, D), `spreads` (N,), float32), whole or not at all.

    Arguments:
        path: of the file.
        table: the directions by name, all of one space.
        measured: for each name what is known of it, as plain JSON.

    Raises `BadIdentity` for directions of several spaces, `BadOutput` if the file cannot be written.
    """
    spaces = {direction.space for direction in table.values()}
    if len(spaces) != 1:
        raise BadIdentity(f"a file of directions is of one identity space, got {sorted(spaces)}")
    tensors = {
        "vectors": np.stack([direction.vector for direction in table.values()]),
        "spreads": np.array([direction.spread for direction in table.values()], np.float32),
    }
    facts = {"names": json.dumps(list(table)), "measured": json.dumps({name: measured[name] for name in table})}
    vector_file.write(path, tensors, kind=_FORMAT, space=spaces.pop(), **facts)


def load(path: str | Path) -> dict[str, Direction]:
    """What `save` wrote, by name. Raises `BadIdentity` if it is something else."""
    tensors, facts = vector_file.read(path, _FORMAT, ("vectors", "spreads"))
    names, vectors, spreads = _list(facts.get("names")), tensors["vectors"], tensors["spreads"]
    if not names or vectors.ndim != 2 or not len(names) == len(vectors) == spreads.size:
        raise BadIdentity(f"{path} names {len(names)} directions and holds {vectors.shape}: fit them again")
    return {
        name: Direction(vector=vector, spread=float(spread), space=facts["space"])
        for name, vector, spread in zip(names, vectors, spreads.ravel(), strict=True)
    }


def measured(path: str | Path) -> dict[str, dict[str, Any]]:
    """How well each direction of a file is held by identities, by name, as measured on people whom it was not fitted
    to. Raises `BadIdentity` if the file is something else."""
    facts = vector_file.read(path, _FORMAT, ())[1]
    with errors_as(BadIdentity, f"{path} does not say how well its directions are held", "fit them again"):
        return {str(name): dict(row) for name, row in json.loads(facts.get("measured", "{}")).items()}


def names_of(path: str | Path) -> list[str]:
    """The names of the directions in a file, which is all that is read of it. Raises `BadIdentity`."""
    return _list(vector_file.read(path, _FORMAT, ())[1].get("names"))


def of_model(folder: Path) -> dict[str, Direction]:
    """The directions of a model folder. Raises `WeightsMissing` if it has none."""
    if not (folder / FILE).is_file():
        raise WeightsMissing(
            f"{folder} holds no {FILE}: fit them to labelled photos with personae identity fit-directions"
        )
    return load(folder / FILE)


def _list(text: str | None) -> list[str]:
    try:
        found = json.loads(text or "[]")
    except (ValueError, RecursionError):
        return []
    return found if isinstance(found, list) and all(isinstance(name, str) for name in found) else []
