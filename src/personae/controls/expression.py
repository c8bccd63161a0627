"""`expression` and `expression_scale`: what a face does, by the model's expression adapter (`exp_adapter/`).

pipe(face, expression={"smile": 0.8, "jawOpen": 0.2})        # names and amounts, see conditioning.blendshapes
pipe(face, expression="laughing.jpg", expression_scale=0.7)  # as the largest face of a photo does
pipe(face, expression="smirk.npy")                           # numbers, for adapters that read FLAME's
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from personae.controls.control import Control
from personae.controls.option import MOST_PEOPLE, option
from personae.controls.request import Plan, Request, for_each_person, per_person
from personae.errors import BadOption
from personae.io.json_kinds import FILE, SHARE, Each, Kind, Names, Number, either

if TYPE_CHECKING:
    from personae.model import Model
    from personae.reading.photo import PhotoSource


def read_expression(text: str, _flag: str) -> Path | dict[str, float]:
    """What was typed as an expression: amounts by name if it has an equals sign, else a file. Raises `BadOption`."""
    if "=" not in text:
        return Path(text)
    from personae.conditioning.blendshapes import parse_sliders  # late: it brings numpy

    return parse_sliders(text)


def _recipe() -> Kind:
    from personae.types import BLENDSHAPES  # late: it brings numpy

    amounts = Names(kind=SHARE, most=len(BLENDSHAPES), names=BLENDSHAPES)
    vector = Each(kind=Number(low=-100, high=100), least=1, most=64)
    return either(amounts, vector, Each(kind=either(amounts, vector), least=1, most=MOST_PEOPLE), FILE)


@dataclass(frozen=True, kw_only=True)
class ExpressionControl(Control):
    """An expression for each person, or one for all."""

    group: ClassVar[str] = "Pose and expression"
    component: ClassVar[str | None] = "exp_adapter"

    expression: PhotoSource | Mapping[str, float] | Sequence[float] | Sequence[Mapping[str, float]] | None = option(
        type="expression",
        each="person",
        by_edit="default",
        recipe=_recipe,
        parse=read_expression,
        help="Amounts by name, e.g. smile=0.8,jawOpen=0.2; or a photo, or a .npy.",
    )
    expression_scale: float = option(
        SHARE, step=0.05, default=1.0, needs=("expression",), help="How strongly to express it, 0-1."
    )

    def plan(self, model: Model, request: Request) -> Plan | None:
        """Raises `BadOption`, also for several expressions in a picture whose people have no windows of their own;
        `BadImage`, `NoFaceFound`; `WeightsMissing` for a model without `exp_adapter/`."""
        if self.expression is None:
            return None
        import numpy as np  # late: they are slow to import
        import torch

        from personae.conditioning.expression_adapter import ExpressionHook
        from personae.controls import expression_values

        adapter: Any = model.component("exp_adapter")
        resolve = expression_values.RESOLVE[adapter.space]
        several = per_person(self.expression)
        found = [resolve(model, one) for one in for_each_person(self.expression, 1)]
        if not several:
            found *= len(request.people)
        if len(found) != len(request.people):
            raise BadOption(
                f"{len(found)} expressions for {len(request.people)} people: give one of each, or one for all"
            )
        if several and len(found) > 1 and request.regions is not None and request.windows is None:
            raise BadOption(
                "the people of a picture as large as the model's own share one expression: give one for all, or "
                "regions of a larger picture (width, height)"
            )
        vectors = torch.from_numpy(np.stack([found[person][0] for person in request.person_index]))
        plain = [setting for _, setting in found]
        hook = ExpressionHook(adapter=adapter, vectors=vectors, scale=self.expression_scale)
        # At scale 0 nothing is engaged, so that the images are bit for bit those without an adapter.
        return Plan(
            hooks=[hook] if self.expression_scale > 0 else [],
            settings={"expression": plain if several else plain[0], "expression_scale": self.expression_scale},
        )
