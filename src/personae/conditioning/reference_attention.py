"""The reference adapter (arXiv 2510.04706): self-attention that also attends to a reference photo.

    with record_self_attention(unet) as features:    # one pass over the clean latents, t = 0, with the identity prompt
        unet(latents, 0, ...)
    hook = ReferenceAttention(features, people=person_index)    # and its LoRA: engaged together, after the pass

The input of every transformer block's self-attention in that pass is appended to the block's keys and values, in the
conditional half of guidance only. The published code has a second UNet for the pass; as it differs from the denoiser by
the LoRA alone, the same network does it here before the LoRA is engaged.

Legend: P people; M rows of a call; L tokens of a block (pixels of its feature map), C its channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from diffusers.models.attention import BasicTransformerBlock
from torch import Tensor

from personae.compiled import eagerly
from personae.shapes import Float, Int64, Num

if TYPE_CHECKING:
    from personae.conditioning.types import Conditioning, Rows

Processor = Callable[..., Tensor]


@contextmanager
def record_self_attention(unet: Any) -> Iterator[dict[str, Float[Tensor, "P L C"]]]:
    """Yields a dictionary that one call of `unet` inside the block fills: by the name of each transformer block, the
    input (P, L, C) of its self-attention."""
    features: dict[str, Tensor] = {}
    with _around_self_attention(unet, lambda name, processor: _Recording(processor, features, name)):
        yield features


class ReferenceAttention:
    """A `UNetHook`: each image also attends to the features that were recorded for its person.

    Arguments:
        features: as `record_self_attention` yields them.
        people: (N,) the person of each image of the request, 0 to P - 1.
    """

    def __init__(self, features: Mapping[str, Float[Tensor, "P _ _"]], people: Sequence[int]) -> None:
        self._features, self._people = features, torch.tensor(people)
        self._call: _Call | None = None

    @contextmanager
    def engaged(self, unet: Any) -> Iterator[None]:
        """With the features appended in every self-attention of `unet` inside the block."""

        def appending(name: str, processor: Processor) -> Processor:
            return _Appending(processor, self._features[name], lambda: self._call)

        try:
            with _around_self_attention(unet, appending):
                yield
        finally:
            self._call = None

    def arguments(
        self, latents: Float[Tensor, "M c h w"], t: Num[Tensor, ""], conditioning: Conditioning, rows: Rows
    ) -> dict[str, Any]:
        """None: the attention takes the features."""
        self._call = _Call(rows, self._people, latents.device)
        return {}


class _Call:
    """Which rows of one UNet call look at the reference, and at whose; on the UNet's device, worked out once."""

    def __init__(self, rows: Rows, people: Int64[Tensor, " N"], device: torch.device) -> None:
        self.all, self.none = bool(rows.conditional.all()), not bool(rows.conditional.any())
        self.looking, self.blind = (
            side.nonzero().flatten().to(device) for side in (rows.conditional, ~rows.conditional)
        )
        self.people = people[rows.images[rows.conditional]].to(device)


class _Recording:
    def __init__(self, processor: Processor, features: dict[str, Tensor], name: str) -> None:
        self.processor, self.features, self.name = processor, features, name

    def __call__(self, attention: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        self.features[self.name] = hidden_states
        return self.processor(attention, hidden_states, *args, **kwargs)


class _Appending:
    """Self-attention over the block's own tokens and, in the rows that look, the recorded ones.

    The rows are split, not masked: the blind half computes what it always does, over L keys and not 2 L, and fused
    attention needs no mask.
    """

    def __init__(self, processor: Processor, features: Tensor, call: Callable[[], _Call | None]) -> None:
        self.processor, self.features, self.call = processor, features, call

    def __call__(
        self, attention: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **kwargs: Any
    ) -> Tensor:
        call = self.call()
        if call is None or call.none:
            return self.processor(attention, hidden_states, encoder_hidden_states, **kwargs)
        if call.all:
            return self._looking(attention, hidden_states, call, kwargs)
        result = torch.empty_like(hidden_states)
        result[call.blind] = self.processor(attention, hidden_states[call.blind], encoder_hidden_states, **kwargs)
        result[call.looking] = self._looking(attention, hidden_states[call.looking], call, kwargs)
        return result

    def _looking(self, attention: Any, own: Tensor, call: _Call, kwargs: dict[str, Any]) -> Tensor:
        return self.processor(attention, own, torch.cat([own, self.features[call.people]], dim=1), **kwargs)


@contextmanager
def _around_self_attention(unet: Any, wrap: Callable[[str, Processor], Processor]) -> Iterator[None]:
    """Every block's self-attention through `wrap(name, its processor)`; then as before."""
    blocks = {name: block for name, block in unet.named_modules() if isinstance(block, BasicTransformerBlock)}
    before = {name: block.attn1.processor for name, block in blocks.items()}
    try:
        for name, processor in before.items():
            blocks[name].attn1.set_processor(wrap(name, processor))
        with eagerly(unet):
            yield
    finally:
        for name, processor in before.items():
            blocks[name].attn1.set_processor(processor)
