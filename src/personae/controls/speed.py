"""How much may change for time: `speed="balanced"`, or its parts by themselves.

    pipe(face, speed="fast")
    pipe(face, guidance_interval=(0.2, 0.8), cache_interval=2, decoder="tiny")

The parts named override those of the mode. What each costs in time and in likeness: docs/performance.md.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from personae.controls.request import Plan, Request
from personae.errors import BadOption, unknown_name
from personae.model import Model
from personae.sampling.fast.modes import MODES

_PARTS = ("guidance_interval", "cache_interval")
_DECODERS = ("full", "tiny")


def steer(pipe: Model, _request: Request, options: Mapping[str, Any]) -> Plan | None:
    """The mode asked for, with the parts named. Raises `BadOption` for an unknown mode, decoder or an impossible
    interval, `WeightsMissing` for a tiny decoder that the model does not have."""
    name, decoder = options.get("speed"), options.get("decoder")
    parts = {part: options[part] for part in _PARTS if options.get(part) is not None}
    if name is None and decoder is None and not parts:
        return None
    if name not in (None, *MODES):
        raise unknown_name("speed", str(name), MODES)
    if decoder not in (None, *_DECODERS):
        raise unknown_name("decoder", str(decoder), _DECODERS)

    mode = MODES[name or "exact"]
    if decoder is None:
        decoder = "tiny" if mode.tiny_decoder and pipe.has_component("taesd") else "full"
    if decoder == "tiny":
        pipe.component("taesd")  # now, not after all the sampling
    if "guidance_interval" in parts:
        parts["guidance_interval"] = _pair(parts["guidance_interval"])
    least = 1 if parts else mode.least_steps  # what is named always applies
    return Plan(
        mode=replace(mode, tiny_decoder=decoder == "tiny", least_steps=least, **parts),
        settings={"speed": name or "exact", "decoder": decoder} | parts,
    )


def _pair(interval: Any) -> list[float]:
    try:
        first, last = (float(share) for share in interval)
    except (TypeError, ValueError) as error:
        raise BadOption(f"a guidance interval is two shares of the steps, like (0.2, 0.8), got {interval!r}") from error
    return [first, last]
