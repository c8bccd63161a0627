"""`image`, `mask_image` and `strength`: a picture of which only a part is new, or all of it by some of the steps.

pipe(face, image=crop, mask_image=mask)                 # white is repainted; the rest of `crop` stays
pipe(face, image=[first, second], mask_image=mask)      # one picture for each image, or for each person
pipe(face, image=crop, strength=0.5)                    # image to image: begun half way (SDEdit)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from personae.controls.control import Control
from personae.controls.option import option
from personae.controls.request import Plan, Request
from personae.errors import BadOption
from personae.io.json_kinds import Grid, Number

if TYPE_CHECKING:
    from personae.model import Model
    from personae.reading.photo import PhotoSource


@dataclass(frozen=True, kw_only=True)
class InpaintControl(Control):
    """What lies outside the mask is kept at every step (`sampling.mask_blend`)."""

    group: ClassVar[str] = "Editing"

    image: PhotoSource | Sequence[PhotoSource] | None = option(
        type="photo",
        each="picture",
        by_edit="always",
        in_commands=False,
        help="A picture of the size of those to be generated, of which a part is preserved.",
    )
    mask_image: PhotoSource | Sequence[PhotoSource | Sequence[object]] | None = option(
        type="mask",
        each="picture",
        needs=("image",),
        recipe=Grid(),
        in_history=False,
        by_edit="always",
        in_commands=False,
        help="Of the image's size, white where it is repainted.",
    )
    strength: float = option(
        Number(low=0, high=1, above=True),
        step=0.05,
        default=1.0,
        unit="share of the steps",
        needs=("image",),
        in_commands=False,
        help="How much of the repainted region is new, 0-1.",
    )

    def plan(self, model: Model, request: Request) -> Plan | None:
        """Raises `BadOption` for pictures of another size or number, or if nothing of the image would be left;
        `BadImage`."""
        if self.image is None:
            return None
        if request.regions is not None:
            raise BadOption(
                "image is for pictures of one person: leave regions out, or paint one person after the other"
            )
        if self.mask_image is None and self.strength == 1:
            raise BadOption("nothing of the image would be left: give mask_image, or a strength below 1")
        from personae.sampling import codec  # late: they bring torch
        from personae.sampling.known_pictures import KnownPictures

        cell = codec.pixels_per_cell(model.vae)
        known = KnownPictures.read(self.image, self.mask_image, grid=request.grid, cell=cell)
        blend = known.blend(
            model.vae,
            model._execution_device,
            strength=self.strength,
            people=len(request.people),
            person_index=request.person_index,
        )
        return Plan(mask_blend=blend, settings=known.settings() | {"strength": self.strength})
