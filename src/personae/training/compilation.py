"""Compilation that trains what it should."""

from typing import Any

import torch._dynamo as dynamo


def compile_blocks(unet: Any) -> None:
    """Compile a UNet or a ControlNet for training, block by block, one graph for each size of batch.

    Not whole: with autocast on a CPU, torch 2.13 then computes the right output and gradients that are zero for every
    attention block. Block by block they equal those of the plain network (`tests/test_training.py`).
    """
    dynamo.config.recompile_limit = max(dynamo.config.recompile_limit, 64)  # blocks of a kind share one limit
    for block in (*unet.down_blocks, unet.mid_block, *getattr(unet, "up_blocks", ())):
        block.compile(dynamic=False)
