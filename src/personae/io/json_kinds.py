"""What a JSON value may be: types and ranges, each with its words.

    Number(low=0, high=2).fits(3)                                       # False
    fault(Row(needed={"scale": Number(low=0, high=2)}, may={}), {"scale": 3}, "the settings")
    # 'scale of the settings must be a number between 0 and 2, got 3'

Recipes are checked by tables of these, and the options of a request are declared with them (`controls.option`).
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

_HASH = re.compile(r"[0-9a-f]{64}")


class Kind(Protocol):
    """What a value may be: `says` it in words."""

    @property
    def says(self) -> str:
        """As in "must be ..."."""

    def fits(self, value: Any) -> bool:
        """Whether a JSON value is one."""


@dataclass(frozen=True, kw_only=True)
class Text:
    """A string of at most `most` letters that can be written down."""

    most: int = 255

    @property
    def says(self) -> str:
        return f"text in UTF-8 of at most {self.most} letters"

    def fits(self, value: Any) -> bool:
        right = isinstance(value, str) and len(value) <= self.most
        return right and not any("\ud800" <= letter <= "\udfff" for letter in value)  # halves, which no encoder takes


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A whole number."""

    low: int
    high: int

    @property
    def says(self) -> str:
        return f"a whole number between {self.low} and {self.high}"

    def fits(self, value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high


@dataclass(frozen=True, kw_only=True)
class Number:
    """A finite number."""

    low: float
    high: float
    above: bool = False  # `low` itself is not one

    @property
    def says(self) -> str:
        if self.above:
            return f"a number above {self.low:g} and at most {self.high:g}"
        return f"a number between {self.low:g} and {self.high:g}"

    def fits(self, value: Any) -> bool:
        right = isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high
        return right and not (self.above and value == self.low)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of some values."""

    of: tuple[Any, ...]

    @property
    def says(self) -> str:
        return " or ".join("nothing" if one is None else repr(one) for one in self.of)

    def fits(self, value: Any) -> bool:
        return any(type(value) is type(one) and value == one for one in self.of)


@dataclass(frozen=True, kw_only=True)
class Hash:
    """A sha256 in hex."""

    @property
    def says(self) -> str:
        return "a sha256 in hex"

    def fits(self, value: Any) -> bool:
        return isinstance(value, str) and _HASH.fullmatch(value) is not None


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Two shares of the steps, the first smaller."""

    low: ClassVar[float] = 0
    high: ClassVar[float] = 1

    @property
    def says(self) -> str:
        return "two shares of the steps, 0 <= first < last <= 1"

    def fits(self, value: Any) -> bool:
        share = Number(low=0, high=1)
        return isinstance(value, list) and len(value) == 2 and all(map(share.fits, value)) and value[0] < value[1]


@dataclass(frozen=True, kw_only=True)
class Each:
    """A list of one kind."""

    kind: Kind
    least: int = 0
    most: int

    @property
    def says(self) -> str:
        count = str(self.most) if self.least == self.most else f"{self.least} to {self.most}"
        return f"a list of {count}, each {self.kind.says}"

    def fits(self, value: Any) -> bool:
        return isinstance(value, list) and self.least <= len(value) <= self.most and all(map(self.kind.fits, value))


@dataclass(frozen=True, kw_only=True)
class Names:
    """An object whose values are of one kind; its keys are `names`, or any short text."""

    kind: Kind
    most: int
    names: tuple[str, ...] | None = None

    @property
    def says(self) -> str:
        return f"at most {self.most} by name, each {self.kind.says}"

    def fits(self, value: Any) -> bool:
        key = Text(most=64) if self.names is None else Choice(of=self.names)
        right = isinstance(value, dict) and len(value) <= self.most
        return right and all(key.fits(name) and self.kind.fits(one) for name, one in value.items())


@dataclass(frozen=True, kw_only=True)
class Row:
    """An object with `needed` keys and those of `may`, and no others unless `open`."""

    needed: Mapping[str, Kind]
    may: Mapping[str, Kind]
    open: bool = False

    @property
    def says(self) -> str:
        return f"an object with {', '.join(self.needed) or 'some'} of {', '.join({**self.needed, **self.may})}"

    def fits(self, value: Any) -> bool:
        return fault(self, value, "it") is None


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Rows of 0 and 1: the cells of a mask."""

    most: int = 512

    @property
    def says(self) -> str:
        return f"at most {self.most} rows of 0 and 1, of one length"

    def fits(self, value: Any) -> bool:
        rows = isinstance(value, list) and 0 < len(value) <= self.most and all(isinstance(row, list) for row in value)
        if not rows or not 0 < len(value[0]) <= self.most:
            return False
        return all(len(row) == len(value[0]) and all(type(c) is int and c in (0, 1) for c in row) for row in value)


@dataclass(frozen=True)
class Either:
    """One of several kinds."""

    kinds: tuple[Kind, ...]

    @property
    def says(self) -> str:
        return "; or ".join(kind.says for kind in self.kinds)

    def fits(self, value: Any) -> bool:
        return any(kind.fits(value) for kind in self.kinds)


def either(*kinds: Kind) -> Either:
    """One of several kinds."""
    return Either(kinds)


def fault(row: Row, value: Any, where: str) -> str | None:
    """What is wrong with an object, naming the first key that is not as its row says; None: nothing."""
    if not isinstance(value, dict):
        return f"{where} must be an object, got {excerpt(value)}"
    for name in row.needed:
        if name not in value:
            return f"{where} lacks {name}"
    known = {**row.needed, **row.may}
    for name, one in value.items():
        if name not in known:
            if row.open:
                continue
            return f"{where} has {excerpt(name)}, which this version of personae does not know"
        kind = known[name]
        if isinstance(kind, Row):
            if found := fault(kind, one, f"{name} of {where}"):
                return found
        elif not kind.fits(one):
            return f"{name} of {where} must be {kind.says}, got {excerpt(one)}"
    return None


def excerpt(value: Any) -> str:
    """A value in an error, however long it is."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    if isinstance(value, int) and abs(value) >= 10**18:
        return "a number of more than 18 digits"
    return repr(value[:60] if isinstance(value, str) else value)


NOTHING = Choice(of=(None,))
SHARE = Number(low=0, high=1)
# A file: its content, and what it was called, never where it lies. The content of one without a hash is for the caller
# to know (recipes before version 2).
FILE = Row(needed={}, may={"sha256": Hash(), "name": Text()})
