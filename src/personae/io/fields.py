"""A small dataclass from a stranger's JSON object: the fields there are, each of its declared type.

config = fields.build(DetectorConfig, parts["detector"], WeightsCorrupt, "the detector of reader.json")
"""

import dataclasses
import typing
from typing import Any, TypeVar

from personae.errors import PersonaeError

T = TypeVar("T")
_FITS: dict[type, tuple[type, ...]] = {float: (int, float)}  # JSON has one kind of number


def build(kind: type[T], facts: Any, error: type[PersonaeError], what: str) -> T:
    """`kind(**facts)`; its fields are str, int, float or bool. Raises `error`, and what `kind` itself raises."""
    if not isinstance(facts, dict):
        raise error(f"{what} must be an object, got {_short(facts)}")
    types = typing.get_type_hints(kind)
    known = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if strange := sorted(facts.keys() - known.keys()):
        raise error(f"{what} has a field {strange[0]!r}, known are {', '.join(known)}")
    for name, field in known.items():
        if name not in facts:
            if field.default is dataclasses.MISSING:
                raise error(f"{what} lacks its field {name!r}")
            continue
        value, wanted = facts[name], types[name]
        mistaken = isinstance(value, bool) and wanted is not bool  # Python counts these as integers
        if mistaken or not isinstance(value, _FITS.get(wanted, (wanted,))):
            raise error(f"{what} needs a {wanted.__name__} as its {name}, got {_short(value)}")
    return kind(**facts)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:80] + " ..."
