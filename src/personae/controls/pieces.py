"""`assembly`: pieces of faces beside the identity prompt, by the model's `facex/` component (FaceX).

    pipe(ann, assembly=Assembly(sources={"pose": BOB}, faces={BOB: bob}, reference=canvas, edit_mask=mask))

`FacePipeline.edit` is the way in for most: it reads photos, assembles, blends and pastes back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from personae.controls.control import Control
from personae.controls.option import option
from personae.controls.request import Plan, Request
from personae.errors import BadOption

if TYPE_CHECKING:
    from personae.conditioning.facex.assembly import Assembly
    from personae.model import Model


@dataclass(frozen=True, kw_only=True)
class PiecesControl(Control):
    """An assembly for each person, or one for all. It has no settings: what pieces an image was made of is in the
    recipe of its edit."""

    group: ClassVar[str] = "Editing"
    one_face: ClassVar[bool] = True
    component: ClassVar[str | None] = "facex"

    assembly: Assembly | Sequence[Assembly] | None = option(
        type="assembly",
        by_edit="always",
        in_commands=False,
        help="Pieces of faces to put together, one assembly for all people or one for each.",
    )

    def plan(self, model: Model, request: Request) -> Plan | None:
        """Raises `BadOption` unless there is one assembly for all or one for each person, of the model's own size;
        `WeightsMissing`, `WeightsCorrupt`."""
        if self.assembly is None:
            return None
        from personae.conditioning.facex.hook import PiecesHook, encoded  # late: they bring torch and onnx
        from personae.reading.differentiable import differentiable_embedder

        assemblies = self.for_each(len(request.people))
        if len(assemblies) != len(request.people):
            raise BadOption(
                f"{len(request.people)} people need one assembly each, or one for all, got {len(assemblies)}"
            )
        facex = model.component("facex")
        for one in assemblies:
            if len(one.reference) != facex.sizes.side:
                raise BadOption(
                    f"an assembly's images are {facex.sizes.side} pixels wide here, got {len(one.reference)}"
                )
        tokens = encoded(
            facex,
            assemblies,
            differentiable_embedder(model.reader, "an assembly"),
            crop_template=model.config.crop_template,
            device=model._execution_device,
        )
        return Plan(hooks=[PiecesHook(facex, tokens, request.person_index)])

    def for_each(self, people: int) -> list[Assembly]:
        """One for each of the people, as far as the request has them."""
        return list(self.assembly) if isinstance(self.assembly, list | tuple) else [self.assembly] * people  # type: ignore[list-item]
