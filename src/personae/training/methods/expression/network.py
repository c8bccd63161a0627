"""The base with an adapter beside it."""

import torch
from diffusers.models.attention_processor import IPAdapterAttnProcessor
from diffusers.models.embeddings import IPAdapterFaceIDImageProjection, MultiIPAdapterImageProjection
from torch import Tensor, nn

from personae.conditioning.expression_adapter import (
    PARTS,
    ExpressionAdapter,
    crossing_layers,
)
from personae.shapes import Float, Int
from personae.training.methods.base.network import IdentityToFace
from personae.types import Array

_TOKENS, _RANK = 4, 16


def build_adapter(unet: nn.Module, moved: Array, rank: int = _RANK) -> ExpressionAdapter:
    """A fresh adapter for `unet`, which at first changes nothing. moved: (52,) bool, the blendshapes to listen to."""
    crossing = crossing_layers(unet)
    cross = next(iter(crossing.values()))[1]
    layer = IPAdapterFaceIDImageProjection(len(moved), cross, num_tokens=_TOKENS)
    processors = {}
    with torch.no_grad():
        layer.ff.net[0].proj.weight[:, torch.from_numpy(~moved)] = 0
        for name, (out, _) in crossing.items():
            # Over sequences this short, the backward of torch's fused attention is slow on a CPU.
            processor = IPAdapterAttnProcessor(out, cross, num_tokens=[_TOKENS])
            for part in PARTS:
                thin = nn.Linear(cross, rank, bias=False), nn.Linear(rank, out, bias=False)
                getattr(processor, part)[0] = nn.Sequential(*thin)
            processor.to_v_ip[0][1].weight.zero_()
            processors[name] = processor
    projection = MultiIPAdapterImageProjection([layer])
    return ExpressionAdapter(projection=projection, processors=processors, width=len(moved))


class ExpressionToFace(IdentityToFace):
    """The frozen base with an adapter attached: identity and expression to the UNet's prediction."""

    adapter: ExpressionAdapter

    def __init__(self, base: IdentityToFace, adapter: ExpressionAdapter) -> None:
        super().__init__(base.text_encoder, base.unet, base.placeholder)
        self.requires_grad_(requires_grad=False)
        self.__dict__["adapter"] = adapter  # no part of the state: its weights are those of the UNet while attached
        adapter.attach(self.unet)

    def forward(  # type: ignore[override]
        self,
        noisy: Float[Tensor, "N c h w"],
        times: Float[Tensor, " N"],
        tokens: Int[Tensor, "N L"],
        vectors: Float[Tensor, "N D"],
        expressions: Float[Tensor, "N 52"],
    ) -> Float[Tensor, "N c h w"]:
        """expressions: (N, 52) as `blendshapes.adapter_input` makes them, or zeros for none."""
        text = self.condition(tokens, vectors)
        added = {"image_embeds": [expressions[:, None]]}
        return self.unet(
            noisy, times * 1000, text.tokens, class_labels=text.pooled, added_cond_kwargs=added, return_dict=False
        )[0]
