"""`reference` and `reference_scale`: a photo whose look (light, colour, hair, background) the picture keeps.

pipe(face, reference="evening.jpg", reference_scale=0.6)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from personae.controls.control import Control
from personae.controls.option import option
from personae.controls.request import Plan, Request
from personae.io.json_kinds import SHARE

if TYPE_CHECKING:
    from personae.model import Model
    from personae.reading.photo import PhotoSource


@dataclass(frozen=True, kw_only=True)
class ReferenceControl(Control):
    """The model's reference adapter (`ref_adapter/`). The scale is the strength of its LoRA, as published; the appended
    keys have none. So even a small scale shows, and 0 means no reference at all."""

    group: ClassVar[str] = "Style"
    one_face: ClassVar[bool] = True
    component: ClassVar[str | None] = "ref_adapter"

    reference: PhotoSource | None = option(
        type="photo", by_edit="default", help="A photo whose look (light, hair, background) is kept."
    )
    # 0.8: what the authors' demo recommends between likeness to the photo and freedom from it.
    reference_scale: float = option(
        SHARE, step=0.05, default=0.8, needs=("reference",), help="How closely to keep it, 0-1."
    )

    def plan(self, model: Model, request: Request) -> Plan | None:
        """Raises `BadImage`, `NoFaceFound`, `WeightsMissing`, `WeightsCorrupt`."""
        if self.reference is None:
            return None
        from personae.conditioning.reference_attention import ReferenceAttention  # late: they bring torch
        from personae.reading.photo import load_photo, record_of
        from personae.sampling.reference_pass import look, reference_latents

        photo = load_photo(self.reference)
        settings = {"reference": record_of(photo), "reference_scale": self.reference_scale}
        if self.reference_scale == 0:
            return Plan(settings=settings)
        lora = model.component("ref_adapter")
        features = look(model, reference_latents(model, photo), request.people)
        return Plan(
            hooks=[ReferenceAttention(features, request.person_index), lora.at(self.reference_scale)], settings=settings
        )
