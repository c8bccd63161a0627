"""mapping, synthesis = MappingNet.read(files["Mapping"]), SynthesisNet.read(files["Synthesis"])

MobileStyleGAN (Belousov 2021, arXiv 2104.04767) in plain torch, read from the OpenVINO files of the PyPI wheel
random-face 2021.7.21.1: an IR's .bin is raw little-endian tensors whose place, type and shape stand in its .xml.
Training data come from it, no weight of it is shipped; docs/guides/training.md says what it descends from.

    z       (N, 512)       standard normal
    w       (N, 512)       what somebody looks like
    styles  (N, 23, 512)   a w for every layer, so that head, features and surface can be chosen apart
    hidden  (N, C, R, R)   R = 4 ... 512, C as in `CHANNELS`
    picture (N, 3, S, S)   RGB in [-1, 1], a little beyond it now and then; eyes 0.24 of the width apart, as in FFHQ

A block modulates its input, doubles it by an inverse Haar wavelet (C -> C / 4 channels), then twice modulates, filters
(3 x 3 depthwise, 1 x 1 with the demodulation folded in), adds a fixed map of noise and a bias: leaky ReLU 0.2.
"""

import math
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from collections.abc import Mapping as Table
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from personae.errors import WeightsCorrupt
from personae.shapes import Float, Float32

CHANNELS = {4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128, 512: 64}  # of the hidden map of R x R
WIDTH = 512  # of z, w and styles
_TYPES = {"FP32": np.float32, "FP16": np.float16, "f32": np.float32, "f16": np.float16}


class Network(NamedTuple):
    """One network as OpenVINO stores it: the graph, and the bytes of its constants."""

    graph: bytes
    constants: bytes


def tensors(network: Network) -> Iterator[tuple[str, Float32[Tensor, " ..."]]]:
    """The floating-point constants by name, in the graph's order. Raises `WeightsCorrupt`."""
    try:
        for layer in ET.fromstring(network.graph).iter("layer"):
            data = layer.find("data")
            if layer.get("type") != "Const" or data is None or data.get("element_type") not in _TYPES:
                continue
            shape = [int(size) for size in data.get("shape", "").split(",") if size.strip()]
            kind, offset = _TYPES[data.get("element_type", "")], int(data.get("offset", "0"))
            array = np.frombuffer(network.constants, kind, math.prod(shape), offset)
            yield layer.get("name", ""), torch.from_numpy(array.astype(np.float32).reshape(shape))
    except (ET.ParseError, ValueError) as error:
        raise WeightsCorrupt(f"not a network in OpenVINO's format: {error}") from error


def inverse_haar(x: Tensor) -> Tensor:
    """(N, 4C, R, R) -> (N, C, 2R, 2R). The first C channels are the low band, twice the mean of the four pixels; then
    vertical, horizontal and diagonal detail, three for each channel."""
    channels = x.shape[1] // 4
    low, high = x[:, :channels], x[:, channels:].unflatten(1, (channels, 3))
    vertical, horizontal, diagonal = high.unbind(2)
    a, b, c, d = low + vertical, low - vertical, horizontal + diagonal, horizontal - diagonal
    return F.pixel_shuffle(torch.stack((a + c, a - c, b + d, b - d), 2).flatten(1, 2) * 0.5, 2)


class MappingNet(nn.Module):
    """z -> w: normalised to a unit mean square, then eight times linear, leaky ReLU 0.2, times sqrt 2."""

    def __init__(self, width: int = WIDTH, depth: int = 8) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))

    def forward(self, z: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
        """Styles (N, D) of standard normal numbers (N, D)."""
        x = z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2) * math.sqrt(2)
        return x

    @classmethod
    def read(cls, network: Network) -> "MappingNet":
        """The network of a file, frozen. Raises `WeightsCorrupt` if it holds another."""
        found = [tensor for _, tensor in tensors(network)]
        weights = [tensor for tensor in found if tensor.dim() == 2 and tensor.shape[0] == tensor.shape[1] > 1]
        if not weights:
            raise WeightsCorrupt("the generator's mapping holds no square matrix")
        net = cls(len(weights[0]), len(weights))
        layers = [layer for layer in net.layers if isinstance(layer, nn.Linear)]
        _fill([layer.weight for layer in layers], weights)
        _fill([layer.bias for layer in layers], [t for t in found if t.numel() == len(weights[0])])
        return net.eval().requires_grad_(False)


class _Modulation(nn.Linear):
    """Style (N, W) -> a factor for each channel (N, C, 1, 1)."""

    def __init__(self, channels: int, width: int, fan_in: int = 1) -> None:
        super().__init__(width, channels)
        self.scale = fan_in**-0.5

    def forward(self, style: Tensor) -> Tensor:
        return (super().forward(style) * self.scale)[..., None, None]


class _StyledConv(nn.Module):
    """Modulate, filter (3 x 3 depthwise and 1 x 1; separable=False: one full 3 x 3), noise, bias, leaky ReLU 0.2."""

    noise: Tensor

    def __init__(self, inside: int, outside: int, size: int, width: int, *, separable: bool = True) -> None:
        super().__init__()
        self.modulation = _Modulation(inside, width, inside * 9)
        self.depthwise = nn.Conv2d(inside, inside, 3, 1, 1, groups=inside, bias=False) if separable else nn.Identity()
        self.conv = nn.Conv2d(inside, outside, 1) if separable else nn.Conv2d(inside, outside, 3, padding=1)
        self.register_buffer("noise", torch.zeros(1, 1, size, size))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        return F.leaky_relu(self.conv(self.depthwise(x * self.modulation(style))) + self.noise, 0.2)


class _Block(nn.Module):
    """The hidden map of R / 2 -> that of R."""

    def __init__(self, inside: int, outside: int, size: int, width: int) -> None:
        super().__init__()
        self.up = _Modulation(inside, width)
        self.conv1 = _StyledConv(inside // 4, outside, size, width)
        self.conv2 = _StyledConv(outside, outside, size, width)

    def forward(self, x: Tensor, styles: Tensor) -> Tensor:
        x = inverse_haar(x * self.up(styles[:, 0]))
        return self.conv2(self.conv1(x, styles[:, 0]), styles[:, 1])


class SynthesisNet(nn.Module):
    """Styles -> picture. channels: of the hidden map at each size, from 4 on, doubling; smaller ones for tests.

    Row 0 of the styles is the first convolution's, rows 2 + 3k to 4 + 3k block k's (8 px: 0): its upsampling and first
    convolution, its second, its picture. Row 1 and the pictures' rows of all blocks but the last were pruned away.
    """

    def __init__(self, channels: Table[int, int] = CHANNELS, width: int = WIDTH) -> None:
        super().__init__()
        sizes = list(channels)
        self.first = nn.Parameter(torch.zeros(1, channels[4], 4, 4))
        self.start = _StyledConv(channels[4], channels[4], 4, width, separable=False)
        self.blocks = nn.ModuleList(
            _Block(channels[half], channels[size], size, width) for half, size in pairwise(sizes)
        )
        self.paint_modulation = _Modulation(channels[sizes[-1]], width, channels[sizes[-1]])
        self.paint = nn.Conv2d(channels[sizes[-1]], 12, 1)

    @property
    def rows(self) -> int:
        """Of the styles."""
        return 2 + 3 * len(self.blocks)

    def wavelets(self, styles: Float[Tensor, "N L D"]) -> Float[Tensor, "N 12 R R"]:
        """(N, 12, R, R) at the last block's R: `inverse_haar` of it is the picture of 2R."""
        x = self.start(self.first.expand(styles.shape[0], -1, -1, -1), styles[:, 0])
        for number, block in enumerate(self.blocks):
            x = block(x, styles[:, 2 + 3 * number : 4 + 3 * number])
        return self.paint(x * self.paint_modulation(styles[:, -1]))

    def forward(self, styles: Float[Tensor, "N L D"]) -> Float[Tensor, "N 3 R R"]:
        """The picture at half of its size, 512 px, each pixel the mean of four: an eighth of the time less."""
        return self.wavelets(styles)[:, :3] * 0.5

    def large(self, styles: Float[Tensor, "N L D"]) -> Float[Tensor, "N 3 R R"]:
        """The picture at its full size, 1024 px."""
        return inverse_haar(self.wavelets(styles))

    @classmethod
    def read(cls, network: Network) -> "SynthesisNet":
        """The network of a file, of the file's own sizes, frozen: weights by name where the file has one, else by their
        order in the graph. Raises `WeightsCorrupt` if it holds another."""
        found = list(tensors(network))
        named = {name: tensor for name, tensor in found if name.startswith("m.")}
        kernels = [tensor for name, tensor in found if name.startswith("Mul_") and name.endswith("_copy")]
        noises = [t for _, t in found if t.dim() == 4 and t.shape[:2] == (1, 1) and t.shape[2] >= 4]
        if len(kernels) != len(noises) or not kernels or "m.conv1.conv.modulation.weight" not in named:
            raise WeightsCorrupt("the generator's synthesis network holds other layers than MobileStyleGAN's")
        channels = {len(noise[0, 0]): len(kernel) for noise, kernel in zip(noises, kernels, strict=True)}
        net = cls(channels, named["m.conv1.conv.modulation.weight"].shape[1])
        convs = dict(net._convs())
        _fill([conv.conv.weight for conv in convs.values()], kernels)
        _fill([conv.noise for conv in convs.values()], noises)
        names = net._names(convs)
        if missing := names.keys() - named.keys():
            raise WeightsCorrupt(f"the generator's file lacks {min(missing)}")
        _fill(names.values(), [named[name] for name in names])
        return net.eval().requires_grad_(False)

    def _names(self, convs: dict[str, "_StyledConv"]) -> dict[str, Tensor]:
        """The weights that a file calls by name."""
        last = f"m.layers.{len(self.blocks) - 1}.to_img"
        names: dict[str, Tensor] = {"m.input.input": self.first, f"{last}.conv.weight": self.paint.weight}
        assert self.paint.bias is not None
        names |= {f"{last}.bias": self.paint.bias} | _affine(f"{last}.conv", self.paint_modulation)
        for number, block in enumerate(self.blocks):
            names |= _affine(f"m.layers.{number}.up", block.up)  # type: ignore[arg-type]
        for name, conv in convs.items():
            names |= _affine(f"{name}.conv", conv.modulation)
            assert conv.conv.bias is not None
            names[f"{name}.bias"] = conv.conv.bias
            if isinstance(conv.depthwise, nn.Conv2d):
                names[f"{name}.conv.weight_dw"] = conv.depthwise.weight
        return names

    def _convs(self) -> Iterator[tuple[str, _StyledConv]]:
        """All styled convolutions by their names in the file, in the graph's order."""
        yield "m.conv1", self.start
        for number, block in enumerate(self.blocks):
            for name in ("conv1", "conv2"):
                yield f"m.layers.{number}.{name}", getattr(block, name)


def _affine(name: str, layer: nn.Linear) -> dict[str, Tensor]:
    return {f"{name}.modulation.weight": layer.weight, f"{name}.modulation.bias": layer.bias}


def _fill(targets: Iterable[Tensor], sources: list[Tensor]) -> None:
    """Copy `sources` into `targets`, one by one, each in its target's shape."""
    goals = list(targets)
    if len(goals) != len(sources) or any(a.numel() != b.numel() for a, b in zip(goals, sources, strict=True)):
        raise WeightsCorrupt(
            f"the generator's file does not hold what it should: {len(sources)} tensors of one kind for {len(goals)} "
            "places, or other sizes"
        )
    with torch.no_grad():
        for goal, source in zip(goals, sources, strict=True):
            goal.copy_(source.view_as(goal))
