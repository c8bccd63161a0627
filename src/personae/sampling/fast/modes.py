"""Speed: the device and memory layout that suit a model, which change no result, and the modes that do, by name. The
precision is chosen in `precision.py`.

    prepare(pipe, compile=False)
    low, high = guided_times(scheduler.timesteps, MODES["balanced"].guidance_interval)

What each mode costs is measured in docs/performance.md.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from personae.errors import BadOption
from personae.sampling.fast import cpu_layers, precision, strips
from personae.sampling.fast.deep_cache import DeepCache
from personae.sampling.fast.mode_table import Mode
from personae.shapes import Float, Num

CONVOLUTIONS = torch.channels_last  # the layout of their weights
_DECODED_AT_ONCE = {"cpu": 2**18, "cuda": 2**21}  # pixels: one picture of 512 px, or eight


def device_for(wish: str | torch.device | None) -> torch.device:
    """A torch device. wish: its name; None: an accelerator if there is one, otherwise the CPU.

    Raises `BadOption` for an unknown name and for a device that this machine lacks.
    """
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


def prepare(pipe: Any, *, compile: bool | str = False) -> None:  # noqa: A002 (torch's own word)
    """Lay the convolutional networks out channels_last, and put a CPU's faster layers in where it is one for them: the
    UNet is in float32, or in bfloat16 and this machine was measured to be faster in it. Optionally compile the UNet and
    the decoder, once for each batch size, which pays off from a few dozen images on.

    compile: True, or one of torch's modes: "reduce-overhead" and "max-autotune" record CUDA graphs, the latter tries
    more kernels, for minutes.
    """
    for network in (pipe.unet, pipe.vae):
        network.to(memory_format=CONVOLUTIONS)
    for module in pipe.vae.decoder.modules():
        if isinstance(module, torch.nn.SiLU):  # after a norm or convolution, whose result nobody else needs
            module.inplace = True
    if pipe.unet.device.type == "cpu":
        half = pipe.unet.dtype == torch.bfloat16
        if precision.rates().dtype == torch.bfloat16 if half else not compile:
            cpu_layers.install(pipe.unet)
        if not compile:
            strips.install(pipe.vae.decoder)
    if compile:
        # The autoencoder's own `forward` is never called: compiling the whole would compile nothing.
        for network in (pipe.unet, pipe.vae.decoder):
            network.compile(dynamic=False, mode=compile if isinstance(compile, str) else None)


def decoded_at_once(vae: Any, latents: Float[Tensor, "N c h w"]) -> int:
    """How many of `latents` (N, c, h, w) to decode together: more cost memory and, on a CPU, save no time."""
    stages = vae.config.get("decoder_block_out_channels") or vae.config.block_out_channels
    pixels = latents[0, 0].numel() * 4 ** (len(stages) - 1)
    return max(1, _DECODED_AT_ONCE.get(latents.device.type, 2**18) // pixels)


def controls_of(mode: Mode) -> list[DeepCache]:
    """The hooks of a mode, which follow a request's own."""
    return [DeepCache(mode.cache_interval)] if mode.cache_interval > 1 else []


def guided_times(timesteps: Num[Tensor, " S"], interval: Sequence[float]) -> tuple[float, float]:
    """The lowest and highest of a scheduler's `timesteps` (S,), falling, that lie in a `Mode.guidance_interval`."""
    first, last = (round(share * len(timesteps)) for share in interval)
    first = min(first, len(timesteps) - 1)
    within = timesteps[first : max(last, first + 1)].tolist()  # one step at least
    return min(within), max(within)
