"""Suites of measurements by name: what each measures, and how to run it.

    personae evaluate --suite editing nano --pairs 40        # `personae evaluate --suite editing --help`: its options
    python -m personae.evaluation.suites.editing nano --pairs 40                                     # the same

A suite is a module of this folder, a row of `SUITES`, and in the module a function `main` whose signature is the
command's options. `generation` and `reading` are what `personae evaluate` measures by itself.
"""

from collections.abc import Callable, Mapping
from importlib import import_module

from personae.errors import unknown_name

SUITES: Mapping[str, str] = {
    "angles": "how far the model can turn a head before likeness is lost",
    "animate": "videos: motion against the driver's, flicker, seconds per frame",
    "compare": "speed and memory against the official recipe, at Stable Diffusion 1.5's full size",
    "deny_list": "whom a deny-list catches and whom it refuses by mistake, at each threshold",
    "editing": "whether edits do what they say and leave the rest of the photo alone",
    "face0": "whether words and face are both followed when both are used (Face0)",
    "finding": "faces that the reader finds by size and tilt, and on sheets of many people",
    "gallery": "the pictures of the gallery: every edit, on people who do not exist",
    "generation": "likeness, retrieval, diversity and realism of generated people (what runs without --suite)",
    "grid": "a picture: prompts by the weights of words and face",
    "likeness_guidance": "what guidance by the model's own recogniser gains and costs",
    "modes": "likeness and pixels that each speed mode costs",
    "overhead": "what the pipeline costs beside a bare loop over the same networks, as a ratio with a limit",
    "pairs": "likeness to another photo of the person than the one that was read, by an unrelated judge",
    "precision": "float32 against bfloat16 on this machine: seconds and drift",
    "reading": "the model's reader against the labelling networks (also: --reading)",
    "recognition": "recognisers on pairs of photos of one person: verification, rank-1, equal error rate",
    "serving": "the server under many clients, killed and started again: jobs lost, rate, waits, memory",
    "speed": "seconds to read, generate and start",
    "startup": "seconds of `personae generate` in a new process, against another checkout",
    "steering": "measured effect of a requested pose, expression, reference or number of steps",
    "watermark": "the mark in the pixels: what it survives, how much it changes, what is mistaken for it, its cost",
}


def main_of(name: str) -> Callable[..., None]:
    """The command of a suite. Raises `BadOption` for an unknown name, with the names that there are."""
    if name not in SUITES:
        raise unknown_name("suite", name, SUITES)
    command: Callable[..., None] = import_module(f"{__name__}.{name}").main
    return command
