"""The base with FaceX engaged."""

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from personae.conditioning.facex.network import FaceX
from personae.shapes import Float, Int
from personae.training.methods.base.network import IdentityToFace


class Controlled(IdentityToFace):
    """The frozen base with FaceX engaged: identity prompt and what FaceX reads to the UNet's prediction."""

    def __init__(self, base: IdentityToFace, facex: FaceX) -> None:
        super().__init__(base.text_encoder, base.unet, base.placeholder)
        self.requires_grad_(requires_grad=False)
        self.facex = facex
        self.engaged = ExitStack()
        self.engaged.enter_context(facex.controller.engaged(self.unet))

    def forward(  # type: ignore[override]
        self,
        noisy: Float[Tensor, "N c h w"],
        times: Float[Tensor, " N"],
        tokens: Int[Tensor, "N L"],
        vectors: Float[Tensor, "N D"],
        inputs: dict[str, Any],
    ) -> Float[Tensor, "N c h w"]:
        """inputs: the arguments of `FaceX.forward`."""
        return self.led(noisy, times, tokens, vectors, self.facex(**inputs))

    def led(
        self,
        noisy: Float[Tensor, "N c h w"],
        times: Float[Tensor, " N"],
        tokens: Int[Tensor, "N L"],
        vectors: Float[Tensor, "N D"],
        face_tokens: Float[Tensor, "N T C"] | None,
    ) -> Float[Tensor, "N c h w"]:
        """face_tokens: (M, T, C) of `FaceX`, or None for the base alone."""
        with torch.no_grad():
            words = self.condition(tokens, vectors)
        self.facex.controller.set_tokens(face_tokens)
        return self.predict(noisy, times, words)
