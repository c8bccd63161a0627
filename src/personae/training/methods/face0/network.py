"""The base with face tokens."""

import torch
from torch import Tensor

from personae.conditioning.face0 import FaceTokens
from personae.conditioning.types import Conditioning
from personae.shapes import Float, Int, Shaped
from personae.training.methods.base.network import IdentityToFace


class FacedText(IdentityToFace):
    """The base with face tokens: words and identities to the UNet's prediction. A row whose vector is zero has no
    face; a row that is named has its words around `id`, as the base's own prompts."""

    def __init__(self, base: IdentityToFace, projector: FaceTokens) -> None:
        super().__init__(base.text_encoder, base.unet, base.placeholder)
        self.projector = projector.train().requires_grad_(requires_grad=True)

    def conditioning(self, tokens: Tensor, vectors: Tensor, named: Tensor) -> Conditioning:
        """tokens (N, L), vectors (N, D), named (N,) bool."""
        text = self.condition(tokens, vectors)
        faced = vectors.any(-1)
        alone, beside = self.projector.conditioning(text), self.projector.conditioning(text, vectors)
        pooled = None
        if text.pooled is not None and alone.pooled is not None and beside.pooled is not None:
            pooled = torch.where(faced[:, None], beside.pooled, alone.pooled)
            pooled = torch.where(named[:, None], text.pooled, pooled)
        unnamed = torch.where(faced[:, None, None], beside.tokens, alone.tokens)
        return Conditioning(tokens=torch.where(named[:, None, None], text.tokens, unnamed), pooled=pooled)

    def forward(  # type: ignore[override]
        self,
        noisy: Float[Tensor, "N c h w"],
        times: Float[Tensor, " N"],
        tokens: Int[Tensor, "N L"],
        vectors: Float[Tensor, "N D"],
        named: Shaped[Tensor, " N"],
    ) -> Float[Tensor, "N c h w"]:
        return self.predict(noisy, times, self.conditioning(tokens, vectors, named))
