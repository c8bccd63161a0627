"""Which marks an output gets beside its recipe: the watermark in its pixels, and C2PA, the signature around its file.

    marks = Marks.of_environment()                 # both, less what the environment switches off
    marks = Marks.of_environment(c2pa=False)       # ... and less what the caller does
    marks.recorded()                               # {"watermark": True, "c2pa": False, "why": {"c2pa": "switched off"}}

What is off leaves a trace: the recipe says so, and why.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from personae.provenance.credentials import Credentials

WATERMARK, C2PA = "watermark", "c2pa"
VARIABLES = {WATERMARK: "PERSONAE_NO_WATERMARK", C2PA: "PERSONAE_NO_C2PA"}
_SWITCHED_OFF = "switched off"
_NO = ("", "0")  # of a variable that does not switch off


@dataclass(frozen=True, kw_only=True)
class Marks:
    """What an output is marked with.

    watermark: in its pixels. c2pa: a signed manifest. why: of each that is off, the reason, as the recipe records it.
    credentials: who signs; None: the user, as `provenance.credentials` finds it. Not recorded.
    """

    watermark: bool = True
    c2pa: bool = True
    why: Mapping[str, str] = field(default_factory=dict)
    credentials: "Credentials | None" = None

    @classmethod
    def of_environment(
        cls, *, watermark: bool = True, c2pa: bool = True, credentials: "Credentials | None" = None
    ) -> "Marks":
        """All marks but those that the caller (False) or a variable of `VARIABLES` (set, and not 0) switches off."""
        marks = cls(credentials=credentials)
        for name, wanted in ((WATERMARK, watermark), (C2PA, c2pa)):
            if not wanted:
                marks = marks.without(name, _SWITCHED_OFF)
            elif os.environ.get(VARIABLES[name], "") not in _NO:
                marks = marks.without(name, f"{_SWITCHED_OFF} by {VARIABLES[name]}")
        return marks

    def without(self, name: str, reason: str) -> "Marks":
        """The same without one of them, which was on; one that is off keeps its reason."""
        if not getattr(self, name):
            return self
        off: dict[str, Any] = {name: False, "why": {**self.why, name: reason}}
        return replace(self, **off)

    def recorded(self) -> dict[str, Any]:
        """As a recipe holds it."""
        why = {"why": dict(self.why)} if self.why else {}
        return {WATERMARK: self.watermark, C2PA: self.c2pa} | why
