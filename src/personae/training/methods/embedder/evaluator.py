"""How far an identity encoder agrees with its teacher on faces that trained nothing."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from personae.errors import BadData
from personae.shapes import Float
from personae.training.images import to_tensor
from personae.training.methods.embedder.data import FaceCrops, Jitter, degraded
from personae.training.methods.embedder.teacher import Teacher
from personae.types import Array

_TESTED = 800  # held-out faces of each kind


class Evaluator:
    """Held-out crops of photos and, if there are any, of people who do not exist: plain and spoilt, with the teacher's
    vectors of the plain ones."""

    def __init__(self, caches: Sequence[Path], teacher: Teacher) -> None:
        self.tests = {"photos": _test(caches[0], teacher)}
        for cache in caches[1:]:
            with suppress(BadData):  # among the first few hundred people perhaps none is held out
                self.tests["people"] = _test(cache, teacher)

    def figures(
        self, vectors: Callable[[Float[Tensor, "N 3 S S"]], Float[Tensor, "N D"]], device: torch.device
    ) -> dict[str, float]:
        """vectors: of crops on `device`. Cosine to the teacher's vector of the clean crop, of clean crops and of spoilt
        ones; of photos, the mean and spread between different people, and how the teacher sees these."""
        found = {}
        for name, test in self.tests.items():
            for state in ("plain", "spoilt"):
                parts = np.array_split(test[state], 16)
                answers = torch.cat([vectors(to_tensor(part).to(device)) for part in parts]).float().cpu()
                cosine = (answers * torch.from_numpy(test["vectors"])).sum(-1)
                found[f"{name}_{state}"] = float(cosine.mean())
                found[f"{name}_{state}_p5"] = float(cosine.quantile(0.05))
                if (name, state) == ("photos", "plain"):
                    for who, rows in (("", answers), ("teacher_", torch.from_numpy(test["vectors"]))):
                        apart = (rows @ rows.T)[~torch.eye(len(rows), dtype=torch.bool)]
                        found |= {f"{who}between": float(apart.mean()), f"{who}between_std": float(apart.std())}
        return found


def _test(cache: Path, teacher: Teacher) -> dict[str, Array]:
    held = FaceCrops.load([cache], held_out=True, limit=_TESTED)
    plain = [held.cut(row) for row in range(len(held))]
    rngs = [np.random.default_rng([1, row]) for row in range(len(held))]
    spoilt = [degraded(held.cut(row, jitter=Jitter(), rng=rng), rng) for row, rng in enumerate(rngs)]
    vectors = [teacher(crop)[0] for crop in plain]
    return {"plain": np.stack(plain), "spoilt": np.stack(spoilt), "vectors": np.stack(vectors)}
