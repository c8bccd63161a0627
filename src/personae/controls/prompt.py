"""`prompt` and `negative_prompt`: words around a person or beside the face, and words to lead away from.

pipe(face, prompt="a smiling {person}, black and white")
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from personae.controls.control import Control
from personae.controls.option import option
from personae.io.json_kinds import NOTHING, Text, either

_TEXT = Text(most=4000)


@dataclass(frozen=True, kw_only=True)
class PromptControl(Control):
    """The words of a call. What they become is for `pipeline` (an identity prompt) and `TextControl` (Face0)."""

    group: ClassVar[str] = "Words"

    prompt: str | None = option(
        _TEXT,
        recipe=either(NOTHING, _TEXT),
        help='Words around the person: "a smiling {person}, black and white". Words without {person} stand beside '
        "the face (Face0), each with its weight.",
    )
    negative_prompt: str = option(_TEXT, default="", in_commands=False, help="Words to lead away from.")
