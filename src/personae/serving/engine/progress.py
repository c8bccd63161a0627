"""How far a request is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a request is.

    stage: "waiting", "running" (or what an animation is at), then "done", "failed" or "cancelled". step of steps: 0 of
    0 where there are none to count. preview: a look at the first image as it is now; None: no new one.
    """

    stage: str
    step: int = 0
    steps: int = 0
    preview: Image.Image | None = field(default=None, repr=False)

    @property
    def share(self) -> float:
        """0-1."""
        return 1.0 if self.stage == "done" else self.step / self.steps if self.steps else 0.0
