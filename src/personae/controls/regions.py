"""`regions`: all the people in every picture, each in a part of it.

    pipe([ann, bob], prompt="photo of a {person}, smiling", regions=[(0, 0, 0.5, 1), (0.5, 0, 1, 1)], width=256)

Larger than the model's own pictures, each person gets a window of their size (`sampling.multidiffusion`). To all other
ways to steer such a window is a picture of its person, so they need not know of it, and prompts of both kinds will do.
Where nobody is, words without a face say what is there; a model that knows nothing but faces puts strangers there.

In a picture as large as the model's own there is no room for windows: attention keeps each person to its region
(`conditioning.regional_attention`), beside words without `{person}`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from personae.controls.control import Control
from personae.controls.option import MOST_PEOPLE, option
from personae.controls.pose import photo_or_numbers
from personae.controls.request import Plan, Request
from personae.errors import BadOption
from personae.io.json_kinds import SHARE, Each, Grid, either

if TYPE_CHECKING:
    from personae.conditioning.regional_attention import Region
    from personae.model import Model


def read_regions(texts: list[str], flag: str) -> list[Path | list[float]]:
    """What was typed: for each person a mask file, or a box. Raises `BadOption`, naming the flag."""
    return [photo_or_numbers(text, f"{flag} (a mask file, or x0,y0,x1,y1)") for text in texts]


@dataclass(frozen=True, kw_only=True)
class RegionsControl(Control):
    """A region for each person."""

    group: ClassVar[str] = "Several people"

    regions: Sequence[Region] | None = option(
        type="regions",
        unit="share of the picture",
        recipe=Each(kind=either(Each(kind=SHARE, least=4, most=4), Grid()), least=1, most=MOST_PEOPLE),
        in_history=False,
        by_edit="always",
        flag="--region",
        parse=read_regions,
        help="All people in one picture: where one of them is, x0,y0,x1,y1 in shares of it, or a mask file. "
        "Once per person, in the photos' order; with a --width that has room for all of them.",
    )

    def laid_out(self, model: Model, request: Request) -> Request:
        """A request of N pictures as one whose people are in their regions: where there are windows, a request of N K
        pictures, a window each. Raises `BadOption` for regions that do not fit the people or the picture; `BadImage`.
        """
        if self.regions is None:
            return request
        if not isinstance(self.regions, list | tuple) or len(self.regions) != len(request.people):
            got = len(self.regions) if isinstance(self.regions, list | tuple) else repr(self.regions)
            raise BadOption(f"each person needs a region: {len(request.people)} people, got {got}")
        from personae.conditioning.regional_attention import region_masks  # late: they bring torch
        from personae.sampling import codec
        from personae.sampling.multidiffusion import MultiDiffusion

        cell, side = codec.pixels_per_cell(model.vae), model.unet.config.sample_size
        height, width = request.grid
        masks = region_masks(self.regions, grid=request.grid, size=(height * cell, width * cell))
        if min(height, width) < side or request.grid == (side, side):
            return replace(request, regions=masks)
        windows = MultiDiffusion.for_regions(masks, side)
        # Nobody's windows count for the first person, until `without_face`: rows are told apart by numbers of people.
        person_index = [person or 0 for person in windows.people] * len(request.person_index)
        return replace(request, regions=masks, windows=windows, person_index=person_index, grid=(side, side))

    def plan(self, model: Model, request: Request) -> Plan | None:
        """The windows, and the setting that requests the same again."""
        if self.regions is None or request.regions is None:
            return None
        from personae.conditioning.regional_attention import plain  # late: it brings torch

        settings = {"regions": plain(self.regions, request.regions)}
        return Plan(around=[] if request.windows is None else [request.windows], settings=settings)
