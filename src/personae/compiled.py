"""Whether torch.compile stands before a network, and how to step around it for the time of a request.

with eagerly(unet):
    unet(...)  # as written, hooks and all
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from personae.threads import WhileAny


def is_compiled(network: Any) -> bool:
    """Whether the network or a module of it was compiled, in place or as a whole."""
    return hasattr(network, "_orig_mod") or any(module._compiled_call_impl for module in network.modules())


def eagerly(network: Any) -> AbstractContextManager[object]:
    """A compiled network runs as written inside the block, since what a request hangs on it would be compiled anew for
    every request. (Changing torch's stance loads the compiler, so only then.)"""
    return _eager if is_compiled(network) else nullcontext()


_eager = WhileAny(lambda: torch.compiler.set_stance("force_eager"))
