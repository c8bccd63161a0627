"""A form out of the option registry: a slider, list or field for each option, and the options back out of their values.

    form = OptionsForm.of(offered(registry.rows(), groups=["Sampling"]), i18n)   # inside gr.Blocks
    form.read(values)                # {"num_inference_steps": 12}: what differs from the usual

Only options with a flag are offered: what the page makes, a command makes, too. Which widget an option gets follows
from its row (`registry.rows`); one without a default is an empty field that says what then holds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from personae.controls import registry
from personae.controls.option import numbers
from personae.errors import BadOption
from personae.serving.page.photos import PICTURES
from personae.serving.page.texts import Words

Row = Mapping[str, Any]
Translate = Callable[[str], Any]
_TYPES = ("number", "integer", "text", "choice", "interval", "photo", "file")
_LONGEST_SLIDER = 10_000  # values; beyond, a field is better


def offered(
    rows: Sequence[Row],
    *,
    groups: Collection[str] | None = None,
    besides: Collection[str] = (),
    components: Collection[str] | None = None,
) -> list[Row]:
    """The rows that a form shows: with a flag, of a type that it has a widget for, of these groups (None: all), that
    the model's optional components (None: unknown) allow. besides: names that are shown elsewhere."""
    return [
        row
        for row in rows
        if row["flag"] is not None
        and row["type"] in _TYPES
        and row["name"] not in besides
        and (groups is None or row["group"] in groups)
        and (components is None or row["component"] is None or row["component"] in components)
    ]


def value_of(row: Row, value: Any) -> Any:
    """An option's value out of its widget's; None: as usual. Raises `BadOption`."""
    if value is None or value == "":
        return None
    if row["type"] == "interval":
        value = numbers(str(value), str(row["title"]))
    elif row["type"] in ("photo", "file"):
        return Path(str(value))
    elif row["type"] in ("number", "integer"):
        value = _number_of(row, value)
    value = registry.options()[row["name"]].checked(row["name"], value)
    usual = tuple(row["default"]) if isinstance(row["default"], list) else row["default"]
    return None if value == usual else value


def _number_of(row: Row, value: Any) -> float | int:
    """A slider's number, or one that was typed; a slider's whole numbers come as 4.0."""
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise BadOption(f"{row['title']} is a number, got {value!r:.40}") from error
    return int(number) if row["type"] == "integer" and number.is_integer() else number


def read(rows: Sequence[Row], values: Sequence[Any]) -> dict[str, Any]:
    """The options that differ from the usual, by name. Raises `BadOption`, also for one whose need is not met."""
    found = {row["name"]: value_of(row, value) for row, value in zip(rows, values, strict=True)}
    return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class OptionsForm:
    """The widgets of some rows, in order."""

    rows: Sequence[Row]
    widgets: Sequence[gr.components.Component]

    @classmethod
    def of(cls, rows: Sequence[Row], i18n: Translate) -> OptionsForm:
        """Draw them where the page is being built."""
        return cls(rows=rows, widgets=[_widget(row, i18n) for row in rows])

    def read(self, values: Sequence[Any]) -> dict[str, Any]:
        """See `read`."""
        if len(values) != len(self.rows):
            raise BadOption(f"the form has {len(self.rows)} fields, got {len(values)}: load the page again")
        return read(self.rows, values)


def choices_of(row: Row, words: Words) -> list[tuple[str, str]]:
    """What a list of an option's choices shows, and the value of each; the first of one without a default is the
    usual."""
    unset = [(words.usual(row), "")] if row["default"] is None else []
    return [*unset, *((name, name) for name in row["choices"])]


def _widget(row: Row, i18n: Translate) -> gr.components.Component:
    words = {"label": i18n(f"option_{row['name']}"), "info": i18n(f"help_{row['name']}")}
    usual = "-" if row["default_text"] == "-" else i18n(row.get("usual", f"usual_{row['name']}"))
    match row["type"]:
        case "number" | "integer":
            return _number(row, words, usual)
        case "choice":
            return gr.Dropdown(choices=choices_of(row, Words()), value=row["default"] or "", **words)
        case "interval":
            return gr.Textbox(placeholder=usual, **words)
        case "photo" | "file":
            del words["info"]
            types = PICTURES if row["type"] == "photo" else [".safetensors"]
            return gr.File(file_types=types, height=120, **words)
        case _:
            return gr.Textbox(value=row["default"], lines=2, placeholder=usual, **words)


def _number(row: Row, words: dict[str, Any], usual: Any) -> gr.components.Component:
    step = row["step"] or 0.05
    low, high, default = row["soft_low"], row["soft_high"], row["default"]
    if default is None or low is None or high is None or (high - low) / step > _LONGEST_SLIDER:
        return gr.Textbox(value=None if default is None else f"{default:g}", placeholder=usual, **words)
    return gr.Slider(minimum=min(low, default), maximum=max(high, default), step=step, value=default, **words)
