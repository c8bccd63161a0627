"""FRC: a frozen UNet that also attends to a face's representation (FaceX, arXiv 2401.00551).

    controller = Controller.for_unet(unet, token_width=192)
    with controller.engaged(unet):
        controller.set_tokens(tokens)    # (M, T, C), one row for each of the next call's
        unet(...)

After the cross-attention of every transformer block comes another, to the representation, whose output is added to the
residual by a projection that begins at zero: fresh, it changes nothing. It hangs on hooks, so the UNet's own weights
and processors are untouched, and any UNet of the same shape can be controlled.

Legend: M rows of a call; L positions of a block, W its channels; T tokens, C their width.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch.nn.functional as F  # noqa: N812
from diffusers.models.attention import BasicTransformerBlock
from torch import Tensor, nn

from personae.compiled import eagerly
from personae.errors import WeightsCorrupt
from personae.shapes import Bool, Float

_HEAD = 32  # channels of an attention head


class AddedAttention(nn.Module):
    """The added cross-attention of one block.

    Arguments:
        width: W, the channels of the block.
        token_width: C.
        inner: channels of the attention itself, a multiple of 32.
    """

    def __init__(self, width: int, token_width: int, inner: int) -> None:
        super().__init__()
        self.heads = inner // _HEAD
        self.norm = nn.LayerNorm(width)
        self.to_q, self.to_kv = nn.Linear(width, inner, bias=False), nn.Linear(token_width, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, width)
        nn.init.zeros_(self.to_out.weight)
        nn.init.zeros_(self.to_out.bias)

    def forward(self, x: Float[Tensor, "M L W"], tokens: Float[Tensor, "M T C"]) -> Float[Tensor, "M L W"]:
        """What is added to a block's residual `x` (M, L, W), attending to `tokens` (M, T, C); zeros before training."""
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.to_q(self.norm(x)), *self.to_kv(tokens).chunk(2, -1))
        )
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Controller(nn.Module):
    """One `AddedAttention` for each transformer block, in the UNet's order."""

    def __init__(self, widths: list[int], *, token_width: int, inner: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(AddedAttention(width, token_width, inner) for width in widths)
        self._tokens: Tensor | None = None

    @classmethod
    def for_unet(cls, unet: Any, *, token_width: int, inner: int = 128) -> "Controller":
        """Fresh, for `unet`."""
        return cls(widths_of(unet), token_width=token_width, inner=inner)

    def set_tokens(self, tokens: Float[Tensor, "m T C"] | None, rows: Bool[Tensor, " M"] | None = None) -> None:
        """Set what the next calls attend to.

        Arguments:
            tokens: (M, T, C), or one row for each that `rows` names; None: nothing.
            rows: (M,) bool, the rows of a call that attend; None: all.
        """
        self._tokens, self._rows = tokens, rows

    @contextmanager
    def engaged(self, unet: Any) -> Iterator[None]:
        """Raises `WeightsCorrupt` for a UNet of another shape."""
        if (widths := widths_of(unet)) != (own := [block.norm.normalized_shape[0] for block in self.attentions()]):
            raise WeightsCorrupt(f"this controller is for blocks of {own} channels, the UNet has {widths}: use its own")
        with ExitStack() as stack:
            stack.callback(self.set_tokens, None)
            for block, following in zip(transformer_blocks(unet), self.attentions(), strict=True):
                for hook in self._hooks(block, following):
                    stack.callback(hook.remove)
            stack.enter_context(eagerly(unet))
            yield

    def attentions(self) -> list[AddedAttention]:
        """The added attentions, typed."""
        return [block for block in self.blocks if isinstance(block, AddedAttention)]

    def _hooks(self, block: BasicTransformerBlock, following: AddedAttention) -> tuple[Any, Any]:
        residual: list[Tensor] = []

        def before(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            residual[:] = [args[0]]  # what the frozen cross-attention's output will be added to

        def after(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
            x = residual.pop()
            if self._tokens is None:
                return output
            if self._rows is None:
                return output + following(x + output, self._tokens)
            changed = output.clone()
            changed[self._rows] += following((x + output)[self._rows], self._tokens)
            return changed

        return block.norm2.register_forward_pre_hook(before), block.attn2.register_forward_hook(after)


def transformer_blocks(unet: Any) -> list[BasicTransformerBlock]:
    """All of a UNet that attend to what it is told, in its own order."""
    return [block for block in unet.modules() if isinstance(block, BasicTransformerBlock)]


def widths_of(unet: Any) -> list[int]:
    """Their channels."""
    return [int(block.norm2.normalized_shape[0]) for block in transformer_blocks(unet)]
