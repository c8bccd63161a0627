"""Where an image comes from: recipes, marks, what finds them, and the one writer through which images leave.

provenance.detect("picture.jpg").verdict             # where a file comes from: `detection`
marked = provenance.mark(out.images[0], recipe)      # its pixels say which recipe; `writer` does it for files

Importing this package loads nothing: names arrive on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "Credentials": "personae.provenance.credentials",
    "Detected": "personae.provenance.detection",
    "Marks": "personae.provenance.marks",
    "detect": "personae.provenance.detection",
    "mark": "personae.provenance.pixel_mark",
}
__all__ = ["Credentials", "Detected", "Marks", "detect", "mark"]

if TYPE_CHECKING:
    from personae.provenance.credentials import Credentials
    from personae.provenance.detection import Detected, detect
    from personae.provenance.marks import Marks
    from personae.provenance.pixel_mark import mark


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'personae.provenance' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
