"""A network of diffusers in the precision and layout that it is used in, with its weights in memory once.

    unet = network_weights.load(UNet2DConditionModel, folder / "unet", dtype=torch.bfloat16, layout=torch.channels_last)

diffusers maps a safetensors file into memory and converts from there, and as long as one weight is left as it was
stored, every page of the file that was read counts beside the converted weights: three quarters of a file again for
float32 in another layout, the whole file for bfloat16 while it loads. Here a weight that is used as it is stored stays
mapped (nothing is read before it is needed, and several processes share it), and one that is not is read through a
mapping of its own, which is closed again.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

FILE = "diffusion_pytorch_model.safetensors"

_READ_AT_ONCE = 64 << 20  # bytes that stay mapped beside their converted copies
_STORED = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def is_one_file(folder: Path) -> bool:
    """Whether the network of `folder` lies in the one safetensors file that `load` reads."""
    return (folder / FILE).is_file()


def load(
    cls: Any, folder: Path, *, dtype: torch.dtype, layout: torch.memory_format = torch.preserve_format, **options: Any
) -> Any:
    """A network out of its folder.

    Arguments:
        cls: its class, one of diffusers'.
        folder: with a `config.json` and the file named `FILE`.
        dtype: of its floating-point weights.
        layout: of its weights of four dimensions; `preserve_format`: as stored.
        options: more of diffusers' `from_pretrained`.

    Raises what diffusers and safetensors raise for files that they cannot read.
    """
    path = folder / FILE
    with safe_open(path, framework="pt") as file:
        kinds = {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118 (not a dict)
    stored = _STORED.get(next(iter(kinds))) if len(kinds) == 1 else None
    network = cls.from_pretrained(
        folder, torch_dtype=stored or dtype, use_safetensors=True, local_files_only=True, **options
    )
    _convert(network, path, dtype, layout)
    return network


@torch.no_grad()
def _convert(network: torch.nn.Module, path: Path, dtype: torch.dtype, layout: torch.memory_format) -> None:
    """Bring the weights to `dtype` and `layout`, reading them anew from `path`, a few at a time."""
    wanted = {name: weight for name, weight in network.named_parameters() if not _is_right(weight, dtype, layout)}
    while wanted:
        read = 0
        with safe_open(path, framework="pt") as file:
            stored = set(file.keys())
            while wanted and read < _READ_AT_ONCE:
                name = next(iter(wanted))
                weight = wanted.pop(name)
                # Under a name of before, diffusers renamed it: then it is read where diffusers mapped it.
                source = file.get_tensor(name) if name in stored else weight.data
                read += source.nbytes
                weight.data = _copied(source, dtype, layout if source.dim() == 4 else torch.preserve_format)
    torch.nn.Module.to(network, dtype)  # buffers; not by diffusers' own `to`, which warns of any dtype


def _is_right(weight: Tensor, dtype: torch.dtype, layout: torch.memory_format) -> bool:
    if weight.is_meta or not weight.is_floating_point():
        return True
    laid = weight.dim() != 4 or layout == torch.preserve_format or weight.is_contiguous(memory_format=layout)
    return laid and weight.dtype == dtype


def _copied(source: Tensor, dtype: torch.dtype, layout: torch.memory_format) -> Tensor:
    """In memory of its own, never in the mapped file."""
    return torch.empty_like(source, dtype=dtype, memory_format=layout).copy_(source)
