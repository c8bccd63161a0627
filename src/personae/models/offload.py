"""Components that are loaded while a pipeline is offloaded.

    with suspended(pipe):
        pipe.controlnet = controlnet.load(folder, pipe.unet)     # every weight is in memory here
    # offloaded as before, the new component too

`enable_model_cpu_offload` and `enable_sequential_cpu_offload` hang accelerate's hooks on the components that a pipeline
has at that moment.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def suspended(pipe: Any) -> Iterator[None]:
    """Inside the block no component of the diffusers pipeline `pipe` has hooks, and all weights are on the CPU;
    afterwards all of them are offloaded in the way of before. Does nothing for a pipeline that is not offloaded."""
    offload = _way(pipe)
    if offload is None:
        yield
        return
    device = pipe._offload_device
    pipe.remove_all_hooks()
    pipe.to("cpu", silence_dtype_warnings=True)
    try:
        yield
    finally:
        offload(device=device)


def _way(pipe: Any) -> Callable[..., None] | None:
    """The method of the pipeline by which it was offloaded."""
    if getattr(pipe, "_all_hooks", None):
        return pipe.enable_model_cpu_offload
    if any(isinstance(one, nn.Module) and hasattr(one, "_hf_hook") for one in pipe.components.values()):
        return pipe.enable_sequential_cpu_offload
    return None
