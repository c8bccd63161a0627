"""What tells latents of photos from those that a student made: the eyes of the frozen base, and scores upon them.

    judge = Judge(frozen)
    scores = judge(features_of(frozen, noisy, times, conditioning), conditioning.pooled)

The base knows what faces look like at every level of noise, and whom it was asked for (Sauer et al. 2024, "Fast
High-Resolution Image Synthesis with Latent Adversarial Diffusion Distillation"): no picture has to be decoded.

Legend: N latents; B blocks of the base's UNet, each with channels and a size of its own; P numbers of `pooled`.
"""

from collections.abc import Sequence
from contextlib import ExitStack

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from personae.conditioning.types import Conditioning
from personae.shapes import Float
from personae.training.methods.base.network import IdentityToFace

_WIDTH = 64


def features_of(
    base: IdentityToFace, noisy: Float[Tensor, "N c h w"], times: Float[Tensor, " N"], conditioning: Conditioning
) -> list[Float[Tensor, "N _ _ _"]]:
    """What each block of the base's UNet makes of noisy latents (N, c, h, w) at times (N,): B maps."""
    maps: list[Tensor] = []

    def keep(module: nn.Module, inputs: object, result: Tensor | tuple[Tensor, object]) -> None:
        maps.append(result if isinstance(result, Tensor) else result[0])

    with ExitStack() as stack:
        for block in _blocks(base):
            stack.callback(block.register_forward_hook(keep).remove)
        base.predict(noisy, times, conditioning)
    return maps


def _blocks(base: IdentityToFace) -> list[nn.Module]:
    unet = base.unet
    return [*unet.down_blocks, unet.mid_block, *unet.up_blocks]


class Judge(nn.Module):
    """A score for each place of each map, higher for photos; which person and which words were asked for counts.

    forward: B maps, pooled (N, P) -> B scores (N, h, w).
    """

    def __init__(self, base: IdentityToFace) -> None:
        super().__init__()
        config = base.unet.config
        weight = next(base.unet.parameters())
        latents = weight.new_zeros(1, config.in_channels, config.sample_size, config.sample_size)
        nobody = weight.new_zeros(1, 1, config.cross_attention_dim)
        with torch.no_grad():
            maps = features_of(base, latents, weight.new_zeros(1), Conditioning(tokens=nobody, pooled=nobody[:, 0]))
        self.heads = nn.ModuleList(_Head(one.shape[1], config.cross_attention_dim) for one in maps)

    def forward(
        self, maps: Sequence[Float[Tensor, "N _ _ _"]], pooled: Float[Tensor, "N P"]
    ) -> list[Float[Tensor, "N _ _"]]:
        return [head(one.float(), pooled.float()) for head, one in zip(self.heads, maps, strict=True)]


class _Head(nn.Module):
    def __init__(self, channels: int, pooled: int) -> None:
        super().__init__()
        self.level = nn.GroupNorm(1, channels, affine=False)
        self.first = spectral_norm(nn.Conv2d(channels, _WIDTH, 3, 1, 1))
        self.second = spectral_norm(nn.Conv2d(_WIDTH, _WIDTH, 3, 1, 1))
        self.plain = spectral_norm(nn.Conv2d(_WIDTH, 1, 1, bias=False))  # differences alone count
        self.person = spectral_norm(nn.Linear(pooled, _WIDTH))

    def forward(self, one: Tensor, pooled: Tensor) -> Tensor:
        x = F.leaky_relu(self.first(self.level(one)), 0.2)
        x = F.leaky_relu(self.second(x), 0.2)
        beside = torch.einsum("nchw,nc->nhw", x, self.person(pooled)) / _WIDTH**0.5
        return self.plain(x)[:, 0] + beside
