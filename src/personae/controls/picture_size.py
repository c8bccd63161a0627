"""`height` and `width` of the pictures, in pixels: whole numbers of the latents' cells.

pipe([ann, bob], regions=[(0, 0, 0.5, 1), (0.5, 0, 1, 1)], width=256)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from personae.controls.control import Control
from personae.controls.option import option
from personae.io.json_kinds import Whole

if TYPE_CHECKING:
    from personae.model import Model

_SIDE = Whole(low=1, high=2**14)


@dataclass(frozen=True, kw_only=True)
class PictureSizeControl(Control):
    """The size of every picture of a call. `sampling.latent_grid` says which sizes a model has."""

    group: ClassVar[str] = "Images"

    height: int | None = option(
        _SIDE, unit="pixels", default_text="the model's", by_edit="always", help="Of the images, in pixels."
    )
    width: int | None = option(
        _SIDE, unit="pixels", default_text="the model's", by_edit="always", help="Of the images, in pixels."
    )

    @property
    def settings(self) -> dict[str, int]:
        """The sides that the request sets."""
        return {name: getattr(self, name) for name in ("height", "width") if name in self.explicit}

    @classmethod
    def of_model(cls, model: Model) -> Mapping[str, Mapping[str, Any]]:
        """The model's own size, and the cell in whole numbers of which a side is measured."""
        from personae.sampling import codec  # late: they bring torch
        from personae.sampling.latent_grid import own_side

        cell = codec.pixels_per_cell(model.vae)
        own = {"default": own_side(model.vae, model.unet), "low": cell, "step": cell}
        return {"height": own, "width": own}
