"""DeepCache (Ma et al., CVPR 2024): the UNet's deep features, computed once for several neighbouring steps; a hook.

    cache = DeepCache(interval=2)
    with engaged([*hooks, cache], unet):
        denoise(guided(unet, positive, negative, 3.0, hooks=[*hooks, cache]), noise, scheduler)

In every `interval`-th step the whole UNet runs. In the steps between only its outermost layer does: `conv_in`, the
last layer of the last up block, which takes the fresh output of `conv_in` and the deep features of the last whole
step, and `conv_out`. A tenth of the arithmetic of SD 1.5.

One rule makes that out of the unchanged `UNet2DConditionModel.forward`: between whole steps, every module of the
inside answers what it answered last. Residuals of a ControlNet are therefore taken along as they are: those of the
outermost skip afresh, the others with the features that they were added to.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from personae.compiled import eagerly
from personae.conditioning.types import Conditioning, Rows
from personae.errors import BadOption
from personae.shapes import Float, Int64, Num

_Row = tuple[int, bool, int]  # `Rows.names`


@dataclass(kw_only=True)
class _Answers:
    """The inner modules' outputs in the last whole step: `answers` by the module's number, for `rows`; `age` in steps
    since then."""

    rows: list[_Row]
    age: int = 0
    answers: dict[int, Any] = field(default_factory=dict)


class DeepCache:
    """A `UNetHook` that must be the last of its request's, so that it sees no call that another hook makes while it
    prepares.

    A compiled UNet runs eagerly while one is engaged.

    interval: 1 runs the whole UNet in every step, 2 in every second. Each image counts its own steps, so that batches
    change nothing; a step that needs a side of guidance which the last whole one did not have is a whole one.
    """

    def __init__(self, interval: int) -> None:
        if interval < 1:
            raise BadOption(f"deep features are computed every 1, 2, 3... steps, got {interval}")
        self.interval = interval
        self._cache: dict[frozenset[int], _Answers] = {}  # by the images of a call
        self._now: _Answers | None = None  # the call in progress; None: not ours

    @contextmanager
    def engaged(self, unet: Any) -> Iterator[None]:
        """With the cache around the deep blocks of `unet` inside the block."""

        def finished(_module: Any, _inputs: Any, _output: Any) -> None:
            self._now = None

        with ExitStack() as stack:
            stack.callback(self._cache.clear)
            stack.enter_context(eagerly(unet))
            stack.callback(unet.register_forward_hook(finished, always_call=True).remove)
            for number, module in enumerate(inside(unet)):
                stack.enter_context(_instead(module, partial(self._answer, number)))
            yield

    def arguments(
        self, latents: Float[Tensor, "M c h w"], t: Num[Tensor, ""], conditioning: Conditioning, rows: Rows
    ) -> dict[str, Any]:
        """None: the blocks take what is cached."""
        wanted = rows.names()
        call = frozenset(rows.images.tolist())
        cached = self._cache.get(call)
        if cached is None or cached.age + 1 >= self.interval or not set(wanted) <= set(cached.rows):
            self._now = self._cache[call] = _Answers(rows=wanted)
            return {}
        if cached.rows != wanted:
            index = torch.tensor([cached.rows.index(row) for row in wanted], device=latents.device)
            cached.answers = {number: _rows_of(answer, index) for number, answer in cached.answers.items()}
            cached.rows = wanted
        cached.age += 1
        self._now = cached
        return {}

    def _answer(self, number: int, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self._now is None:
            return forward(*args, **kwargs)
        if self._now.age == 0:
            self._now.answers[number] = forward(*args, **kwargs)
        return self._now.answers[number]


def inside(unet: Any) -> list[Any]:
    """All that lies deeper than the outermost layer: the down blocks, the middle, the up blocks, and the last up
    block's layers but one."""
    *blocks, last = unet.up_blocks
    layers = [*last.resnets[:-1], *getattr(last, "attentions", [])[:-1]]
    middle = [] if unet.mid_block is None else [unet.mid_block]
    return [*unet.down_blocks, *middle, *blocks, *layers]


@contextmanager
def _instead(module: Any, answer: Callable[..., Any]) -> Iterator[None]:
    """`module(...)` is `answer(its own forward, ...)` inside the block."""
    own, had = module.forward, "forward" in vars(module)  # accelerate's hooks put one there, too
    module.forward = partial(answer, own)
    try:
        yield
    finally:
        if had:
            module.forward = own
        else:
            del module.forward


def _rows_of(answer: Any, index: Int64[Tensor, " M"]) -> Any:
    """The rows `index` (M,) of a tensor, or of every tensor in nested tuples."""
    return answer[index] if isinstance(answer, Tensor) else tuple(_rows_of(part, index) for part in answer)
