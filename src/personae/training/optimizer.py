"""Muon (Jordan et al. 2024) for the hidden matrices of a network, AdamW for the rest, as one optimizer.

Muon steps along the nearest orthogonal matrix to the momentum: rare directions (a person's identity is one, beside
what all faces share) move as far as common ones. Convolutions count as matrices (out, in * height * width). Steps
are scaled to AdamW's root mean square (Liu et al. 2025, `0.2 * sqrt(longer side)`), so one learning rate serves both.
torch's own `Muon` takes plain matrices only.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPTextModel

from personae.sampling.fast.precision import best_dtype

_SMALLEST = 64  # the shorter side from which a matrix counts as hidden
_QUINTIC = (3.4445, -4.7750, 2.0315)
_WIDE = 2  # longer side by shorter side from which it pays to iterate on the square


def orthogonalised(matrices: Tensor, rounds: int = 5) -> Tensor:
    """(B, M, N) -> (B, M, N) of the device's faster precision: all singular values driven to about 1 by the quintic
    Newton-Schulz iteration."""
    x = matrices.to(best_dtype(matrices.device))
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    # Squares of bfloat16 are too coarse to go on with.
    wide = x.shape[2] >= _WIDE * x.shape[1] and x.dtype is torch.float32
    x = (_levelled_by_square if wide else _levelled)(x, rounds)
    return x.mT if tall else x


def _levelled(x: Tensor, rounds: int) -> Tensor:
    for _ in range(rounds):
        square = x @ x.mT
        x = torch.baddbmm(x, _quadratic(square), x, beta=_QUINTIC[0])
    return x


def _levelled_by_square(x: Tensor, rounds: int) -> Tensor:
    """The same: every round multiplies x by a polynomial of its square, so that the long side takes part in the first
    product and in the last alone."""
    square = x @ x.mT
    whole = torch.eye(len(square[0]), dtype=x.dtype, device=x.device).expand_as(square)
    for _ in range(rounds):
        factor = _quadratic(square)
        factor.diagonal(dim1=1, dim2=2).add_(_QUINTIC[0])
        whole = factor @ whole
        square = factor @ square @ factor
    return whole @ x


def _quadratic(square: Tensor) -> Tensor:
    """The polynomial of a square (B, M, M), but for its first term, a multiple of the identity."""
    _, b, c = _QUINTIC
    return torch.baddbmm(square, square, square, beta=b, alpha=c)


class Muon(torch.optim.AdamW):
    """Groups with `"hidden": True` are stepped by Muon, the others by AdamW."""

    def __init__(
        self,
        groups: list[dict[str, Any]],
        lr: float,
        betas: tuple[float, float],
        weight_decay: float,
        momentum: float = 0.95,
    ) -> None:
        groups = [{"hidden": False, "momentum": momentum} | group for group in groups]
        super().__init__(groups, lr, betas, weight_decay=weight_decay, fused=True)

    def __setstate__(self, state: dict[str, Any]) -> None:
        for one in state.get("state", {}).values():
            one.setdefault("step", torch.zeros(()))  # which torch's AdamW expects of every state that it loads
        super().__setstate__(state)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        every = self.param_groups
        for group in every:
            if group["hidden"]:
                self._step_hidden(group)
        self.param_groups = [group for group in every if not group["hidden"]]
        try:
            return super().step(closure)
        finally:
            self.param_groups = every

    def _step_hidden(self, group: dict[str, Any]) -> None:
        alike = defaultdict(list)  # by shape: stacked, small matrices keep the machine busy
        for parameter in group["params"]:
            if parameter.grad is not None:
                alike[parameter.shape].append(parameter)
        for shape, parameters in alike.items():
            gradients = [parameter.grad for parameter in parameters]
            for parameter in parameters:
                if not self.state[parameter]:
                    self.state[parameter]["momentum"] = torch.zeros_like(parameter)
            momenta = [self.state[parameter]["momentum"] for parameter in parameters]
            torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
            ahead = torch._foreach_lerp(gradients, momenta, group["momentum"])  # Nesterov's
            steps = orthogonalised(torch.stack([one.flatten(1) for one in ahead]))
            scale = 0.2 * max(steps.shape[1:]) ** 0.5
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            for parameter, step in zip(parameters, steps, strict=True):
                parameter.add_(step.reshape(shape), alpha=-group["lr"] * scale)


def grouped(model: nn.Module, *, hidden: bool) -> list[dict[str, Any]]:
    """The trainable parameters of `model` as groups for `Muon`: hidden matrices, other matrices, vectors (which do
    not decay). Without `hidden`, no matrix counts as hidden, and AdamW steps all. A text encoder's never do: they are
    few and large, and to level nano's took as long as to level its UNet's."""
    outside = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, nn.Embedding | CLIPTextModel)
        for parameter in module.parameters()
    }
    inner, other, plain = [], [], []
    for parameter in model.parameters():
        if not parameter.requires_grad:
            continue
        if parameter.ndim < 2:
            plain.append(parameter)
        elif hidden and id(parameter) not in outside and min(parameter.shape[0], parameter[0].numel()) >= _SMALLEST:
            inner.append(parameter)
        else:
            other.append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": inner, "hidden": True},
        {"params": other},
        {"params": plain, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
