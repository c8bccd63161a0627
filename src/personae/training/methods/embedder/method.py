"""Recipe `nano-embedder-longer`: the identity encoder goes on, as one, until it agrees with a teacher's vectors.

Half of every batch are pictures that somebody may show it: photos and views of people who do not exist, cut a little
off and spoilt in every way, with the teacher's vector of the *clean* crop as target, so that the student learns to see
through all that. The other half are pictures that no photo shows - two faces blended or cut together, stretched,
mirrored - which the teacher embeds on the spot: function matching (Beyer et al., "Knowledge distillation: a good
teacher is patient and consistent", CVPR 2022).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from personae.shapes import Float, Shaped
from personae.training.images import to_tensor
from personae.training.loop import Metrics
from personae.training.methods.embedder.draw import DrawnFaces, Row
from personae.training.methods.embedder.evaluator import Evaluator
from personae.training.methods.embedder.export import export
from personae.training.methods.embedder.network import Distilled
from personae.training.methods.embedder.teacher import Teacher
from personae.training.methods.embedder.unfold import unfolded
from personae.types import Array

_BANK = 1024  # people of each batch whom everybody is compared with
_TEMPERATURE = 0.1  # of that comparison


class EmbedderTask:
    """See `training.loop.Trainable`.

    caches: as `DrawnFaces` takes them. start: an `embedder.onnx` to go on from.
    """

    def __init__(self, caches: Sequence[Path], teachers: Path, *, start: Path) -> None:
        self.teacher = Teacher(teachers / "mobilefacenet.onnx")
        self.faces = DrawnFaces(caches)
        self.bank = np.concatenate([kind.vectors for kind in self.faces.kinds])
        self._clean: dict[Row, Array] = {}  # teacher vectors of clean crops, as far as computed
        self.evaluator = Evaluator(caches, self.teacher)
        photos = self.faces.kinds[0]
        crops = np.stack([photos.cut(row) for row in range(min(256, len(photos)))])
        maps = np.stack([self.teacher(crop)[1] for crop in crops])
        self.spread = torch.from_numpy(maps.std((0, 2, 3)) + 1e-3)[:, None, None]
        self.model = Distilled()
        unfolded(self.model.embedder, start, to_tensor(crops))

    def _spoilt(self, rng: np.random.Generator) -> tuple[Array, Array]:
        """A face as somebody may show it, and the teacher's vector of its clean crop."""
        row = self.faces.row(rng)
        if row not in self._clean:
            self._clean[row] = self.teacher(self.faces.clean(row))[0]
        return self.faces.spoilt(row, rng), self._clean[row]

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Shaped[Array, " ..."]]:
        """Half of them odd, which come first, half spoilt."""
        spoilt = [self._spoilt(rng) for _ in range(size // 2)]
        odd = [self.faces.odd(rng) for _ in range(size - len(spoilt))]
        answers = [self.teacher(image) for image in odd]
        return {
            "crops": np.stack([*odd, *(pair[0] for pair in spoilt)]),
            "targets": np.stack([*(answer[0] for answer in answers), *(pair[1] for pair in spoilt)]),
            "maps": np.stack([answer[1] for answer in answers]),
            "bank": self.bank[rng.integers(len(self.bank), size=_BANK)],
        }

    def loss(
        self, model: nn.Module, batch: dict[str, Shaped[Tensor, " ..."]], generator: torch.Generator
    ) -> tuple[Float[Tensor, ""], Metrics]:
        vectors, features = model(to_tensor(batch["crops"]))
        odd, targets = len(batch["maps"]), batch["targets"]
        cosine = (vectors * targets).sum(-1)
        off = (features[:odd].float() - batch["maps"]) / self.spread.to(vectors.device)
        hint = off.pow(2).mean()
        # A student that hedges draws all people together: hold it to the teacher's distances between them, and to
        # whom of a thousand others the teacher sees the likeness.
        relation = (vectors @ vectors.T - targets @ targets.T).pow(2).mean()
        likeness, goal = (found @ batch["bank"].T / _TEMPERATURE for found in (vectors, targets))
        others = F.kl_div(likeness.log_softmax(-1), goal.log_softmax(-1), log_target=True, reduction="batchmean")
        figures = {"spoilt": cosine[odd:].mean().detach(), "odd": cosine[:odd].mean().detach()}
        figures |= {"hint": hint.detach(), "relation": relation.detach(), "others": others.detach()}
        return 1 - cosine.mean() + hint + 4 * relation + 0.2 * others, figures

    def report(self, model: nn.Module) -> dict[str, float]:
        """See `Evaluator.figures`."""
        return self.evaluator.figures(lambda crops: model(crops)[0], next(model.parameters()).device)

    def export(self, model: nn.Module, folder: Path) -> None:
        """`embedder.onnx`, and the torch weights beside it."""
        export(self.model.embedder, self.faces.kinds[0], folder)
