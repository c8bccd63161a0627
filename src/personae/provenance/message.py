"""What a watermark says: by which model, and by which recipe, so that a recipe found elsewhere can be matched.

message_of(recipe)       # Message(model=0x3f, recipe=b"\\x91\\x07\\xd2\\x4c")
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from personae.errors import BadOption
from personae.provenance.recipe import canonical

UNKNOWN_MODEL = 0
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True, kw_only=True)
class Message:
    """The 40 bits that an output's watermark tells of it.

    model: the first byte of the model's sha256, 0: not known. recipe: the first four bytes of the recipe's sha256, as
    `recipe_sha256` counts it. part: whether only that part of the picture bears it which an edit changed.
    """

    model: int
    recipe: bytes
    part: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.model <= 255 or len(self.recipe) != 4:
            raise BadOption(f"a message has a model of 0-255 and 4 bytes of a recipe's hash, got {self}")


def message_of(recipe: Mapping[str, Any]) -> Message:
    """The message of an output, from its recipe as the file holds it; a stranger's may name its model by anything."""
    model = recipe.get("model")
    sha256 = model.get("sha256") if isinstance(model, Mapping) else None
    number = int(sha256[:2], 16) if isinstance(sha256, str) and _SHA256.fullmatch(sha256) else UNKNOWN_MODEL
    return Message(model=number, recipe=bytes.fromhex(recipe_sha256(recipe)[:8]))


def recipe_sha256(recipe: Mapping[str, Any]) -> str:
    """The hash of a recipe, in hex: of its JSON in one order and one spelling, which is also the text in the file."""
    return hashlib.sha256(canonical(recipe).encode()).hexdigest()
