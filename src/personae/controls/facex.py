"""`assembly`: pieces of faces, told beside the identity prompt by the model's `facex/` part (FaceX).

    pipe(ann, assembly=Assembly(sources={"pose": BOB}, faces={BOB: bob}, reference=canvas, edit_mask=mask))

`FacePipeline.edit` is the way in for most: it reads photos, assembles, fuses and pastes back.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from personae.component_module import put_beside
from personae.conditioning.facex.assembly import Assembly, assemble
from personae.conditioning.facex.network import FaceX, crops_of
from personae.conditioning.head_mesh import FaceModel
from personae.conditioning.types import Conditioning, Rows
from personae.controls.likeness import differentiable_embedder
from personae.controls.request import Plan, Request
from personae.errors import BadOption
from personae.model import Model


class Represented:
    """A control (`personae.sampling.unet_hooks`): in the rows where something is asked, each image's UNet call also
    attends to the representation of its person. tokens: (P, T, C); people: (N,) of each image."""

    def __init__(self, facex: FaceX, tokens: Tensor, people: Sequence[int]) -> None:
        self._controller, self._tokens, self._people = facex.controller, tokens, torch.tensor(list(people))

    @contextmanager
    def engaged(self, unet: Any) -> Iterator[None]:
        put_beside(self._controller, unet)
        with self._controller.engaged(unet):
            yield

    def arguments(self, latents: Tensor, t: Tensor, conditioning: Conditioning, rows: Rows) -> dict[str, Any]:
        """None: it is said to the controller."""
        if not rows.conditional.any():
            self._controller.set_tokens(None)
            return {}
        tokens = self._tokens[self._people[rows.images[rows.conditional]]].to(latents.device, latents.dtype)
        self._controller.set_tokens(tokens, None if rows.conditional.all() else rows.conditional.to(latents.device))
        return {}


def steer(pipe: Model, request: Request, options: Mapping[str, Any]) -> Plan | None:
    """See `registry.Control`. It has no settings: what pieces an image was made of is in the recipe of its edit.

    Raises `BadOption` unless there is one assembly for all or one for each person, of the model's own size;
    `WeightsMissing`, `WeightsCorrupt`.
    """
    asked = options.get("assembly")
    if asked is None:
        return None
    assemblies = [asked] * len(request.people) if isinstance(asked, Assembly) else list(asked)
    if len(assemblies) != len(request.people):
        raise BadOption(f"{len(request.people)} people need one assembly each, or one for all, got {len(assemblies)}")
    facex = pipe.component("facex")
    for one in assemblies:
        if len(one.reference) != facex.sizes.side:
            raise BadOption(f"an assembly's images are {facex.sizes.side} pixels wide here, got {len(one.reference)}")
    return Plan(hooks=[Represented(facex, _told(pipe, facex, assemblies), request.person_index)])


@torch.no_grad()
def _told(pipe: Model, facex: FaceX, assemblies: Sequence[Assembly]) -> Tensor:
    """(P, T, C) on the pipeline's device."""
    from personae.reading.differentiable import AlignedMap  # late: it brings onnx

    device = pipe._execution_device
    embedder = differentiable_embedder(pipe, "an assembly")
    maps = AlignedMap(
        embedder.path,
        facex.sizes.map_name,
        source=pipe.config.crop_template,
        template=embedder.template,
        size=embedder.size,
    )
    assembled = assemble(assemblies, FaceModel.bundled())
    return facex.encode(assembled, maps.eval().to(device)(crops_of(assembled.faces).to(device)))
