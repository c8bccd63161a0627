"""What the UNet cross-attends to, and what may hook into it for one request: the values that stages exchange.

Legend: N prompts or images, L tokens (padded), C width of the text encoder, M rows of one network call.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from personae.shapes import Bool, Float, Int64, Num


@dataclass(frozen=True, kw_only=True)
class Conditioning:
    """The prompt embeds of N images: what the UNet cross-attends to in one call.

    Attributes:
        tokens: (N, L, C), every output of the text encoder.
        pooled: (N, C), its output at the end-of-text token; None: the encoder has no such output.
    """

    tokens: Float[Tensor, "N L C"]
    pooled: Float[Tensor, "N C"] | None

    def __len__(self) -> int:
        return len(self.tokens)

    def rows(self, index: Int64[Tensor, " M"]) -> "Conditioning":
        """The rows `index` (M,) int64, in that order; a row may come more than once."""
        index = index.to(self.tokens.device)
        return Conditioning(tokens=self.tokens[index], pooled=None if self.pooled is None else self.pooled[index])

    def to(self, dtype: torch.dtype) -> "Conditioning":
        """The same in another precision."""
        return Conditioning(tokens=self.tokens.to(dtype), pooled=None if self.pooled is None else self.pooled.to(dtype))


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What the M rows of one network call stand for. All on the CPU.

    Attributes:
        images: (M,) int64, numbers among the request's images.
        conditional: (M,) bool, false in the unconditional rows of guidance.
        terms: (M,) int64, which guidance term each row belongs to; None: there is one.
    """

    images: Int64[Tensor, " M"]
    conditional: Bool[Tensor, " M"]
    terms: Int64[Tensor, " M"] | None = None

    def names(self) -> list[tuple[int, bool, int]]:
        """What distinguishes each row from all others of a step."""
        terms = [0] * len(self.images) if self.terms is None else self.terms.tolist()
        return list(zip(self.images.tolist(), self.conditional.tolist(), terms, strict=True))


class UNetHook(Protocol):
    """Something that acts on the UNet for the time of one request: a pose map, an expression, a reference, a LoRA.

    It holds what that request needs, row by row, and leaves no trace on the network that it shares with others.
    """

    def engaged(self, unet: Any) -> AbstractContextManager[None]:
        """Attached to `unet` inside the block; afterwards the UNet is exactly as before, whatever happened."""

    def arguments(
        self, latents: Float[Tensor, "M c h w"], t: Num[Tensor, ""], conditioning: Conditioning, rows: Rows
    ) -> dict[str, Any]:
        """Keyword arguments of the UNet for one call.

        Arguments:
            latents: (M, c, h, w) in the UNet's dtype.
            t: the timestep, a scalar.
            conditioning: M rows.
            rows: what the M rows stand for.

        Returns {} if everything was set up when engaging.
        """
