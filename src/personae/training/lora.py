"""What the recipes that adapt the base by a LoRA share: the frozen base beside it, and what they write.

A LoRA here is trained attached, by peft, and shipped as every published one: `sampling.lora_weights` reads it back.
"""

from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, get_peft_model_state_dict
from PIL import Image
from torch import Tensor, nn

from personae.io.tensors import in_half, save_tensors
from personae.sampling import codec
from personae.sampling.lora_weights import FILE
from personae.training import captions
from personae.training.methods.base.method import BaseTask
from personae.training.methods.base.network import IdentityToFace

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
# The layers that the published LCM-LoRA changes, but for the time projections.
EVERYWHERE = (
    *ATTENTION,
    *("proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"),
    *("conv1", "conv2", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv"),
)


def attach(unet: nn.Module, targets: tuple[str, ...], rank: int) -> None:
    """A fresh LoRA on a diffusers UNet, which at first changes nothing."""
    unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=list(targets)))  # type: ignore[operator]


class LoraTask(BaseTask):
    """See `training.loop.Trainable`. `start`: the export of the base. `frozen` is the base as it was."""

    def __init__(
        self, cache: Path, vae: Path, embedder: Path, *, start: Path, targets: tuple[str, ...], rank: int
    ) -> None:
        super().__init__(cache, vae, embedder, start=start)
        self.model.requires_grad_(requires_grad=False)
        self.frozen: IdentityToFace = deepcopy(self.model).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        attach(self.model.unet, targets, rank)

    def prompts(self, count: int, device: torch.device, prompt: str = captions.IDENTITY_PROMPT) -> Tensor:
        """(count, L) tokens of one prompt."""
        return torch.from_numpy(self.tokens([prompt] * count)).to(device)

    def save(self, model: nn.Module, folder: Path) -> None:
        """The LoRA in half precision; beside `folder`, `samples.png`: held-out people above `last_images`."""
        assert isinstance(model, IdentityToFace)
        folder.mkdir(parents=True, exist_ok=True)
        state = get_peft_model_state_dict(model.unet)
        save_tensors(folder / FILE, in_half({f"unet.{key}": value for key, value in state.items()}))
        made = codec.to_uint8(self.last_images)[:24]
        rows = self.test.crops[: len(made)], made
        Image.fromarray(np.concatenate([np.concatenate(list(row), 1) for row in rows])).save(
            folder.parent / "samples.png"
        )
