"""The small ControlNet that is trained, and the frozen base that it leads."""

import re
from typing import Any

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from peft import LoraConfig
from torch import Tensor, nn

from personae.sampling.controlnet import ADDED
from personae.training.methods.base.network import IdentityToFace

_ADAPTED = ("conv_in", "down_blocks", "mid_block")  # the copy's parts that are changed
_SILU, _ENTERS = 1.68, 0.5  # what keeps a signal's size through SiLU, and how loud the map is where it enters the copy


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
def _audible(embedding: nn.Module) -> None:
    """Let the map reach the copy from the first step on. As diffusers makes its embedding, each layer leaves a third of
    what the map says, and the last nothing: behind zeros again, it takes hundreds of steps until a pose is heard."""
    layers = [module for module in embedding.modules() if isinstance(module, nn.Conv2d)]
    for layer in layers:
        inputs = layer.weight[0].numel()
        layer.weight.normal_(std=(_ENTERS if layer is embedding.conv_out else _SILU) / inputs**0.5)
        if layer.bias is not None:
            layer.bias.zero_()


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
