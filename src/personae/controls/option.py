"""How an option of a request is declared: once, as a field of the frozen dataclass that carries it out.

    @dataclass(frozen=True, kw_only=True)
    class Lora(Control):
        lora: str | os.PathLike[str] | None = option(type="file", help="The safetensors file of a LoRA.")
        lora_scale: float = option(Number(low=0, high=2), default=1.0, needs=("lora",), help="How strongly, 0-2.")

        def plan(self, model: Model, request: Request) -> Plan | None: ...

From the classes of `controls.registry` follow the signature of `FacePipeline.__call__` (`controls.options`), options
and help of the command line, the checks of range, the settings of a recipe, and the rows for pages and servers.
Declarations bring no torch: what acts is imported inside `plan`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal

from personae.errors import BadOption, unknown_name
from personae.io.json_kinds import FILE, Choice, Interval, Kind, Number, Text, Whole

MOST_PEOPLE = 16  # of one picture or one call, as a recipe holds them

_TYPES: dict[type[Any], str] = {
    Number: "number",
    Whole: "integer",
    Text: "text",
    Choice: "choice",
    Interval: "interval",
}
_TYPED: dict[str, Any] = {"number": float, "integer": int, "photo": Path, "file": Path}


@dataclass(frozen=True, kw_only=True)
class Option:
    """What is known of one option.

    help: a sentence for the command line, pages and docs. title: a word or two for a page; None: the name in words.
    kind: its values, if they are numbers, an interval, names or text: checked by `control.Control.of`, and in a recipe.
    type: a word for it, where `kind` does not say: "photo", "file", "pose"... unit: of its numbers. soft: the range in
    which a number is usually set, which is a slider's; step: of that slider. default: in effect where the request does
    not set it; default_text: the same in words, where no value says it. needs: options, one of which must be set with
    it. each: of what a list of values has one. work: what a value above 0 adds to every step, in calls of the UNet.

    recipe: what a recipe says of it, if that is not `kind`; a function, if its table is not light. in_recipe: whether
    a recipe's settings hold it. in_history: whether the recipe of a later edit holds it, too. by_edit: whether an edit
    sets it: "always", so that its caller cannot; or "default", unless its caller does. in_commands: whether `personae
    generate` offers it. flag: its name there, if not the usual one; short_flag: another. parse: (text, flag) -> value,
    where the text is not the value.
    """

    help: str
    title: str | None = None
    kind: Kind | None = None
    type: str
    unit: str | None = None
    soft: tuple[float, float] | None = None
    step: float | None = None
    default: Any = None
    default_text: str | None = None
    needs: tuple[str, ...] = ()
    each: Literal["person", "picture", "image"] | None = None
    work: float = 0
    recipe: Kind | Callable[[], Kind] | None = None
    in_recipe: bool = True
    in_history: bool = True
    by_edit: Literal["always", "default"] | None = None
    in_commands: bool = True
    flag: str | None = None
    short_flag: str | None = None
    parse: Callable[[Any, str], Any] | None = None

    @property
    def recipe_kind(self) -> Kind | None:
        """What a recipe says of it; None: nothing."""
        if not self.in_recipe:
            return None
        if self.recipe is None:
            return FILE if self.type in ("photo", "file") else self.kind
        return self.recipe() if callable(self.recipe) else self.recipe

    @property
    def choices(self) -> tuple[str, ...] | None:
        """The names to choose from; None: it is no choice."""
        return self.kind.of if isinstance(self.kind, Choice) else None

    @property
    def default_words(self) -> str | None:
        """The default as it is typed or read; None: there is none."""
        if self.default_text is not None or self.default in (None, ""):
            return self.default_text
        return numbers_text(self.default) if isinstance(self.default, tuple | int | float) else str(self.default)

    @property
    def typed(self) -> Any:
        """What typer makes of its text: str, Path, int, float, or a list of texts."""
        return list[str] if self.type == "regions" else _TYPED.get(self.type, str)

    def checked(self, name: str, value: Any) -> Any:
        """A value of the option called `name`, in its own type. Raises `BadOption` for one out of range."""
        if self.each is not None and self.kind is not None and isinstance(value, Iterable):
            return [self._one(name, one) for one in value]
        return value if self.kind is None else self._one(name, value)

    def _one(self, name: str, value: Any) -> Any:
        """As `checked`, of what is no list."""
        match self.kind:
            case Interval():
                return _interval(name, value)
            case Choice(of=names) if value not in names:
                raise unknown_name(name, str(value), names)
            case Text() if not isinstance(value, str):
                raise BadOption(
                    f"{name} is one text for all images of a call, got a {value.__class__.__name__}: "
                    "call once for each text"
                )
            case Number() if isinstance(value, Real) and not isinstance(value, bool):
                value = float(value)
            case Whole() if isinstance(value, Integral) and not isinstance(value, bool):
                value = int(value)
        if self.kind is not None and not self.kind.fits(value):
            raise BadOption(f"{name} must be {self.kind.says}, got {value!r:.80}")
        return value

    def flags(self, name: str) -> list[str]:
        """As it is typed: `["--pose-scale"]`, `["--count", "-n"]`."""
        names = [self.flag or f"--{name.replace('_', '-')}", self.short_flag]
        return [one for one in names if one is not None]

    def facts(self, name: str) -> dict[str, Any]:
        """What is declared, as JSON values: see `registry.rows`."""
        low, high = (getattr(self.kind, edge, None) for edge in ("low", "high"))
        soft_low, soft_high = self.soft or (low, high)
        whole = isinstance(self.kind, Whole)
        return {
            "name": name,
            "title": self.title or name.replace("_", " ").capitalize(),
            "type": self.type,
            "help": self.help,
            "unit": self.unit,
            "low": low,
            "high": high,
            "above_low": getattr(self.kind, "above", False),
            "soft_low": soft_low,
            "soft_high": soft_high,
            "step": 1 if whole and self.step is None else self.step,
            "choices": None if self.choices is None else list(self.choices),
            "default": list(self.default) if isinstance(self.default, tuple) else self.default,
            "default_text": self.default_words,
            "per": self.each,
            "needs": list(self.needs),
            "by_edit": self.by_edit,
            "in_recipe": self.in_recipe,
            "flag": self.flags(name)[0] if self.in_commands else None,
        }

    def read(self, text: Any, flag: str) -> Any:
        """The value of what was typed after `flag`. Raises `BadOption`."""
        if self.parse is not None:
            return self.parse(text, flag)
        return numbers(text, flag) if isinstance(self.kind, Interval) else text


def option(kind: Kind | None = None, *, type: str | None = None, default: Any = None, **facts: Any) -> Any:  # noqa: A002
    """A field of a `control.Control` that is an option: see `Option`."""
    word = type or _TYPES[kind.__class__]
    declared = Option(kind=kind, type=word, default=default, **facts)
    return field(default=default, metadata={"option": declared})


def numbers(text: str, flag: str) -> list[float]:
    """`"1,0.5"`. Raises `BadOption`, naming the flag, if it is not written that way."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise BadOption(f"{flag} takes numbers separated by commas, got {text!r}") from error


def numbers_text(value: Any) -> str:
    """`(1.0, 0.5)` as it is typed: `"1,0.5"`."""
    return ",".join(f"{number:g}" for number in value) if isinstance(value, tuple) else f"{value:g}"


def _interval(name: str, value: Any) -> tuple[float, float]:
    try:
        first, last = (float(share) for share in value)
    except (TypeError, ValueError) as error:
        raise BadOption(f"{name} is two shares of the steps, like (0.2, 0.8), got {value!r:.80}") from error
    if not 0 <= first < last <= 1:
        raise BadOption(f"{name} is two shares of the steps, 0 <= first < last <= 1, got {first, last}")
    return first, last
