"""`ComponentModule`: an nn.Module that diffusers can treat as a component of a pipeline."""

from typing import Any

import torch
from torch import nn


class ComponentModule(nn.Module):
    """What `DiffusionPipeline.to`, `.device` and `.dtype` ask of a component beside nn.Module."""

    @property
    def device(self) -> torch.device:
        """Where its weights are; `meta` while accelerate keeps them elsewhere, layer by layer."""
        first = next(iter(self.state_dict(keep_vars=True).values()), None)
        return torch.device("cpu") if first is None else first.device

    @property
    def dtype(self) -> torch.dtype:
        """Of its first weight that is no whole number."""
        floating = (one.dtype for one in self.state_dict(keep_vars=True).values() if one.is_floating_point())
        return next(floating, torch.float32)


def execution_device(module: nn.Module) -> torch.device:
    """Where `module` computes: the device of accelerate's hooks if it has them, else that of its weights."""
    for part in module.modules():
        device = getattr(getattr(part, "_hf_hook", None), "execution_device", None)
        if device is not None:
            return torch.device(device)
    return next((weight.device for weight in module.parameters()), torch.device("cpu"))


def put_beside(module: nn.Module, network: Any) -> None:
    """Bring `module` to the device and precision of `network`, on which it is hung for one call; nothing is moved where
    accelerate moves the network."""
    if not hasattr(network, "_hf_hook"):
        module.to(network.device, network.dtype)
