"""The inputs of nodes, derived from the registry of options.

    sockets_of(["pose", "speed"])               # what a node shows
    own("seed", most=2**32 - 1)                 # an option that the node cannot do without
    options_from({"pose": "20,0,0"})            # what `pipe(face, **options)` takes

A widget of ComfyUI always holds a value, an option may be unset. So: a number without a default is a socket to wire, a
whole number may be 0, a choice may be "default", and a text may be empty. A workflow may come from a stranger: what is
typed into a node never names a file to open; photos are wired in as images, files chosen from ComfyUI's own folders.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from personae.controls import registry
from personae.controls.option import Option
from personae.editing.tasks import TASKS
from personae.errors import BadOption

UNSET = "default"  # of a choice: what the model or the task does by itself
OF_PHOTO = "_image"  # the socket beside a text that may also be read from a photo: pose_image
READ_FROM_PHOTOS = ("pose", "expression")
_OF_WORDS = frozenset({"Words", "Words and face"})  # groups of options
_NOT_GENERATED = frozenset({"Editing", "Several people"})
_OF_THE_NODE = ("prompt", "seed", "num_images_per_prompt")  # inputs of its own
# Of an edit. Saved workflows know them by their order: new ones stand at the end.
_EDIT_OPTIONS = (
    *("pose", "expression", "strength", "likeness_guidance", "motion_guidance"),
    *("num_inference_steps", "guidance_scale"),
)
UNSET_IN_EDITS = ("strength",)  # a task has its own
EDIT_TASKS = tuple(name for name in TASKS if name != "mix")  # which takes pieces of any number of photos


@dataclass(frozen=True, kw_only=True)
class Socket:
    """One input of a node. kind: ComfyUI's word for its type. facts: as ComfyUI's `Input` takes them."""

    id: str
    kind: Literal["FLOAT", "INT", "STRING", "COMBO", "IMAGE"]
    facts: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


def generation_options(*, words: bool) -> list[str]:
    """The options of a node that generates, by name; words: those of text beside a face among them."""
    apart = _NOT_GENERATED | (frozenset() if words else _OF_WORDS)
    return [row["name"] for row in registry.rows() if row["group"] not in apart and row["name"] not in _OF_THE_NODE]


def own(name: str, *, id: str | None = None, most: float | None = None, **facts: Any) -> Socket:  # noqa: A002
    """An option without which a node does nothing, called `id` there: its input must have a value. most: a lower end of
    its range. facts: what the node has beside its declaration."""
    [row] = [row for row in registry.rows() if row["name"] == name]
    [found] = _sockets(row, ())
    limits = {} if row["low"] is None else {"min": row["low"], "max": row["high"] if most is None else most}
    return replace(found, id=id or name, facts=dict(found.facts) | limits | {"optional": False} | facts)


def of_edits() -> list[Socket]:
    """The inputs of a node that edits, beside photos and wishes."""
    return sockets_of(_EDIT_OPTIONS, unset=UNSET_IN_EDITS)


def sockets_of(
    names: Sequence[str], *, files: Mapping[str, Sequence[str]] = MappingProxyType({}), unset: Sequence[str] = ()
) -> list[Socket]:
    """The inputs for some options. files: for an option that is a file, the names to choose from. unset: options whose
    default is not in effect in this node, since a task has its own."""
    rows = {row["name"]: row | ({"default": None} if row["name"] in unset else {}) for row in registry.rows()}
    return [socket for name in names for socket in _sockets(rows[name], files.get(name, ()))]


def _sockets(row: Mapping[str, Any], files: Sequence[str]) -> list[Socket]:
    name, default = row["name"], row["default"]
    facts = {"display_name": row["title"], "tooltip": row["help"], "optional": True}
    if row["type"] == "number":
        return [Socket(id=name, kind="FLOAT", facts=facts | _number(row))]
    if row["type"] == "integer":
        limits = {"min": 0, "max": row["high"], "step": row["step"]}
        return [Socket(id=name, kind="INT", facts=facts | limits | {"default": default or 0})]
    if row["type"] in ("choice", "file"):
        choices = [*([] if default else [UNSET]), *(row["choices"] or files)]
        return [Socket(id=name, kind="COMBO", facts=facts | {"options": choices, "default": default or UNSET})]
    photo = Socket(id=name, kind="IMAGE", facts=facts)
    if row["type"] == "photo":
        return [photo]
    text = Socket(id=name, kind="STRING", facts=facts | {"default": row["default_text"] if default else ""})
    if name in READ_FROM_PHOTOS:
        return [text, replace(photo, id=name + OF_PHOTO, facts=facts | {"display_name": f"{row['title']} of a photo"})]
    return [text]


def _number(row: Mapping[str, Any]) -> dict[str, Any]:
    limits = {"min": row["low"], "max": row["high"], "step": row["step"]}
    return limits | ({"force_input": True} if row["default"] is None else {"default": row["default"]})


def options_from(
    values: Mapping[str, Any], *, files: Mapping[str, Path] = MappingProxyType({}), unset: Sequence[str] = ()
) -> dict[str, Any]:
    """The options that a node's inputs set; images are (H, W, 3) uint8 already.

    What equals the option's default is left out: some options may only be set beside another. files: what the choice
    of each option that is a file stands for. unset: as in `sockets_of`. Raises `BadOption` for a text that cannot be
    read or names a file.
    """
    known = registry.options()
    found: dict[str, Any] = {}
    for name, value in values.items():
        option_name = name.removesuffix(OF_PHOTO)
        one = known[option_name]
        if value is None or (isinstance(value, str) and value in ("", UNSET)) or (one.type == "integer" and value == 0):
            continue
        if option_name in found:
            raise BadOption(f"{option_name} was typed and wired as an image: give one of the two")
        found[option_name] = files[name] if one.type == "file" else _value(option_name, one, value)
    return {name: value for name, value in found.items() if not _is_default(value, known[name].default, name in unset)}


def _value(name: str, one: Option, value: Any) -> Any:
    if isinstance(value, str) and one.choices is None:
        value = one.read(value, name)
        if isinstance(value, Path):
            raise BadOption(f"{name} names a file, {value.name!r}: wire the picture to {name}{OF_PHOTO} instead")
    return value


def _is_default(value: Any, default: Any, unset: bool) -> bool:
    if unset or default is None or not isinstance(value, str | int | float | list):
        return False
    return bool((tuple(value) if isinstance(value, list) else value) == default)
