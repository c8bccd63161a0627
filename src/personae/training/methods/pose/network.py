"""The small ControlNet that is trained."""

import re

from diffusers import ControlNetModel, UNet2DConditionModel
from peft import LoraConfig
from torch import nn

from personae.sampling.controlnet import ADDED

_ADAPTED = ("conv_in", "down_blocks", "mid_block")  # the copy's parts that are changed


def trainable_copy(unet: UNet2DConditionModel, *, rank: int, channels: tuple[int, ...]) -> ControlNetModel:
    """A ControlNet that begins as the UNet's encoder and adds nothing; only a LoRA on its convolutions and linear
    layers, and the parts that the UNet does not have, take gradients."""
    network = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=channels)
    network.register_to_config(asked_only=True)  # when sampling, see `PoseControl`
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
