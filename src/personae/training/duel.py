"""A generator and the judge that it learns from, in one step: what both trainings against a judge here share.

    wish = balanced(own_gradient, judge_gradient, share=0.5)
    loss = directed(output, wish) + judge_loss

The gradient of a picture is put together before it goes on into the generator, so that the judge's weights see none
of it, and so that neither side drowns the other.

Legend: N pictures, or latents of them, with any shape after that.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from personae.shapes import Float, Int


class Duel(nn.Module):
    """A generator, its judge, and for how many steps they have been at it: what a checkpoint must hold."""

    steps: Int[Tensor, ""]

    def __init__(self, generator: nn.Module, judge: nn.Module) -> None:
        super().__init__()
        self.generator, self.judge = generator, judge
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def share(self, ramp: int) -> float:
        """How much the judge has to say by now, 0 to 1: nothing in the first `ramp` steps, in which it learns alone,
        then more over as many."""
        return min(1.0, max(0.0, float(self.steps) / ramp - 1))


def balanced(own: Float[Tensor, "N ..."], judge: Float[Tensor, "N ..."], share: float) -> Float[Tensor, "N ..."]:
    """(N, ...): the generator's own gradient, and `share` times the judge's, made as strong, picture by picture."""
    strength = _norms(own) / _norms(judge).clamp_min(1e-12)
    return own + share * strength * judge


def directed(output: Float[Tensor, "N ..."], wish: Float[Tensor, "N ..."]) -> Float[Tensor, ""]:
    """Zero, with `wish` (N, ...) as its gradient in `output` (N, ...)."""
    product = (output * wish).sum()
    return product - product.detach()


def relativistic(better: Float[Tensor, "N ..."], worse: Float[Tensor, "N ..."]) -> Float[Tensor, ""]:
    """Small where the scores `better` (N, ...) are above those that they are paired with, `worse` (N, ...) (Jolicoeur-
    Martineau 2018, as in R3GAN, Huang et al. 2024)."""
    return F.softplus(worse.float() - better.float()).mean()


def _norms(gradient: Tensor) -> Tensor:
    return gradient.flatten(1).norm(dim=1).view(-1, *[1] * (gradient.ndim - 1))
