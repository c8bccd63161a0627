"""How a small part of a model is stored: matrices and kernels in 8 bits, the rest in 16; computed in float32.

save_tensors(path, packed(network.state_dict()))
network.load_state_dict(unpacked(load_file(path)))

A weight (out, ...) becomes int8 codes under its own name and one float32 scale per output beside it, `<name>.scale`:
half of the bytes of float16, and on FaceX's a mean error of 0.4 % of a weight's spread.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from personae.shapes import Float, Float32, Shaped

_LEVELS = 127  # symmetric: -128 is not used
_SCALE = ".scale"


def packed(weights: Mapping[str, Float[Tensor, " ..."]]) -> dict[str, Shaped[Tensor, " ..."]]:
    """What to store of a network's weights, by name.

    Arguments:
        weights: floating, of any shapes.

    Returns, on the CPU: of a weight (out, ...) with two axes or more, int8 codes of its shape and one float32 scale
    (out,) under `<name>.scale`; all others in float16.
    """
    stored = {}
    for name, weight in weights.items():
        values = weight.detach().float().cpu()
        if values.ndim < 2:
            stored[name] = values.half().contiguous()
            continue
        scale = (values.flatten(1).abs().amax(1) / _LEVELS).clamp(min=1e-12)
        codes = (values / scale.view(-1, *[1] * (values.ndim - 1))).round()
        stored |= {name: codes.to(torch.int8).contiguous(), name + _SCALE: scale}
    return stored


def unpacked(stored: Mapping[str, Shaped[Tensor, " ..."]]) -> dict[str, Float32[Tensor, " ..."]]:
    """The weights of what `packed` made, by name: float32, of the shapes before. Raises `KeyError` for codes without
    their scale."""
    weights = {}
    for name, values in stored.items():
        if values.dtype == torch.int8:
            weights[name] = values.float() * stored[name + _SCALE].view(-1, *[1] * (values.ndim - 1))
        elif not name.endswith(_SCALE):
            weights[name] = values.float()
    return weights
