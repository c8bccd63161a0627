"""Fast without changing what is computed: the precision and memory layout this machine is good at.

dtype = best_dtype(torch.device("cpu"))
prepare(pipe, compile=False)
"""

from functools import cache
from pathlib import Path
from typing import Any

import torch

from personae.errors import BadOption


def device_for(wish: str | torch.device | None) -> torch.device:
    """The device asked for; None: an accelerator if there is one. Raises `BadOption` for one that is not here."""
    kinds = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.mps.is_available()}
    here = [kind for kind, there in kinds.items() if there]
    if wish is None:
        return torch.device(here[-1])
    try:
        device = torch.device(wish)
    except RuntimeError as error:
        raise BadOption(f"unknown device {wish!r}: choose one of {', '.join(here)}") from error
    if not kinds.get(device.type, True):
        raise BadOption(f"there is no {device.type} device on this machine: choose one of {', '.join(here)}")
    return device


@cache
def cpu_has_amx() -> bool:
    """Whether this CPU multiplies bfloat16 matrices in hardware: about eight times float32 then, but often *slower*
    than float32 without it."""
    info = Path("/proc/cpuinfo")
    return info.is_file() and "amx_bf16" in info.read_text().split("processor", 2)[1].split()


def best_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware has it, else float32."""
    fast = torch.cuda.is_bf16_supported() if device.type == "cuda" else device.type == "cpu" and cpu_has_amx()
    return torch.bfloat16 if fast else torch.float32


def prepare(pipe: Any, *, compile: bool = False) -> None:  # noqa: A002 (torch's own word)
    """Lay the convolutional networks out channels_last; optionally compile the UNet, which pays off from a few dozen
    images on."""
    for network in (pipe.unet, pipe.vae):
        network.to(memory_format=torch.channels_last)
    if compile:
        pipe.unet.compile()
