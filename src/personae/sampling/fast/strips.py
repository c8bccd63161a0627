"""The decoder's blocks in strips of rows and phases of pixels: the same result up to rounding, in less memory.

    install(pipe.vae.decoder)      # in place; weights and names stay as they were

A picture of 512 px passes the decoder's last blocks as maps of 256 and 128 channels at full size, 256 and 128 MiB in
float32, of which diffusers' block holds five. Here everything between input and output happens in strips that fit a
cache. Each normalisation needs the mean and variance of its whole map, which are gathered strip by strip first. A block
that halves the channels even leaves both of its maps where its input was. And a convolution of a map in which every
pixel was doubled is four convolutions, 2 x 2, of the map itself, one for each place in a doubled pixel: four ninths of
the arithmetic, and no doubled map.

For one map at a time in float32 on a CPU, without gradients; anything else is computed as ever.
"""

from collections.abc import Callable, Iterator

import torch
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor
from torch.nn.functional import conv2d, pad, silu

from personae.shapes import Float, Float32

_LARGE = 1 << 12  # positions of a map: 64 x 64
_STRIP = 1 << 21  # numbers in a strip of a map


class StripResnetBlock2D(ResnetBlock2D):
    """x + conv2(act(norm2(conv1(act(norm1(x)))))), where x may first pass a 1 x 1 convolution."""

    def forward(
        self, input_tensor: Float[Tensor, "N C H W"], temb: Float[Tensor, "N T"] | None, *args: object, **kwargs: object
    ) -> Float[Tensor, "N V H W"]:
        """Of a map (1, C, H, W) whose memory may be used up."""
        if not self._suits(input_tensor, temb):
            return super().forward(input_tensor, temb, *args, **kwargs)
        x = input_tensor
        filters = self.conv1.out_channels
        inside = x.shape[1] == 2 * filters and self.conv_shortcut is not None
        hidden = x[:, :filters] if inside else _empty(x, filters)
        result = x[:, filters:] if inside else x if self.conv_shortcut is None else _empty(x, filters)
        # Written behind the strip that is read, whose last row the next strip needs as its neighbour.
        for start, stop, rows in _with_neighbours(x, _activation(x, self.norm1)):
            shortcut = None if self.conv_shortcut is None else self.conv_shortcut(x[:, :, start:stop])
            hidden[:, :, start:stop] = _convolved(rows, self.conv1)
            if shortcut is not None:
                result[:, :, start:stop] = shortcut
        for start, stop, rows in _with_neighbours(hidden, _activation(hidden, self.norm2)):
            result[:, :, start:stop] += _convolved(rows, self.conv2)
        return result.contiguous(memory_format=torch.channels_last) if inside else result

    def _suits(self, x: Tensor, temb: Tensor | None) -> bool:
        plain = temb is None and self.upsample is None and self.downsample is None and self.output_scale_factor == 1
        return plain and not self.training and _is_large(x)


class PhasedUpsample2D(Upsample2D):
    """Every pixel twice in both directions, and a 3 x 3 convolution."""

    def forward(
        self, hidden_states: Float[Tensor, "N C H W"], output_size: int | None = None, *args: object, **kwargs: object
    ) -> Float[Tensor, "N V _ _"]:
        """Of a map (1, C, H, W)."""
        x = hidden_states
        if output_size is not None or not _is_large(x):
            return super().forward(x, output_size, *args, **kwargs)
        conv, (height, width) = self.conv, x.shape[2:]
        result = _empty(x, conv.out_channels, scale=2)
        # Of three taps of the doubled map, two fall on the same pixel of the map: the last two, or the first two.
        rows = _merged(conv.weight, 2)
        for down, by_row in enumerate(rows):
            for right, weight in enumerate(_merged(by_row, 3)):
                phase = conv2d(x, weight.contiguous(memory_format=torch.channels_last), conv.bias, padding=1)
                result[:, :, down::2, right::2] = phase[:, :, down : down + height, right : right + width]
        return result


def _merged(weight: Float32[Tensor, "V C a b"], dim: int) -> list[Float32[Tensor, "V C _ _"]]:
    """Three taps along `dim` as two, for the first and for the second half of a doubled pixel."""
    before, at, after = weight.split(1, dim)
    return [torch.cat([before, at + after], dim), torch.cat([before + at, after], dim)]


def install(network: torch.nn.Module) -> None:
    """Let these blocks stand in for diffusers', wherever they can."""
    for module in network.modules():
        if type(module) is ResnetBlock2D and isinstance(module.nonlinearity, torch.nn.SiLU):
            module.__class__ = StripResnetBlock2D
        elif type(module) is Upsample2D and _doubles(module):
            module.__class__ = PhasedUpsample2D


def _doubles(module: Upsample2D) -> bool:
    conv = getattr(module, "conv", None)
    usual = module.interpolate and module.use_conv and not module.use_conv_transpose and module.norm is None
    if not (usual and isinstance(conv, torch.nn.Conv2d)):
        return False
    shape = conv.kernel_size, conv.padding, conv.stride, conv.dilation, conv.groups, conv.padding_mode
    return shape == ((3, 3), (1, 1), (1, 1), (1, 1), 1, "zeros")


def _is_large(x: Tensor) -> bool:
    """Whether it is one map, large, in float32 on a CPU, channels last, of which no gradient is wanted."""
    here = x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_grad_enabled()
    large = len(x) == 1 and x.shape[2] * x.shape[3] >= _LARGE
    return here and large and x.is_contiguous(memory_format=torch.channels_last)


def _empty(like: Float32[Tensor, "1 C H W"], channels: int, scale: int = 1) -> Float32[Tensor, "1 V _ _"]:
    height, width = (scale * side for side in like.shape[2:])
    return torch.empty((1, channels, height, width), dtype=like.dtype, memory_format=torch.channels_last)


def _strips(x: Tensor) -> Iterator[tuple[int, int]]:
    """First and last row (exclusive) of each strip."""
    height = max(1, _STRIP // (x.shape[1] * x.shape[3]))
    for start in range(0, x.shape[2], height):
        yield start, min(start + height, x.shape[2])


def _with_neighbours(
    x: Float32[Tensor, "1 C H W"], act: Callable[[Tensor], Tensor]
) -> Iterator[tuple[int, int, Float32[Tensor, "1 C h W"]]]:
    """Of each strip: first and last row, and `act` of it and of the rows above and below it, which are 0 outside the
    map. The rows of a strip may be overwritten once it was handed out."""
    above = x.new_zeros((1, x.shape[1], 1, x.shape[3])).to(memory_format=torch.channels_last)
    for start, stop in _strips(x):
        rows = act(x[:, :, start : min(stop + 1, x.shape[2])])
        last = rows[:, :, stop - start - 1 : stop - start].clone()
        below = 0 if stop < x.shape[2] else 1
        rows = pad(torch.cat([above, rows], 2), (0, 0, 0, below))
        yield start, stop, rows
        above = last


def _activation(x: Float32[Tensor, "1 C H W"], norm: torch.nn.GroupNorm) -> Callable[[Tensor], Tensor]:
    """What the group normalisation of `x`, followed by SiLU, does to some of its rows."""
    groups = norm.num_groups
    start, stop = next(_strips(x))
    # Around a mean of about the right size, squares lose no digits.
    centre = x[0, :, start:stop].mean((1, 2)).view(groups, -1).mean(1).repeat_interleave(x.shape[1] // groups)
    first, second = torch.zeros(x.shape[1], dtype=torch.float64), torch.zeros(x.shape[1], dtype=torch.float64)
    for start, stop in _strips(x):
        apart = x[0, :, start:stop].permute(1, 2, 0).reshape(-1, x.shape[1]) - centre
        first += apart.sum(0)
        second += apart.square_().sum(0)
    per_group = x[0].numel() / groups
    mean = first.view(groups, -1).sum(1) / per_group
    variance = second.view(groups, -1).sum(1) / per_group - mean.square()
    each = x.shape[1] // groups
    mean, scale = mean.repeat_interleave(each) + centre, (variance + norm.eps).rsqrt().repeat_interleave(each)
    if norm.affine:
        scale = scale * norm.weight
    shift = -mean * scale + (norm.bias if norm.affine else 0)
    by, plus = (one.float().view(1, -1, 1, 1) for one in (scale, shift))
    return lambda rows: silu(torch.addcmul(plus, rows, by), inplace=True)


def _convolved(rows: Float32[Tensor, "1 C _ W"], conv: torch.nn.Conv2d) -> Float32[Tensor, "1 V h W"]:
    """3 x 3, of rows that have their neighbours above and below."""
    return conv2d(rows, conv.weight, conv.bias, padding=(0, 1))
