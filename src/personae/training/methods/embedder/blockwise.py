"""Recipe `nano-embedder`: the identity encoder from nothing, block by block.

Each block of the student is shown what the teacher's block before it makes, and learns what the teacher's own block
makes of that: shallow regressions, all at once, with every place of every map as an example, where a whole network of
the same data has 128 numbers a picture (Romero et al., "FitNets", ICLR 2015; Blakeney et al., "Parallel blockwise
knowledge distillation", 2020). `nano-embedder-longer` then trains the chain as one, on pictures in every quality.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from personae.shapes import Float, Shaped
from personae.training.images import to_tensor
from personae.training.loop import Metrics
from personae.training.methods.embedder.draw import DrawnFaces
from personae.training.methods.embedder.evaluator import Evaluator
from personae.training.methods.embedder.export import export
from personae.training.methods.embedder.network import Block, Blockwise
from personae.training.methods.embedder.teacher import Teacher
from personae.types import Array

# Of a batch, by the side of the map that a block makes: large maps have more examples, and cost the most.
_SHARES = {56: 0.125, 28: 0.125, 14: 0.5}


class BlockwiseTask:
    """See `training.loop.Trainable`. caches: as `DrawnFaces` takes them."""

    def __init__(self, caches: Sequence[Path], teachers: Path) -> None:
        self.teacher = Teacher(teachers / "mobilefacenet.onnx")
        self.faces = DrawnFaces(caches)
        self.evaluator = Evaluator(caches, self.teacher)
        self.model = Blockwise()

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Shaped[Array, " ..."]]:
        """Odd crops, and as `unit_0` ... what each unit of the teacher makes of them: of the first few, where maps are
        large, and always of as many as the next unit needs."""
        crops = [self.faces.odd(rng) for _ in range(size)]
        answers = [self.teacher.units(crop) for crop in crops]
        counts = [_count(answer, size) for answer in answers[0]]
        units = {
            f"unit_{number}": np.stack([answer[number] for answer in answers[:count]])
            for number, count in enumerate([*counts[1:], size])
        }
        return {"crops": np.stack(crops), **units}

    def loss(
        self, model: nn.Module, batch: dict[str, Shaped[Tensor, " ..."]], generator: torch.Generator
    ) -> tuple[Float[Tensor, ""], Metrics]:
        """Of each unit the error, as a share of the variance of what it adds to its input."""
        crops = to_tensor(batch["crops"])
        answers = [batch[f"unit_{number}"] for number in range(len(self.model.embedder.units))]
        goals = [answer[: _count(answer[0], len(crops))] for answer in answers]
        inputs = [x[: len(goal)] for x, goal in zip([crops, *answers], goals, strict=False)]
        found = model([x.contiguous(memory_format=torch.channels_last) for x in inputs])
        total, figures = torch.zeros((), device=crops.device), Metrics()
        for number, unit in enumerate(self.model.embedder.units):
            goal = goals[number]
            added = goal - inputs[number] if isinstance(unit, Block) and unit.added else goal
            error = (found[number].float() - goal).pow(2).mean() / added.var()
            total = total + error
            figures[f"unit_{number:02}"] = error.detach()
        return total, figures

    def report(self, model: nn.Module) -> dict[str, float]:
        """Of the whole chain: see `Evaluator.figures`."""
        return self.evaluator.figures(self.model.embedder, next(model.parameters()).device)

    def export(self, model: nn.Module, folder: Path) -> None:
        """`embedder.onnx`, and the torch weights beside it."""
        export(self.model.embedder, self.faces.kinds[0], folder)


def _count(answer: Array | Tensor, size: int) -> int:
    """How many pictures of a batch of `size` a unit learns from that makes (C, h, w) or (D,)."""
    return max(2, round(_SHARES.get(answer.shape[-1], 1) * size))
