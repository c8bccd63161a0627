"""Recipe `watermark`: a mark in the pixels that nobody sees and that most of what happens to pictures leaves readable.

Every row is a piece of a picture with random chips at a random place of the pattern. The encoder writes them, as
strongly as the picture hides (`network.Mark.residual`): it learns where to put the pattern, never how much. The batch
is attacked; the decoder's evidence is projected onto the waves, whose places are known. The loss is the ratio of what
lies along the written pattern to what does not, in decibels, bent so that rows which are good enough stop counting.
"""

from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from personae.provenance import carriers
from personae.provenance.payload import CHIPS
from personae.shapes import Float, Shaped
from personae.training.images import to_tensor
from personae.training.loop import Metrics
from personae.training.methods.watermark.attacks import Attack
from personae.training.methods.watermark.data import PhotoCrops
from personae.training.methods.watermark.evaluator import report
from personae.training.methods.watermark.export import export_mark
from personae.training.methods.watermark.network import Mark
from personae.types import Array

SIZE = 128  # pixels of a piece; a canonical picture has four of them
STRENGTHS = (1.0, 2.2)  # of the residuals, from and to, in grey levels: whoever marks chooses
_ENOUGH, _BEND = 4.0, 3.0  # dB: where rows stop counting, and how softly


def marked(
    model: Mark, pictures: Float[Tensor, "N 3 _ _"], patterns: Float[Tensor, "N 1 H W"], strengths: Float[Tensor, " N"]
) -> Float[Tensor, "N 3 _ _"]:
    """Pictures (N, 3, 2H, 2W) in [-1, 1] with patterns (N, 1, H, W) in them, of strengths (N,) in grey levels."""
    residual = model.residual(model.unshuffle(pictures), patterns, strengths[:, None, None, None])
    full = F.interpolate(residual / 127.5, scale_factor=2, mode="bicubic", align_corners=False)
    return (pictures + full).clamp(-1, 1)


class Waves:
    """Where the waves of a piece lie, as tensors."""

    def __init__(self) -> None:
        down, across = carriers.wave_numbers()
        self.reach = int(carriers.HIGHEST)
        self.places = torch.from_numpy(down + self.reach), torch.from_numpy(across)

    def patterns(self, amplitudes: Tensor, first: Tensor, count: int) -> Tensor:
        """(N, 1, count, count) of amplitudes (N, K), the first sample `first` (N, 2) tiles into the pattern."""
        table = amplitudes.new_zeros(len(amplitudes), 2 * self.reach + 1, self.reach + 1)
        table[:, self.places[0], self.places[1]] = amplitudes
        position = torch.arange(count, device=first.device) / carriers.TILE
        down = self._exponentials(first[:, :1] + position, -self.reach)
        across = self._exponentials(first[:, 1:] + position, 0)
        return (down @ table @ across.mT).real[:, None] * 2**0.5

    def _exponentials(self, positions: Tensor, lowest: int) -> Tensor:
        numbers = torch.arange(lowest, self.reach + 1, device=positions.device)
        return torch.exp(2j * torch.pi * positions[..., None] * numbers)

    def projected(
        self, evidence: Float[Tensor, "N 1 H H"], first: Float[Tensor, "N 2"], step: float
    ) -> Shaped[Tensor, "N K"]:
        """Evidence (N, 1, H, H) -> amplitudes (N, K), least squares; a sample is `step` samples of the pattern."""
        position = torch.arange(evidence.shape[-1], device=first.device) * (step / carriers.TILE)
        # The phase of where a piece begins is a factor: one pseudo-inverse serves all rows.
        inverse = torch.linalg.pinv(self._exponentials(position, -self.reach))
        table = inverse @ evidence[:, 0].to(inverse.dtype) @ inverse.mT
        table = table[:, self.places[0], self.places[1] + self.reach]
        down, across = (place.to(first.device) for place in self.places)
        phase = first[:, :1] * (down - self.reach) + first[:, 1:] * across
        return table * torch.exp(-2j * torch.pi * phase)


class WatermarkTask:
    """See `training.loop.Trainable`. caches: labelled photos, and people who do not exist, if there are any."""

    def __init__(self, caches: list[Path]) -> None:
        self.photos = PhotoCrops.load(caches)
        self.tests = PhotoCrops.load(caches[:1], held_out=True, limit=48)
        self.waves = Waves()
        self.model = Mark()

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Array]:
        """Pieces (N, S, S, 3) uint8, chips (N, C), where in a tile each begins (N, 2)."""
        chips = rng.integers(0, 2, (size, CHIPS)) * 2.0 - 1
        return {
            "pictures": np.stack([self.photos.draw(rng, SIZE) for _ in range(size)]),
            "amplitudes": carriers.amplitudes(chips),
            "first": rng.random((size, 2), np.float32),
            "strengths": rng.uniform(*STRENGTHS, size).astype(np.float32),
        }

    def ratios(
        self, model: Mark, batch: dict[str, Tensor], attack: Attack, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Decibels (N,) of each row's pattern over all else on its waves; and PSNR (N,) of what was marked."""
        pictures, first = to_tensor(batch["pictures"]), batch["first"]
        patterns = self.waves.patterns(batch["amplitudes"], first, SIZE // 2)
        after = marked(model, pictures, patterns, batch["strengths"])
        fidelity = -10 * torch.log10((after - pictures).square().mean((1, 2, 3)) / 4)
        evidence = model.evidence(attack(after, generator)).float()
        # A sample's middle lies between its pixels, before the attack as after it.
        step = round(SIZE * attack.cut) / SIZE
        start = first.new_tensor(attack.start(SIZE)) / 2 + (step - 1) / 2
        found = self.waves.projected(evidence, first + start / carriers.TILE, step)
        along = (found * batch["amplitudes"].conj()).real.sum(1)
        whole = found.abs().pow(2).sum(1)
        cosine = along / (whole.sqrt() + 1e-9)
        square = cosine.pow(2).clamp(max=1 - 1e-6)
        ratio = 10 * torch.log10(square.clamp(min=1e-4) / (1 - square))
        # Below zero there is nothing to take a logarithm of; there the cosine itself is to grow.
        return torch.where(cosine > 0.1, ratio, -20 + 30 * (cosine - 0.1)), fidelity.detach()

    def loss(
        self, model: nn.Module, batch: dict[str, Shaped[Tensor, " ..."]], generator: torch.Generator
    ) -> tuple[Float[Tensor, ""], Metrics]:
        attack = Attack.drawn(generator)
        ratios, fidelity = self.ratios(model, batch, attack, generator)  # type: ignore[arg-type]
        figures = {"ratio": ratios.mean().detach(), "worst": ratios.min().detach(), "psnr": fidelity.mean()}
        return _BEND * F.softplus((_ENOUGH - ratios) / _BEND).mean(), figures

    def report(self, model: nn.Module) -> dict[str, float]:
        """See `evaluator.report`."""
        home = next(model.parameters()).device
        return report(partial(self.ratios, model), self.tests, SIZE, home)  # type: ignore[arg-type]

    def export(self, model: nn.Module, folder: Path) -> None:
        export_mark(model, folder)  # type: ignore[arg-type]
