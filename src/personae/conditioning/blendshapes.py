"""An expression as the numbers that an expression adapter reads.

    sliders({"smile": 0.8, "jawOpen": 0.2})     # {"jawOpen": 0.2, "mouthSmileLeft": 0.8, "mouthSmileRight": 0.8}
    blendshape_vector({"jawOpen": 0.2})         # (52,) float32
    flame_vector(numbers)                       # (55,) float32, within the ranges of SMIRK's encoder
    read_file("smile.npy")                      # numbers, or sliders, from a file

Two kinds of vectors are in use: the 52 blendshapes of `personae.types`, which the readers here measure and people
can name, and the 55 FLAME numbers of the published adapter (arXiv 2510.04706). For both, all zeros stand for no
requested expression, as in the unconditional half of guidance.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from personae.errors import BadOption, unknown_name
from personae.io import archive, regular
from personae.io.boundary import errors_as
from personae.shapes import Float, Float32, Num
from personae.types import BLENDSHAPES, Array

_MOST_BYTES = 1 << 20  # of a file with some fifty numbers
FLAME_WIDTH = 55  # 50 expression, 2 eyelids, 3 jaw
VECTOR_FILES = (".json", ".npy")

# An everyday name -> how far each blendshape goes at 1. Amounts are near the 99th percentile of the training photos
# where that is below 1: nothing is requested that faces do not do.
FRIENDLY: dict[str, dict[str, float]] = {
    "neutral": {},
    "smile": {"mouthSmile": 1.0},
    "grin": {"mouthSmile": 1.0, "mouthUpperUp": 0.8, "mouthLowerDown": 0.6},
    "laugh": {"mouthSmile": 1.0, "mouthUpperUp": 0.8, "mouthLowerDown": 0.8, "jawOpen": 0.5, "eyeSquint": 0.8},
    "surprise": {"browInnerUp": 0.9, "browOuterUp": 0.9, "eyeWide": 0.4, "jawOpen": 0.5},
    "frown": {"browDown": 0.8, "mouthFrown": 0.3},
    "sad": {"browInnerUp": 0.9, "mouthFrown": 0.5, "mouthShrugLower": 0.6},
    "angry": {"browDown": 0.9, "eyeSquint": 0.6, "mouthPress": 0.5},
    "kiss": {"mouthPucker": 1.0},
    "blink": {"eyeBlink": 1.0},
    "wink": {"eyeBlinkLeft": 1.0},
    "squint": {"eyeSquint": 1.0},
}
GAZE = [index for index, name in enumerate(BLENDSHAPES) if name.startswith("eyeLook")]
_SHAPES = BLENDSHAPES[1:]  # all but `_neutral`, which cannot be requested
# A name without its side means both: `mouthSmile`.
_PAIRS = {
    name.removesuffix("Left"): (name, name.removesuffix("Left") + "Right")
    for name in _SHAPES
    if name.endswith("Left") and name.removesuffix("Left") + "Right" in _SHAPES
}


def sliders(amounts: Mapping[str, float]) -> dict[str, float]:
    """The blendshapes that a request names, by their exact names.

    Arguments:
        amounts: 0-1, by name: exact names, pairs without their side (`mouthSmile`), and those of `FRIENDLY`.

    Returns the amount of each blendshape that is named, 0 included: a request for a closed mouth is one. Where several
    names move the same blendshape, an exact name overrides a pair, a pair overrides friendly names, and of these the
    one that moves it most counts.
    Raises `BadOption` for an unknown name or an amount outside 0-1.
    """
    friendly: dict[str, float] = {}
    pairs: dict[str, float] = {}
    exact: dict[str, float] = {}
    for name, value in amounts.items():
        amount = _amount(name, value)
        if name in FRIENDLY:
            for part, share in FRIENDLY[name].items():
                for shape in _PAIRS.get(part, (part,)):
                    friendly[shape] = max(friendly.get(shape, 0.0), share * amount)
        elif name in _PAIRS:
            pairs |= dict.fromkeys(_PAIRS[name], amount)
        elif name in _SHAPES:
            exact[name] = amount
        else:
            raise unknown_name("expression", name, [*FRIENDLY, *_PAIRS, *_SHAPES])
    moved = friendly | pairs | exact
    return {name: moved[name] for name in _SHAPES if name in moved}


def with_sliders(blendshapes: Float[Array, " 52"], amounts: Mapping[str, float]) -> Float32[Array, " 52"]:
    """A copy of `blendshapes` (52,), 0-1, as float32, in which those that `amounts` names (as `sliders`) have these
    amounts. Raises as `sliders`."""
    shapes = dict(zip(BLENDSHAPES, blendshapes.tolist(), strict=True)) | sliders(amounts)
    return np.array([shapes[name] for name in BLENDSHAPES], np.float32)


def parse_sliders(text: str) -> dict[str, float]:
    """`"smile=0.8,jawOpen=0.2"` as a dict. Raises `BadOption` if it is not written that way."""
    amounts: dict[str, float] = {}
    for part in text.split(","):
        name, _, amount = part.partition("=")
        try:
            amounts[name.strip()] = float(amount)
        except ValueError as error:
            raise BadOption(
                f"an expression is a file, or written smile=0.8,jawOpen=0.2 with amounts 0-1; got {text!r}"
            ) from error
    return amounts


def blendshape_vector(shapes: Mapping[str, float]) -> Float32[Array, " 52"]:
    """(52,) float32 for an expression adapter, of amounts 0-1 by exact names; the others are 0."""
    return adapter_input(np.array([shapes.get(name, 0.0) for name in BLENDSHAPES], np.float32))


def adapter_input(shapes: Float[Array, "*N 52"]) -> Float32[Array, "*N 52"]:
    """Blendshapes (..., 52), 0-1, as an expression adapter reads them: float32, with 1 in place of `_neutral`, which no
    face moves. So a face at rest differs from no requested expression, which is all zeros."""
    vectors = shapes.astype(np.float32)
    vectors[..., 0] = 1
    return vectors


def flame_vector(numbers: Sequence[float] | Num[Array, " ..."]) -> Float32[Array, " 55"]:
    """(55,) float32: 50 FLAME expression coefficients; 2 eyelids, kept within 0-1; 3 of the jaw, the first at least
    0, the others within +-0.2 (as the SMIRK encoder bounds them). Raises `BadOption` for another size, or NaN."""
    vector = finite_vector(numbers, FLAME_WIDTH, "50 expression, 2 eyelids, 3 jaw, as SMIRK's encoder gives them")
    vector[50:52] = vector[50:52].clip(0, 1)
    vector[52] = max(vector[52], 0)
    vector[53:] = vector[53:].clip(-0.2, 0.2)
    return vector


def finite_vector(numbers: Sequence[float] | Num[Array, " ..."], width: int, what: str) -> Float32[Array, " W"]:
    """Numbers of shape (width,) or (1, width) as (width,) float32. what: their meaning, for the error.

    Raises `BadOption` for another shape, NaN or infinity.
    """
    try:
        vector = np.array(numbers, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise BadOption(f"an expression vector is a list of {width} numbers, got something else ({error})") from error
    if vector.size != width or vector.ndim > 1 + vector.shape.count(1):
        raise BadOption(f"this model reads expressions of {width} numbers ({what}), got shape {vector.shape}")
    if not np.isfinite(vector).all():
        raise BadOption("an expression vector must be finite, got NaN or infinity: measure it again")
    return vector.reshape(width)


def read_file(path: str | os.PathLike[str]) -> Num[Array, " ..."] | dict[str, float]:
    """The expression in a `.npy` or `.json` file: an array of numbers, or amounts by name (a JSON object).

    Raises `BadOption` for a file that cannot be read or holds anything else.
    """
    source = Path(path)
    content = regular.read(source, _MOST_BYTES, BadOption)
    with errors_as(BadOption, f"{source} holds no expression", "give a list of numbers as .npy or .json"):
        if source.suffix.lower() == ".npy":
            return archive.npy(content, BadOption, str(source))
        found = json.loads(content)
        return found if isinstance(found, dict) else np.array(found, np.float32)


def _amount(name: str, value: float) -> float:
    try:
        amount = float(value)
    except (TypeError, ValueError) as error:
        raise BadOption(f"expression {name} goes from 0 to 1, got {value!r}") from error
    if not 0 <= amount <= 1:  # NaN is neither
        raise BadOption(f"expression {name} goes from 0 to 1, got {value}")
    return amount
