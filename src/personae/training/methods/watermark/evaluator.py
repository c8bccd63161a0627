"""How the mark's networks are judged: held-out pieces, one attack at a time."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from personae.provenance import carriers
from personae.provenance.payload import CHIPS
from personae.training.methods.watermark.attacks import Attack
from personae.training.methods.watermark.data import PhotoCrops
from personae.training.methods.watermark.export import STRENGTH

# A batch and what happens to it -> decibels (N,) of the pattern over all else on its waves, and PSNR (N,).
Ratios = Callable[[dict[str, Tensor], Attack, torch.Generator], tuple[Tensor, Tensor]]

ATTACKS = {
    "plain": Attack(),
    "jpeg70": Attack(quality=(70, 70)),
    "jpeg50": Attack(quality=(50, 50), codec="JPEG"),
    "webp80": Attack(quality=(80, 80), codec="WEBP"),
    "half": Attack(side=64),
    "cut80": Attack(cut=0.8, at=(0.3, 0.6)),
    "blur1": Attack(blur=1.0),
    "light": Attack(light=0.2),
    "chain": Attack(side=112, cut=0.9, at=(0.5, 0.2), quality=(75, 75), codec="JPEG"),
}


def report(ratios: Ratios, photos: PhotoCrops, side: int, home: torch.device) -> dict[str, float]:
    """PSNR; and per attack, the mean and the tenth percentile of the ratios, over pieces of `side` pixels."""
    rng, size = np.random.default_rng(1), len(photos)
    chips = rng.integers(0, 2, (size, CHIPS)) * 2.0 - 1
    batch = {
        "pictures": torch.from_numpy(np.stack([photos.draw(rng, side) for _ in range(size)])).to(home),
        "amplitudes": torch.from_numpy(carriers.amplitudes(chips)).to(home),
        "first": torch.from_numpy(rng.random((size, 2), np.float32)).to(home),
        "strengths": torch.full((size,), STRENGTH, device=home),
    }
    found = {}
    for name, attack in ATTACKS.items():
        decibels, fidelity = ratios(batch, attack, torch.Generator(home).manual_seed(0))
        found["psnr"] = float(fidelity.mean())
        found[name] = float(decibels.mean())
        found[f"{name}_low"] = float(decibels.quantile(0.1))
    return found
