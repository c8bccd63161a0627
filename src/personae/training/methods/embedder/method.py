"""Recipes `nano-embedder`, `nano-embedder-longer`: the identity encoder, distilled to agree with a teacher's vectors.

Half of every batch are pictures that somebody may show it: photos and views of people who do not exist, cut a little
off and spoilt in every way, with the teacher's vector of the *clean* crop as target, so that the student learns to see
through all that. The other half are pictures that no photo shows - two faces blended or cut together, stretched,
mirrored - which the teacher embeds on the spot: function matching (Beyer et al., "Knowledge distillation: a good
teacher is patient and consistent", CVPR 2022).
"""

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from personae.errors import BadData
from personae.shapes import Float, Shaped
from personae.training.images import to_tensor
from personae.training.loop import Metrics
from personae.training.methods.embedder.data import FaceCrops, Jitter, degraded
from personae.training.methods.embedder.network import Distilled
from personae.training.methods.embedder.teacher import Teacher
from personae.training.methods.embedder.unfold import unfolded
from personae.types import Array

_BANK = 1024  # people of each batch whom everybody is compared with
_TEMPERATURE = 0.1  # of that comparison
_TESTED = 800  # held-out faces of each kind in the report
_STRETCHED = Jitter(points=0.05, shift=0.025, turn=7, scale=0.08)  # of pictures that the teacher embeds on the spot


def _fused(one: Array, other: Array, rng: np.random.Generator) -> Array:
    """A face that nobody has: two aligned faces blended, or cut together along a soft line."""
    if rng.random() < 0.5:
        share: Any = rng.uniform(0.2, 0.8)
    else:
        y, x = np.mgrid[-1:1:112j, -1:1:112j]
        angle = rng.uniform(0, 2 * np.pi)
        share = (1 / (1 + np.exp(-12 * (np.cos(angle) * x + np.sin(angle) * y - rng.uniform(-0.3, 0.3)))))[..., None]
    return np.clip(one * share + other * (1 - share), 0, 255).astype(np.uint8)


def _between(vectors: Tensor) -> Tensor:
    """Mean cosine between different rows of (N, D) unit vectors."""
    count = len(vectors)
    return (vectors.sum(0).pow(2).sum() - count) / (count * (count - 1))


class EmbedderTask:
    """See `training.loop.Trainable`.

    caches: labelled photos, and after them, if there are any, people who do not exist, who are drawn as often as photos
    once there are as many, before that more rarely. start: an `embedder.onnx` to go on from.
    """

    def __init__(self, caches: list[Path], teachers: Path, *, start: Path | None = None) -> None:
        self.teacher = Teacher(teachers / "mobilefacenet.onnx")
        self.kinds = [FaceCrops.load([cache]) for cache in caches]
        sizes = np.array([len(kind) for kind in self.kinds])
        self.shares = np.minimum(sizes, sizes[0]) / np.minimum(sizes, sizes[0]).sum()
        self.bank = np.concatenate([kind.vectors for kind in self.kinds])
        self._clean: dict[tuple[int, int, bool], Array] = {}  # teacher vectors of clean crops, as far as computed
        self.tests = {"photos": self._test(caches[0])}
        for cache in caches[1:]:
            with suppress(BadData):  # among the first few hundred people perhaps none is held out
                self.tests["people"] = self._test(cache)
        crops = np.stack([self.kinds[0].cut(row) for row in range(min(256, len(self.kinds[0])))])
        maps = np.stack([self.teacher(crop)[1] for crop in crops])
        self.mean, self.spread = maps.mean((0, 2, 3)), maps.std((0, 2, 3)) + 1e-3
        self.model = Distilled()
        if start is not None:
            unfolded(self.model.embedder, start, to_tensor(crops))

    def _test(self, cache: Path) -> dict[str, Array]:
        """Held-out crops, plain and spoilt, and the teacher's vectors of the plain ones."""
        held = FaceCrops.load([cache], held_out=True, limit=_TESTED)
        plain = [held.cut(row) for row in range(len(held))]
        rngs = [np.random.default_rng([1, row]) for row in range(len(held))]
        spoilt = [degraded(held.cut(row, jitter=Jitter(), rng=rng), rng) for row, rng in enumerate(rngs)]
        vectors = [self.teacher(crop)[0] for crop in plain]
        return {"plain": np.stack(plain), "spoilt": np.stack(spoilt), "vectors": np.stack(vectors)}

    def _row(self, rng: np.random.Generator) -> tuple[int, int, bool]:
        kind = int(rng.choice(len(self.kinds), p=self.shares))
        return kind, int(rng.integers(len(self.kinds[kind]))), bool(rng.random() < 0.5)

    def _spoilt(self, rng: np.random.Generator) -> tuple[Array, Array]:
        """A face as somebody may show it, and the teacher's vector of its clean crop."""
        kind, row, mirrored = key = self._row(rng)
        if key not in self._clean:
            self._clean[key] = self.teacher(self.kinds[kind].cut(row, mirrored=mirrored))[0]
        crop = self.kinds[kind].cut(row, mirrored=mirrored, jitter=Jitter(), rng=rng)
        return degraded(crop, rng), self._clean[key]

    def _odd(self, rng: np.random.Generator) -> Array:
        """A picture to ask the teacher about."""

        def cut() -> Array:
            kind, row, mirrored = self._row(rng)
            return self.kinds[kind].cut(row, mirrored=mirrored, jitter=_STRETCHED, rng=rng)

        image = _fused(cut(), cut(), rng) if rng.random() < 0.6 else cut()
        return degraded(image, rng) if rng.random() < 0.4 else image

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Shaped[Array, " ..."]]:
        """Half of them odd, which come first, half spoilt."""
        spoilt = [self._spoilt(rng) for _ in range(size // 2)]
        odd = [self._odd(rng) for _ in range(size - len(spoilt))]
        answers = [self.teacher(image) for image in odd]
        maps = np.stack([answer[1] for answer in answers])
        return {
            "crops": np.stack([*odd, *(pair[0] for pair in spoilt)]),
            "targets": np.stack([*(answer[0] for answer in answers), *(pair[1] for pair in spoilt)]),
            "maps": (maps - self.mean[:, None, None]) / self.spread[:, None, None],
            "bank": self.bank[rng.integers(len(self.bank), size=_BANK)],
        }

    def loss(
        self, model: nn.Module, batch: dict[str, Shaped[Tensor, " ..."]], generator: torch.Generator
    ) -> tuple[Float[Tensor, ""], Metrics]:
        vectors, features = model(to_tensor(batch["crops"]))
        odd, targets = len(batch["maps"]), batch["targets"]
        cosine = (vectors * targets).sum(-1)
        hint = (features[:odd].float() - batch["maps"]).pow(2).mean()
        # A student that hedges draws all people together: hold it to the teacher's distances between them, and to
        # whom of a thousand others the teacher sees the likeness.
        relation = (vectors @ vectors.T - targets @ targets.T).pow(2).mean()
        likeness, goal = (found @ batch["bank"].T / _TEMPERATURE for found in (vectors, targets))
        others = F.kl_div(likeness.log_softmax(-1), goal.log_softmax(-1), log_target=True, reduction="batchmean")
        figures = {"spoilt": cosine[odd:].mean().detach(), "odd": cosine[:odd].mean().detach()}
        figures |= {"hint": hint.detach(), "relation": relation.detach(), "others": others.detach()}
        return 1 - cosine.mean() + hint + 4 * relation + 0.2 * others, figures

    def report(self, model: nn.Module) -> dict[str, float]:
        """Held out: cosine to the teacher's vector of the clean crop, of clean crops and of spoilt ones; of photos, the
        mean and spread between different people, and how the teacher sees these."""
        home = next(model.parameters()).device
        found = {}
        for name, test in self.tests.items():
            for state in ("plain", "spoilt"):
                parts = np.array_split(test[state], 16)
                answers_of = torch.cat([model(to_tensor(part).to(home))[0] for part in parts]).float().cpu()
                cosine = (answers_of * torch.from_numpy(test["vectors"])).sum(-1)
                found[f"{name}_{state}"] = float(cosine.mean())
                found[f"{name}_{state}_p5"] = float(cosine.quantile(0.05))
                if (name, state) == ("photos", "plain"):
                    for who, vectors in (("", answers_of), ("teacher_", torch.from_numpy(test["vectors"]))):
                        apart = (vectors @ vectors.T)[~torch.eye(len(vectors), dtype=torch.bool)]
                        found |= {f"{who}between": float(apart.mean()), f"{who}between_std": float(apart.std())}
        return found

    def _spread_out(self, count: int = 2000) -> None:
        """Take as much of the mean vector out of the last bias as puts strangers as far apart as the teacher does.

        A student that explains 80 % of its teacher leans towards the mean; a shift of the bias undoes that, and
        costs nothing.
        """
        embedder = self.model.embedder.eval()
        photos, last = self.kinds[0], embedder.head[-1]
        crops = np.stack([photos.cut(row) for row in range(min(count, len(photos)))])
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            home = last.weight.device
            parts = (to_tensor(part).to(home) for part in np.array_split(crops, 16))
            raw = torch.cat([embedder.head(embedder.trunk(part)) for part in parts])
            goal = _between(torch.from_numpy(photos.vectors[:count]).to(home))
            shares = torch.linspace(0, 1, 101, device=home)
            gaps = torch.stack([(_between(F.normalize(raw - s * raw.mean(0), dim=-1)) - goal).abs() for s in shares])
            last.bias.sub_(shares[gaps.argmin()] * raw.mean(0))

    def export(self, model: nn.Module, folder: Path) -> None:
        """`embedder.onnx`, and the torch weights beside it."""
        self._spread_out()
        from personae.training.export_onnx import export_onnx

        folder.mkdir(parents=True, exist_ok=True)
        torch.save(self.model.embedder.state_dict(), folder / "embedder.pt")
        export_onnx(
            self.model.embedder.eval(),
            torch.zeros(2, 3, 112, 112),
            folder / "embedder.onnx",
            input_names=["crop"],
            output_names=["identity"],
        )
