"""The libraries underneath keep to themselves: on the command line what they log or warn of is nobody's business.

    hush()     # before any of them is imported

Errors they still log, and whoever wants more sets a library's own variable (`TRANSFORMERS_VERBOSITY=info`). What
personae itself has to say goes through `console.note` and is not touched.
"""

import gc
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import MappingProxyType

LIBRARIES = (
    "absl",
    "accelerate",
    "datasets",
    "diffusers",
    "huggingface_hub",
    "insightface",
    "mediapipe",
    "onnxruntime",
    "peft",
    "torch",
    "transformers",
)
_BARS = "HF_HUB_DISABLE_PROGRESS_BARS"
# Read once, when the library is imported: a level set on its logger before that would be lost.
_LEVELS = MappingProxyType(
    {
        "TRANSFORMERS_VERBOSITY": "error",
        "DIFFUSERS_VERBOSITY": "error",
        "HF_HUB_VERBOSITY": "error",
        "GLOG_minloglevel": "2",  # MediaPipe
        "TF_CPP_MIN_LOG_LEVEL": "2",  # and what it brings
    }
)


def hush() -> None:
    """Have libraries log errors only, imported or not; a level that the user has set stays."""
    chosen = {name for name in _LEVELS if name in os.environ}
    for name, level in _LEVELS.items():
        os.environ.setdefault(name, level)
    for library in LIBRARIES:
        if f"{library.upper()}_VERBOSITY" not in chosen:
            logging.getLogger(library).setLevel(logging.ERROR)
    if not sys.stderr.isatty():
        hide_bars()


def hide_bars() -> None:
    """Have the libraries that load and fetch weights show no bars, unless the user has set their variable."""
    if _BARS in os.environ:
        return
    os.environ[_BARS] = "1"  # read by huggingface_hub when it is imported, and by transformers from it
    if "huggingface_hub" in sys.modules:
        sys.modules["huggingface_hub"].utils.disable_progress_bars()
    if "transformers" in sys.modules:
        sys.modules["transformers"].utils.logging.disable_progress_bar()


@contextmanager
def uncollected() -> Iterator[None]:
    """No search for garbage inside the block, and none later through what came in it: a model and the libraries it runs
    on are a million objects of which none is garbage, and Python would look for a second."""
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


def ignore_warnings() -> None:
    """Ignore what libraries warn of by Python's `warnings`, as long as the filters of now last."""
    warnings.filterwarnings("ignore", module=rf"({'|'.join(LIBRARIES)})(\.|$)")
