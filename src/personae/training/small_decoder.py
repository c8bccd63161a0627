"""A decoder at a sixth of the cost of the autoencoder's: half the size, and soft.

decoder = SmallDecoder.load(folder)
images = decoder(latents)          # (N, 3, 192, 192), a gradient passes
"""

import json
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import load_file
from torch import Tensor, nn

from personae.io import atomic
from personae.io.tensors import in_half, save_tensors
from personae.shapes import Float

WIDTHS = (128, 96, 48, 24)  # of the latents' size and of each doubling of it
_WEIGHTS, _CONFIG = "decoder.safetensors", "config.json"


class SmallDecoder(nn.Module):
    """forward: latents (N, c, h, w) of unit spread -> images (N, 3, 16 h, 16 w), about in [-1, 1].

    channels: c. widths: of its stages, each twice as large a side as the one before. key: `encoder_key` of the encoder
    whose latents it decodes.
    """

    def __init__(self, channels: int, key: str, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.channels, self.key, self.widths = channels, key, widths
        layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], 3, 1, 1), _Residual(widths[0])]
        for width, narrower in pairwise(widths):
            layers += [_Residual(width), nn.Conv2d(width, 4 * narrower, 3, 1, 1), nn.PixelShuffle(2)]
        self.layers = nn.Sequential(*layers, nn.SiLU(), nn.Conv2d(widths[-1], 3, 3, 1, 1))

    def forward(self, latents: Float[Tensor, "N c h w"]) -> Float[Tensor, "N 3 H W"]:
        return F.interpolate(self.layers(latents).float(), scale_factor=2, mode="bilinear", align_corners=False)

    def save(self, folder: Path) -> None:
        """In half precision."""
        folder.mkdir(parents=True, exist_ok=True)
        save_tensors(folder / _WEIGHTS, in_half(dict(self.state_dict())))
        atomic.write_json(folder / _CONFIG, {"channels": self.channels, "key": self.key, "widths": self.widths})

    @classmethod
    def load(cls, folder: Path) -> "SmallDecoder":
        """What `save` wrote, frozen."""
        config = json.loads((folder / _CONFIG).read_text())
        decoder = cls(config["channels"], config["key"], tuple(config["widths"]))
        decoder.load_state_dict({name: part.float() for name, part in load_file(folder / _WEIGHTS).items()})
        frozen: SmallDecoder = decoder.requires_grad_(requires_grad=False).eval()
        return frozen.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, 1, 1) for _ in range(2))
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        changed: Tensor = self.second(F.silu(self.first(F.silu(x))))
        return x + changed
