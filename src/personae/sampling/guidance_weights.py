"""The weights of text and face in guidance (Face0, arXiv 2306.06638, section 3.4).

    weights = GuidanceWeights(both=0.55, text=0.45)         # = LOOKS["stylised"]
    weights.over(scheduler.timesteps)               # {"both": (0.55, None), "text": (0.45, None)}

The paper leads to e = c eps(text + face) + (1 - c) (a eps(face) + (1 - a) eps(text)): three weights whose sum is 1,
one of which is 0. Here the three are given directly, in any proportion, and each may act in a part of the steps only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from torch import Tensor

from personae.errors import BadOption
from personae.sampling import look_table
from personae.sampling.fast.modes import guided_times
from personae.sampling.guidance import Interval, acts, shares
from personae.shapes import Num

NAMES = ("text", "face", "both")
MOST = 2  # that act at a time: with the unconditional one three passes, as in the paper
_WHOLE = (0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class GuidanceWeights:
    """How strongly guidance leads to each of three conditionings.

    Attributes:
        text, face, both: of the words alone, of the face alone, of words and face together. Any finite numbers; a
            negative one leads away; only proportions count.
        text_interval, face_interval, both_interval: the shares of the steps, 0-1, between which each acts.

    Raises `BadOption` for weights that are not finite and intervals that are not 0 <= first < last <= 1.
    """

    text: float = 0.0
    face: float = 0.0
    both: float = 1.0
    text_interval: Sequence[float] = _WHOLE
    face_interval: Sequence[float] = _WHOLE
    both_interval: Sequence[float] = _WHOLE

    def __post_init__(self) -> None:
        for name in NAMES:
            weight, interval = getattr(self, name), getattr(self, f"{name}_interval")
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not isfinite(weight):
                raise BadOption(f"{name}_weight must be a finite number, got {weight!r}")
            if not _is_part(interval):
                raise BadOption(
                    f"{name}_interval is two shares of the steps, 0 <= first < last <= 1, like (0.2, 0.8), "
                    f"got {interval!r}"
                )

    @property
    def names(self) -> list[str]:
        """The names of the weights that are not 0."""
        return [name for name in NAMES if getattr(self, name)]

    def over(self, timesteps: Num[Tensor, " S"]) -> dict[str, tuple[float, Interval | None]]:
        """The weights that are not 0, by name, each with the timesteps at which it acts (None: all).

        timesteps: (S,), a scheduler's.

        Raises `BadOption` if at some step they do not sum to more than 0, or all three act.
        """
        found: dict[str, tuple[float, Interval | None]] = {}
        for name in self.names:
            weight, interval = getattr(self, name), getattr(self, f"{name}_interval")
            found[name] = weight, None if tuple(interval) == _WHOLE else guided_times(timesteps, interval)
        for step, t in enumerate(timesteps.tolist(), start=1):
            acting = {name: weight for name, (weight, interval) in found.items() if acts(interval, t)}
            weights_text = ", ".join(f"{name}_weight {acting.get(name, 0):g}" for name in NAMES)
            try:
                shares(list(acting.values()))
            except BadOption as error:
                raise BadOption(f"weights must sum to more than 0, got {weights_text} in step {step}") from error
            if len(acting) > MOST:
                raise BadOption(f"one of the weights must be 0 in every step, got {weights_text} in step {step}")
        return found

    def settings(self) -> dict[str, Any]:
        """These weights as options of a request: `NAME_weight`, and `NAME_interval` where it is not the whole."""
        weights: dict[str, Any] = {f"{name}_weight": getattr(self, name) for name in NAMES}
        intervals = {f"{name}_interval": list(getattr(self, f"{name}_interval")) for name in NAMES}
        return weights | {name: interval for name, interval in intervals.items() if tuple(interval) != _WHOLE}


def _is_part(interval: Any) -> bool:
    try:
        first, last = (float(share) for share in interval)
    except (TypeError, ValueError):
        return False
    return 0 <= first < last <= 1


LOOKS = {name: GuidanceWeights(**weights) for name, weights in look_table.LOOKS.items()}
