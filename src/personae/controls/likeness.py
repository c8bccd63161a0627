"""`likeness_guidance` and `likeness_interval`: sampling led by the model's own recogniser towards the person.

    pipe(face, likeness_guidance=0.1)                               # more alike, for more time per image
    pipe(face, likeness_guidance=0.1, likeness_interval=(0.2, 0.8))

The recogniser that guides is the one that conditions and measures: `Generation.likeness` rises more than what another
recogniser measures. Both figures: docs/quality.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from personae.controls.control import Control
from personae.controls.reader_options import interval_option, strength_option
from personae.controls.request import Plan, Request
from personae.errors import WeightsMissing

if TYPE_CHECKING:
    from personae.model import Model
    from personae.sampling.identity_guidance import ReaderScore


@dataclass(frozen=True, kw_only=True)
class LikenessControl(Control):
    """Where the face lies in an image is the model's own `crop_template`, in which all its images are aligned; nothing
    looks for it."""

    group: ClassVar[str] = "Likeness"
    one_face: ClassVar[bool] = True

    likeness_guidance: float | None = strength_option(
        "How strongly the recogniser pulls towards the person", default_text="off"
    )
    likeness_interval: Sequence[float] = interval_option("likeness_guidance", (0.2, 0.8))

    @classmethod
    def works_with(cls, model: Model) -> bool:
        """Whether its recogniser has a gradient here."""
        return _has_gradient(model)

    def plan(self, model: Model, request: Request) -> Plan | None:
        """Raises `WeightsMissing` for a model whose recogniser has no gradient here, or without one."""
        if self.likeness_guidance is None:
            return None
        settings = {"likeness_guidance": self.likeness_guidance, "likeness_interval": list(self.likeness_interval)}
        if self.likeness_guidance == 0:
            return Plan(settings=settings)
        from personae.sampling.identity_guidance import ReaderGuidance  # late: it brings onnx and torch

        first, last = self.likeness_interval
        guidance = ReaderGuidance(
            vae=model.vae,
            reader_score=_score(model, request),
            strength=self.likeness_guidance,
            interval=(first, last),
        )
        return Plan(around=[guidance], settings=settings)


def _has_gradient(model: Model) -> bool:
    from personae.reading.differentiable import differentiable_embedder  # late: it brings onnx and torch

    try:
        differentiable_embedder(model.reader, "likeness_guidance")
    except WeightsMissing:
        return False
    return True


def _score(model: Model, request: Request) -> ReaderScore:
    import numpy as np
    import torch

    from personae.reading.differentiable import AlignedRecogniser, differentiable_embedder
    from personae.sampling.identity_guidance import IdentityScore

    embedder, template = differentiable_embedder(model.reader, "likeness_guidance"), model.config.crop_template
    recogniser = AlignedRecogniser(embedder.path, source=template, template=embedder.template, size=embedder.size)
    vectors = np.stack([person.vector for person in request.people])[list(request.person_index)]
    device = model._execution_device
    return IdentityScore(recogniser=recogniser.eval().to(device), wanted=torch.from_numpy(vectors).to(device))
