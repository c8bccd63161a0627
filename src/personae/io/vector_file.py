"""Small safetensors files of vectors: what they are and which identity space they belong to stands in their metadata.

    write("ann.identity", {"vector": v}, kind="personae.identity/1", space=space)
    tensors, facts = read("ann.identity", "personae.identity/1", ("vector",))

Used by everything that keeps identities or what was fitted to them; a format's own module says what is in it.
"""

from pathlib import Path

from safetensors import safe_open

from personae.errors import BadIdentity
from personae.io import atomic, regular
from personae.io.boundary import errors_as
from personae.io.tensors import to_bytes
from personae.shapes import Shaped
from personae.types import Array

_NUMBERS = "fiu"  # kinds of dtype
MOST_BYTES = 4 << 20  # such a file is kilobytes; anything larger is another one by mistake


def encode(tensors: dict[str, Shaped[Array, " ..."]], *, kind: str, space: str, **facts: str) -> bytes:
    """The bytes of a file.

    Arguments:
        tensors: arrays of numbers, of any shapes, by name.
        kind: the format, e.g. `personae.identity/1`.
        space: the identity space that they belong to.
        facts: what else is to stand in the metadata.
    """
    return to_bytes(tensors, {"format": kind, "space": space} | facts)


def write(path: str | Path, tensors: dict[str, Shaped[Array, " ..."]], *, kind: str, space: str, **facts: str) -> None:
    """Write the file of `encode`, whole or not at all. Raises `BadOutput` if it cannot be written."""
    atomic.write(path, encode(tensors, kind=kind, space=space, **facts), replace=True)


def read(
    path: str | Path, kind: str, names: tuple[str, ...], optional: tuple[str, ...] = (), most_bytes: int = MOST_BYTES
) -> tuple[dict[str, Shaped[Array, " ..."]], dict[str, str]]:
    """What `write` wrote.

    Arguments:
        path: of the file.
        kind: the format that it must have.
        names: of the arrays that it must hold.
        optional: of those that are read if they are there.
        most_bytes: of the whole file.

    Returns the arrays by name, of numbers, in the shapes that the file gives them; and its metadata.
    Raises `BadIdentity` if it is missing, damaged, larger than `most_bytes` or something else.
    """
    place = Path(path)
    regular.require(place, most_bytes, BadIdentity)
    with errors_as(BadIdentity, f"{place} cannot be read as {kind}"), safe_open(place, framework="np") as file:
        facts = file.metadata() or {}
        if facts.get("format") != kind or not facts.get("space"):
            raise BadIdentity(f"{place} is not a {kind} file: its format is {facts.get('format')!r}")
        there = names + tuple(name for name in optional if name in file.keys())  # noqa: SIM118 (not a dict)
        tensors = {name: file.get_tensor(name) for name in there}  # of numpy's types: bfloat16 and float8 are refused
    strange = [name for name, tensor in tensors.items() if tensor.dtype.kind not in _NUMBERS]
    if strange:
        raise BadIdentity(f"{place}: {strange[0]} holds {tensors[strange[0]].dtype}, not numbers")
    return tensors, facts
