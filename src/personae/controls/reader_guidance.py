"""What the options of guidance by a reader have in common: `X_guidance` is a strength, `X_interval` when it acts."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from personae.controls.request import Plan
from personae.errors import BadOption
from personae.model import Model

if TYPE_CHECKING:
    from personae.sampling.identity_guidance import ReaderScore


@dataclass(frozen=True, kw_only=True)
class Guided:
    """How strongly, and between which shares of the steps."""

    name: str
    strength: float
    interval: tuple[float, float]

    @classmethod
    def asked(cls, options: Mapping[str, Any], name: str, interval: tuple[float, float]) -> "Guided | None":
        """As the options `{name}_guidance` and `{name}_interval` say; None: it is not asked for. interval: unless said.

        Raises `BadOption` for an impossible strength or interval.
        """
        strength, said = options.get(f"{name}_guidance"), options.get(f"{name}_interval")
        if strength is None:
            if said is not None:
                raise BadOption(f"{name}_interval {said} needs {name}_guidance: say how strong it is to be")
            return None
        return cls(
            name=name,
            strength=_strength(f"{name}_guidance", strength),
            interval=interval if said is None else _interval(f"{name}_interval", said),
        )

    def plan(self, pipe: Model, score: "ReaderScore | None") -> Plan:
        """With nothing to look for, or a strength of 0, it only says so."""
        settings = {f"{self.name}_guidance": self.strength, f"{self.name}_interval": list(self.interval)}
        if score is None:
            return Plan(settings=settings)
        from personae.sampling.identity_guidance import ReaderGuidance  # late: it brings onnx

        guidance = ReaderGuidance(vae=pipe.vae, reader_score=score, strength=self.strength, interval=self.interval)
        return Plan(around=[guidance], settings=settings)


def _strength(option: str, strength: Any) -> float:
    right = isinstance(strength, int | float) and not isinstance(strength, bool)
    if not right or not math.isfinite(strength) or strength < 0:
        raise BadOption(f"{option} is a number >= 0, got {strength!r}: 0 is off")
    return float(strength)


def _interval(option: str, interval: Any) -> tuple[float, float]:
    try:
        first, last = (float(share) for share in interval)
    except (TypeError, ValueError) as error:
        raise BadOption(f"{option} is two shares of the steps, like (0.2, 0.8), got {interval!r}") from error
    if not 0 <= first < last <= 1:
        raise BadOption(f"{option} is two shares of the steps, 0 <= first < last <= 1, got {first, last}")
    return first, last
