"""Layers of diffusers' UNets computed the way a CPU likes better: the same weights and results, up to rounding.

    install(pipe.unet)      # in place; weights, names, LoRA and saving stay as they were

- `GemmConv2d`. oneDNN lays a convolution's weights out anew at every call. Deep inside a UNet, where the maps are
  small and the weights large, that takes several times as long as the arithmetic. A matrix product over unfolded
  patches needs no other layout. (Keeping the other layout would do, too, but takes the memory of the weights again.)
- `FusedGEGLU`. The bias, the activation and the product with the gate happen while a matrix product is still in the
  cache, and nothing of twice the width is made.
- `ChannelsLastTransformer2DModel` hands its result on as it lies, channels last, not turned to NCHW for the next
  layer to turn it back.

In bfloat16 they are for CPUs that multiply it in hardware (AMX, AVX-512): `modes.prepare` installs them where
`precision.rates` found bfloat16 to be the faster one, and each layer does what it always did where oneDNN has no
product in bfloat16 to fuse into. In float32 a layer acts where it was measured to gain on AVX2 (docs/experiments/
performance.md): convolutions of at least `_LARGE` weights and gates over at least `_LONG` tokens, which Stable
Diffusion has and nano has not.
"""

from functools import cache
from typing import Any

import torch
from diffusers.models.activations import GEGLU
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor
from torch.nn.functional import linear, pad

from personae.shapes import Float

_LARGE = 1 << 22  # weights of a convolution in float32: more than a cache holds
_LONG = 4096  # tokens of an image in float32
_AT_ONCE = 512  # rows whose gate and value, in float32, stay in the cache


class GemmConv2d(torch.nn.Conv2d):
    """A convolution, 1 x 1 or 3 x 3, that is a matrix product wherever the map is small beside the weights."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002 (torch's name)
        count, channels, *size = input.shape
        height, width = ((side - 1) // step + 1 for side, step in zip(size, self.stride, strict=True))
        positions, filters = count * height * width, len(weight)
        if positions > filters or not (_is_half(input) or (_is_single(input) and weight.numel() >= _LARGE)):
            return super()._conv_forward(input, weight, bias)
        reach, (down, right) = self.kernel_size[0] // 2, self.stride
        padded = pad(input.permute(0, 2, 3, 1), (0, 0, reach, reach, reach, reach))
        image, row, column, channel = padded.stride()
        patches = padded.as_strided(
            (count, height, width, *self.kernel_size, channels),
            (image, down * row, right * column, row, column, channel),
        )
        flat = linear(patches.reshape(positions, -1), weight.permute(0, 2, 3, 1).reshape(filters, -1), bias)
        return flat.view(count, height, width, filters).permute(0, 3, 1, 2)


class FusedGEGLU(GEGLU):
    """(x W + b) GELU(x V + c), where W and V are the halves of one projection."""

    def forward(self, hidden_states: Float[Tensor, "*N C"], *args: Any, **kwargs: Any) -> Float[Tensor, "*N V"]:
        """Of hidden states (..., C), (..., V): V outputs for each half of the projection."""
        # A projection in something's hands (LoRA, quantisation) is more than its weights; and there is no backward.
        plain = type(self.proj) is torch.nn.Linear and not torch.is_grad_enabled()
        half = _is_half(hidden_states) and _fuses()
        if not (plain and (half or (_is_single(hidden_states) and hidden_states.shape[-2] >= _LONG))):
            return super().forward(hidden_states, *args, **kwargs)
        value, gate = self.proj.weight.chunk(2)
        of_value, of_gate = self.proj.bias.chunk(2) if self.proj.bias is not None else (None, None)
        if not half:
            rows = hidden_states.reshape(-1, hidden_states.shape[-1])
            gated = rows.new_empty(len(rows), len(value))
            for some, out in zip(rows.split(_AT_ONCE), gated.split(_AT_ONCE), strict=True):
                torch.mul(linear(some, value, of_value), self.gelu(linear(some, gate, of_gate)), out=out)
            return gated.view(*hidden_states.shape[:-1], -1)
        fused = torch.ops.mkldnn._linear_pointwise  # what torch's own compiler calls
        gated = fused(hidden_states, gate, of_gate, "gelu", [], "none")
        return fused.binary(hidden_states, gated, value, of_value, "mul")


class ChannelsLastTransformer2DModel(Transformer2DModel):
    """Over a map of NCHW that lies channels last."""

    def _get_output_for_continuous_inputs(
        self, hidden_states: Tensor, residual: Tensor, batch_size: int, height: int, width: int, inner_dim: int
    ) -> Tensor:
        if not (_is_half(hidden_states) or (_is_single(hidden_states) and height * width >= _LONG)):
            return super()._get_output_for_continuous_inputs(
                hidden_states, residual, batch_size, height, width, inner_dim
            )
        if self.use_linear_projection:
            hidden_states, inner_dim = self.proj_out(hidden_states), self.out_channels
        mapped = hidden_states.reshape(batch_size, height, width, inner_dim).permute(0, 3, 1, 2)
        return (mapped if self.use_linear_projection else self.proj_out(mapped)) + residual


def install(network: torch.nn.Module) -> None:
    """Let these layers stand in for torch's and diffusers', wherever they can."""
    for module in network.modules():
        if type(module) is GEGLU:
            module.__class__ = FusedGEGLU
        elif type(module) is Transformer2DModel:
            module.__class__ = ChannelsLastTransformer2DModel
        elif type(module) is torch.nn.Conv2d and _unfolds(module):
            module.__class__ = GemmConv2d


def _unfolds(conv: torch.nn.Conv2d) -> bool:
    plain = conv.groups == 1 and conv.dilation == (1, 1) and conv.padding_mode == "zeros"
    return plain and (conv.kernel_size, conv.padding) in {((1, 1), (0, 0)), ((3, 3), (1, 1))}


@cache
def _fuses() -> bool:
    """Whether oneDNN multiplies matrices of bfloat16 with the instructions that it has and may use. Without, the fused
    product raises; torch's own compiler asks the same before it fuses."""
    return bool(torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _is_half(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and tensor.dtype == torch.bfloat16


def _is_single(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and tensor.dtype == torch.float32
