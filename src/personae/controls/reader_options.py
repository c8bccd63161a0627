"""The two options of every guidance by a network of the model's reader: how strongly, and in which of the steps."""

from __future__ import annotations

from typing import Any

from personae.controls.option import option
from personae.io.json_kinds import Interval, Number


def strength_option(help: str, *, default_text: str) -> Any:  # noqa: A002
    """How strongly it pulls, None unless the request says so. help: what pulls towards what."""
    return option(
        Number(low=0, high=1000),
        soft=(0, 1),
        step=0.01,
        work=2,  # each step is decoded, read, and led back through both networks
        default_text=default_text,
        help=f"{help}; 0.1 is a good start, 0 is off.",
    )


def interval_option(of: str, default: tuple[float, float]) -> Any:
    """When it pulls, in shares of the whole schedule, the steps included that `strength` leaves out. of: the option
    that says how strongly."""
    return option(
        Interval(),
        default=default,
        unit="share of the steps",
        needs=(of,),
        help="Between which shares of the steps it pulls.",
    )
