"""personae: a face as a handle.

    import personae
    pipe = personae.load("nano")
    face = pipe.read("me.jpg")[0]
    pipe(face, num_images_per_prompt=4, seed=0).images[0].save("me-again.png")

Importing this package loads no model and touches no disk, device or network: names arrive on first use. It does set
the variables that keep other libraries from phoning home (`telemetry`), which only work before those are imported.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from personae import telemetry
from personae.version import __version__

telemetry.switch_off()

_HOMES = {
    "load": "personae.pipeline",
    "FacePipeline": "personae.pipeline",
    "Identity": "personae.types",
    "Face": "personae.types",
    "Photo": "personae.types",
    "Generation": "personae.types",
    "Edit": "personae.types",
    "PersonaeError": "personae.errors",
}
__all__ = ["Edit", "Face", "FacePipeline", "Generation", "Identity", "PersonaeError", "Photo", "__version__", "load"]

if TYPE_CHECKING:
    from personae.errors import PersonaeError
    from personae.pipeline import FacePipeline, load
    from personae.types import Edit, Face, Generation, Identity, Photo


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'personae' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
