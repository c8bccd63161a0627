"""The small ControlNet that is trained, and the frozen base that it leads."""

import re
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from diffusers import ControlNetModel, UNet2DConditionModel
from peft import LoraConfig
from torch import Tensor, nn

from personae.sampling.controlnet import ADDED
from personae.training.methods.base.network import IdentityToFace

_ADAPTED = ("conv_in", "down_blocks", "mid_block")  # the copy's parts that are changed
_SILU, _ENTERS = 2.0, 0.5  # what keeps a small signal's size through SiLU, and how far maps are apart in the copy


def trainable_copy(unet: UNet2DConditionModel, *, rank: int, channels: tuple[int, ...]) -> ControlNetModel:
    """A ControlNet that begins as the UNet's encoder and adds nothing; only a LoRA on its convolutions and linear
    layers, and the parts that the UNet does not have, take gradients."""
    network = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=channels)
    _audible(network.controlnet_cond_embedding)
    config = {"asked_only": True}  # when sampling, see `PoseHook`
    network.register_to_config(**config)
    layers = [
        re.escape(name)
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and name.split(".")[0] in _ADAPTED
    ]
    # One pattern, since peft takes a name in a list for the end of a name: `conv_in` is also the map embedding's.
    network.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules="|".join(layers)))
    for name, parameter in network.named_parameters():
        parameter.requires_grad_("lora_" in name or name.startswith(ADDED))
    return network


@torch.no_grad()
def _audible(embedding: Any) -> None:
    """Let the map reach the copy from the first step on. As diffusers makes its embedding, each layer leaves a third of
    what the map says, and the last nothing: behind zeros again, it takes hundreds of steps until a pose is heard."""
    for layer in embedding.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight.normal_(std=_SILU / layer.weight[0].numel() ** 0.5)
            if layer.bias is not None:
                layer.bias.zero_()
    # So many layers in a row, so few channels: how loud it comes out hangs on the draw, so that is set at the end.
    maps = torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    difference = embedding(F.interpolate(maps, scale_factor=16)).std(0).mean()
    embedding.conv_out.weight.mul_(_ENTERS / difference.clamp(min=1e-6))


def posed(
    base: IdentityToFace,
    controlnet: nn.Module | None,
    noisy: Tensor,
    times: Tensor,
    tokens: Tensor,
    vectors: Tensor,
    maps: Tensor,
) -> Tensor:
    """The velocity (N, c, h, w) with the ControlNet, or without (None).

    noisy: (N, c, h, w). times: (N,). tokens: (N, L). vectors: (N, D). maps: (N, S, S, 3) uint8.
    """
    with torch.no_grad():
        text = base.condition(tokens, vectors)
    residuals: dict[str, Any] = {}
    if controlnet is not None:
        hint = (maps.permute(0, 3, 1, 2).float() / 255).contiguous(memory_format=torch.channels_last)
        down, middle = controlnet(noisy, times * 1000, text.tokens, hint, class_labels=text.pooled, return_dict=False)
        residuals = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
    velocity = base.unet(noisy, times * 1000, text.tokens, class_labels=text.pooled, return_dict=False, **residuals)
    return velocity[0].float()
