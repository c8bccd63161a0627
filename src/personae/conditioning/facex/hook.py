"""The representation of assembled faces, beside the identity prompt: what FaceX adds to the UNet during one call.

tokens = encoded(model, facex, assemblies)                  # (P, T, C), one assembly for each person
hook = PiecesHook(facex, tokens, person_index=[0, 0, 1])    # of three images
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from personae.component_module import put_beside
from personae.conditioning.facex.assembly import Assembly, assemble
from personae.conditioning.facex.network import FaceX, crops_of
from personae.conditioning.head_mesh import FaceModel
from personae.conditioning.types import Conditioning, Rows
from personae.reading.embed import OnnxEmbedder
from personae.reading.insightface import InsightFaceEmbedder
from personae.shapes import Float, Num


class PiecesHook:
    """A `UNetHook`: in the conditional rows, each image's UNet call also attends to the representation of its person.

    tokens: (P, T, C). person_index: (N,) the person of each image.
    """

    def __init__(self, facex: FaceX, tokens: Float[Tensor, "P T C"], person_index: Sequence[int]) -> None:
        self._controller, self._tokens, self._people = facex.controller, tokens, torch.tensor(list(person_index))

    @contextmanager
    def engaged(self, unet: Any) -> Iterator[None]:
        """With the controller on `unet` inside the block."""
        put_beside(self._controller, unet)
        with self._controller.engaged(unet):
            yield

    def arguments(
        self, latents: Float[Tensor, "M c h w"], t: Num[Tensor, ""], conditioning: Conditioning, rows: Rows
    ) -> dict[str, Any]:
        """None: the controller takes the tokens."""
        if not rows.conditional.any():
            self._controller.set_tokens(None)
            return {}
        tokens = self._tokens[self._people[rows.images[rows.conditional]]].to(latents.device, latents.dtype)
        self._controller.set_tokens(tokens, None if rows.conditional.all() else rows.conditional.to(latents.device))
        return {}


@torch.no_grad()
def encoded(
    facex: FaceX,
    assemblies: Sequence[Assembly],
    embedder: OnnxEmbedder | InsightFaceEmbedder,
    *,
    crop_template: str,
    device: torch.device,
) -> Float[Tensor, "P T C"]:
    """(P, T, C) on the device, of one assembly for each person, whose faces lie as `crop_template` says.

    embedder: of whose file a network is made (`reading.differentiable.differentiable_embedder`).
    """
    from personae.reading.differentiable import AlignedMap  # late: it brings onnx

    maps = AlignedMap(
        embedder.path,
        facex.sizes.map_name,
        source=crop_template,
        template=embedder.template,
        size=embedder.size,
    )
    assembled = assemble(assemblies, FaceModel.bundled())
    return facex.encode(assembled, maps.eval().to(device)(crops_of(assembled.faces).to(device)))
