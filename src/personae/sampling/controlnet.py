"""A ControlNet (Zhang et al. 2023, arXiv 2302.05543) for pose maps.

    network = load(folder / "controlnet", unet)
    control = PoseHook(network=network, maps=to_maps(images), scale=1.0)
    predict = guided(unet, positive, negative, 3.0, hooks=[control])

The folder holds diffusers' `config.json` and either whole weights, as Arc2Face's is published, or, beside a
`difference.json`, only what differs from a copy of the model's own UNet: low-rank products for its encoder's layers,
and the layers that a ControlNet adds. (The idea of Stability AI's Control-LoRA.) The products are added when the
folder is loaded, so that sampling meets a plain `ControlNetModel`.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import ControlNetModel
from peft import get_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from personae.conditioning.types import Conditioning, Rows
from personae.errors import WeightsCorrupt
from personae.io import atomic
from personae.io.tensors import in_half, save_tensors
from personae.shapes import Float, Float32, Num, UInt8
from personae.types import Array

MARKER, DIFFERENCE = "difference.json", "difference.safetensors"
_FORMAT = "personae-controlnet-difference/1"
ADDED = ("controlnet_cond_embedding.", "controlnet_down_blocks.", "controlnet_mid_block.")  # what no UNet has
_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"  # peft's names
_SAME = ("in_channels", "block_out_channels", "layers_per_block", "cross_attention_dim", "class_embed_type")


@dataclass(frozen=True, kw_only=True, eq=False)
class PoseHook:
    """A `UNetHook` that adds a ControlNet's residuals for a pose map.

    Both halves of guidance get the map, as in diffusers' pipeline, unless the network's config has `asked_only`: then
    the conditional half alone does (diffusers' guess mode), so that guidance strengthens the pose, too.

    Attributes:
        network: a `ControlNetModel`.
        maps: (N, 3, H, W) float 0-1, one for each image of the request, or (1, 3, H, W) for all.
        scale: multiplies the residuals; at 0 the network is not called.
    """

    network: Any
    maps: Float[Tensor, "N 3 H W"]
    scale: float = 1.0

    @contextmanager
    def engaged(self, unet: Any) -> Iterator[None]:
        """Nothing on `unet` changes: the ControlNet's part comes as arguments."""
        yield

    def arguments(
        self, latents: Float[Tensor, "M c h w"], t: Num[Tensor, ""], conditioning: Conditioning, rows: Rows
    ) -> dict[str, Any]:
        """The residuals of the UNet's skips and of its middle."""
        active = rows.conditional if self.network.config.get("asked_only") else torch.ones_like(rows.conditional)
        if self.scale == 0 or not active.any():
            return {}
        where = active.nonzero().flatten()
        conditioning, here = conditioning.rows(where), where.to(latents.device)
        images = rows.images[where] if len(self.maps) > 1 else torch.zeros_like(where)
        down, middle = self.network(
            latents[here],
            t,
            encoder_hidden_states=conditioning.tokens,
            controlnet_cond=self.maps[images].to(latents.device, latents.dtype),
            conditioning_scale=self.scale,
            class_labels=conditioning.pooled if self.network.config.class_embed_type is not None else None,
            return_dict=False,
        )

        def spread(residual: Tensor) -> Tensor:
            """Zeros for the rows that get no map."""
            if len(here) == len(latents):
                return residual
            return residual.new_zeros(len(latents), *residual.shape[1:]).index_copy(0, here, residual)

        return {
            "down_block_additional_residuals": [spread(residual) for residual in down],
            "mid_block_additional_residual": spread(middle),
        }


def to_maps(images: UInt8[Array, "N H W 3"]) -> Float32[Tensor, "N 3 H W"]:
    """(N, H, W, 3) RGB uint8 -> (N, 3, H, W) float32 0-1."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255


def map_side(network: Any, unet: Any) -> int:
    """The side in pixels of the maps that fit the UNet's latents: each level of the map's embedding halves it."""
    return int(unet.config.sample_size * 2 ** (len(network.config.conditioning_embedding_out_channels) - 1))


def load(folder: Path, unet: Any) -> ControlNetModel:
    """The network of a folder, whole or as a difference from `unet`, on its device and in its precision.

    Raises `WeightsCorrupt` for files that cannot be read, or that belong to another UNet.
    """
    try:
        if (folder / MARKER).is_file():
            network = _from_difference(folder, unet)
        else:
            network = ControlNetModel.from_pretrained(
                folder, use_safetensors=True, torch_dtype=unet.dtype, local_files_only=True
            )
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError, AttributeError) as error:
        first = str(error).strip().splitlines()[0]
        raise WeightsCorrupt(
            f"{folder} is not a ControlNet of this model ({first}): install or fetch it again"
        ) from error
    for name in _SAME:
        its, wanted = (_plain(part.config[name]) for part in (network, unet))
        if its != wanted:
            raise WeightsCorrupt(
                f"{folder} belongs to another UNet: its {name} is {its}, the model's {wanted}: "
                "use the ControlNet that was trained with this model"
            )
    # nn.Module's own `to`: diffusers' warns of modules to keep in float32 even where there are none.
    torch.nn.Module.to(network, unet.device, unet.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.eval().requires_grad_(False)


def _plain(value: Any) -> Any:
    """A config's value as JSON would have it: one that was read from a file has lists where others have tuples."""
    return list(value) if isinstance(value, tuple) else value


def _from_difference(folder: Path, unet: Any) -> ControlNetModel:
    marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    if marker.get("format") != _FORMAT:
        raise ValueError(f"{MARKER} does not say {_FORMAT}")
    channels = ControlNetModel.load_config(folder, local_files_only=True)["conditioning_embedding_out_channels"]
    network = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=tuple(channels))
    stored = {name: tensor.float() for name, tensor in load_file(folder / DIFFERENCE).items()}
    changed = [name.removesuffix(_UP) for name in stored if name.endswith(_UP)]
    for name in changed:
        up, down = stored.pop(name + _UP), stored.pop(name + _DOWN)
        weight = network.get_submodule(name).weight.data
        weight += (up.flatten(1) @ down.flatten(1)).view_as(weight)
    whole = {name for name in network.state_dict() if name.startswith(ADDED)}
    if stray := whole ^ stored.keys():
        raise ValueError(f"{min(stray)} is {'missing' if min(stray) in whole else 'not of a ControlNet'}")
    network.load_state_dict(stored, strict=False)
    network.register_to_config(asked_only=bool(marker.get("asked_only")))
    return network


def save_difference(network: ControlNetModel, folder: Path) -> None:
    """Write what `load` needs of a `network` that began as a copy of a UNet and carries one peft LoRA with alpha equal
    to its rank: half precision, weights of the UNet left out."""
    folder.mkdir(parents=True, exist_ok=True)
    state = dict(get_peft_model_state_dict(network, adapter_name="default"))
    state |= {name: tensor for name, tensor in network.state_dict().items() if name.startswith(ADDED)}
    save_tensors(folder / DIFFERENCE, in_half(state))
    network.save_config(folder)
    marker = {"format": _FORMAT, "of": "unet", "asked_only": bool(network.config.get("asked_only"))}
    atomic.write_json(folder / MARKER, marker)
