"""Small similarity maps, so that no single crop is learnt by heart."""

import torch
from torch import Tensor


def jitter(count: int, generator: torch.Generator, strength: float = 1.0) -> Tensor:
    """(count, 2, 3) small similarity maps of the unit square: shift, turn, scale."""
    turn, scale = torch.randn(2, count, generator=generator, device=generator.device) * 0.05 * strength
    shift = torch.randn(count, 2, generator=generator, device=generator.device) * 0.02 * strength
    cosine, sine = torch.exp(scale) * torch.cos(turn), torch.exp(scale) * torch.sin(turn)
    rows = torch.stack([torch.stack([cosine, -sine], -1), torch.stack([sine, cosine], -1)], 1)
    return torch.cat([rows, shift[..., None]], -1)
