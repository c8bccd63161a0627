"""How much may change for time: `speed="balanced"`, or its parts by themselves.

    pipe(face, speed="fast")
    pipe(face, guidance_interval=(0.2, 0.8), cache_interval=2, decoder="tiny")

The parts named override those of the mode. Steps and shares of them are those of the whole schedule, the steps included
that `strength` leaves out. What each costs in time and in likeness: docs/performance.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from personae.controls.control import Control
from personae.controls.option import option
from personae.controls.request import Plan, Request
from personae.io.json_kinds import Choice, Interval, Whole
from personae.sampling.fast.mode_table import MODES

if TYPE_CHECKING:
    from personae.model import Model

_PARTS = ("guidance_interval", "cache_interval")
_OF_THE_SPEED = "as the speed has it"


@dataclass(frozen=True, kw_only=True)
class SpeedControl(Control):
    """A mode of `sampling.fast.mode_table`. With fewer than nine steps neither of its intervals applies; without
    guidance its deep features are still computed in some steps only. A part that the request names always applies."""

    group: ClassVar[str] = "Speed"

    speed: str = option(
        Choice(of=tuple(MODES)),
        default="exact",
        help="exact, balanced or fast: what may be skipped.",
    )
    guidance_interval: Sequence[float] | None = option(
        Interval(),
        unit="share of the steps",
        default_text=_OF_THE_SPEED,
        in_commands=False,
        help="Between which shares of the steps guidance acts.",
    )
    cache_interval: int | None = option(
        Whole(low=1, high=1000),
        unit="steps",
        default_text=_OF_THE_SPEED,
        in_commands=False,
        help="The UNet's deep features are computed in every n-th step.",
    )
    decoder: str | None = option(
        Choice(of=("full", "tiny")),
        default_text=_OF_THE_SPEED,
        in_commands=False,
        help="full, or tiny: the model's taesd/.",
    )

    @classmethod
    def of_model(cls, model: Model) -> Mapping[str, Mapping[str, Any]]:
        """Which decoders it has."""
        return {"decoder": {"choices": ["full", "tiny"] if model.has_component("taesd") else ["full"]}}

    def plan(self, model: Model, request: Request) -> Plan | None:
        """Raises `WeightsMissing` for a tiny decoder that the model does not have."""
        if not self.explicit:
            return None
        mode, decoder = MODES[self.speed], self.decoder
        if decoder is None:
            decoder = "tiny" if mode.tiny_decoder and model.has_component("taesd") else "full"
        if decoder == "tiny":
            model.component("taesd")  # now, not after all the sampling
        parts: dict[str, Any] = {name: getattr(self, name) for name in _PARTS if name in self.explicit}
        if "guidance_interval" in parts:
            parts["guidance_interval"] = list(parts["guidance_interval"])
        least = 1 if parts else mode.least_steps
        return Plan(
            mode=replace(mode, tiny_decoder=decoder == "tiny", least_steps=least, **parts),
            settings={"speed": self.speed, "decoder": decoder} | parts,
        )
