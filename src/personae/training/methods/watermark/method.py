"""Recipe `watermark`: a mark in the pixels that nobody sees and that most of what happens to pictures leaves readable.

Every row is a piece of a picture with random chips at a random place of the pattern. The encoder writes them, its
residual is scaled to a fidelity (`DECIBELS`), so that the encoder learns where to put it, never how much; the batch is attacked; the decoder's evidence is projected onto the waves, whose places are known. The loss is the
ratio of what lies along the written pattern to what does not, in decibels, bent so that rows which are good enough stop
counting.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from personae.provenance import carriers
from personae.provenance.payload import CHIPS
from personae.training.images import to_tensor
from personae.training.loop import Metrics
from personae.training.methods.watermark.attacks import Attack
from personae.training.methods.watermark.data import PhotoCrops
from personae.training.methods.watermark.network import Mark
from personae.types import Array

SIZE = 128  # pixels of a piece; a canonical picture has four of them
DECIBELS = (39.5, 43.0)  # PSNR of the pieces, from and to: whoever marks chooses
_ENOUGH, _BEND = 4.0, 3.0  # dB: where rows stop counting, and how softly
_VISIBLE = 3.0  # weight of residual in places that hide nothing


def scaled(residual: Tensor, decibels: Tensor) -> Tensor:
    """A residual (N, 1, H, W) at the size, in pixels of [-1, 1], that makes a PSNR (N,)."""
    power = residual.pow(2).mean((1, 2, 3), keepdim=True)
    return residual * (12 * 10 ** (-decibels[:, None, None, None] / 10) / power.clamp(min=1e-12)).sqrt()


def marked(model: Mark, pictures: Tensor, patterns: Tensor, decibels: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures (N, 3, 2H, 2W) with patterns (N, 1, H, W) in them at PSNR (N,), and their residuals (N, 1, H, W)."""
    residual = scaled(model.encoder(pictures, patterns), decibels)
    full = F.interpolate(residual, scale_factor=2, mode="bicubic", align_corners=False)
    return (pictures + full * model.direction()).clamp(-1, 1), residual


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

    def projected(self, evidence: Tensor, first: Tensor, step: float) -> Tensor:
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
            "decibels": rng.uniform(*DECIBELS, size).astype(np.float32),
        }

    def ratios(
        self, model: Mark, batch: dict[str, Tensor], attack: Attack, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Decibels (N,) of each row's pattern over all else on its waves; and pictures, residuals."""
        pictures, first = to_tensor(batch["pictures"]), batch["first"]
        patterns = self.waves.patterns(batch["amplitudes"], first, SIZE // 2)
        after, residual = marked(model, pictures, patterns, batch["decibels"])
        evidence = model.decoder(attack(after, generator)).float()
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
        return torch.where(cosine > 0.1, ratio, -20 + 30 * (cosine - 0.1)), pictures, residual

    def loss(self, model: nn.Module, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, Metrics]:
        attack = Attack.drawn(generator)
        ratios, pictures, residual = self.ratios(model, batch, attack, generator)  # type: ignore[arg-type]
        short = _BEND * F.softplus((_ENOUGH - ratios) / _BEND).mean()
        visible = (residual.pow(2) * quietness(pictures)).mean() / residual.pow(2).mean()
        figures = {"ratio": ratios.mean().detach(), "worst": ratios.min().detach(), "visible": visible.detach()}
        return short + _VISIBLE * visible, figures

    def report(self, model: nn.Module) -> dict[str, float]:
        from personae.training.methods.watermark.evaluator import report

        return report(self, model)

    def export(self, model: nn.Module, folder: Path) -> None:
        from personae.training.methods.watermark.export import export_mark

        export_mark(model, folder)


def quietness(pictures: Tensor) -> Tensor:
    """(N, 1, H, W) of pictures (N, 3, 2H, 2W): near 1 where a change shows, near 0 where structure hides it."""
    luma = F.avg_pool2d(pictures.mean(1, keepdim=True) * 127.5, 2)
    mean = F.avg_pool2d(luma, 5, 1, 2, count_include_pad=False)
    spread = F.avg_pool2d(luma.pow(2), 5, 1, 2, count_include_pad=False) - mean.pow(2)
    return 1 / (1 + spread.clamp(min=0) / 16)
