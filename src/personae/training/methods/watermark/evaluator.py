"""How the mark's networks are judged: held-out pieces, one attack at a time."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from personae.provenance import carriers
from personae.provenance.payload import CHIPS
from personae.training.methods.watermark.attacks import Attack
from personae.training.methods.watermark.export import STRENGTH

if TYPE_CHECKING:
    from torch import nn

    from personae.training.methods.watermark.method import WatermarkTask

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


def report(task: "WatermarkTask", model: "nn.Module") -> dict[str, float]:
    """PSNR; and per attack, the mean and the tenth percentile, in dB, of the pattern over all else on its waves."""
    from personae.training.methods.watermark.method import SIZE

    rng = np.random.default_rng(1)
    size = len(task.tests)
    chips = rng.integers(0, 2, (size, CHIPS)) * 2.0 - 1
    home = next(model.parameters()).device
    batch = {
        "pictures": torch.from_numpy(np.stack([task.tests.draw(rng, SIZE) for _ in range(size)])).to(home),
        "amplitudes": torch.from_numpy(carriers.amplitudes(chips)).to(home),
        "first": torch.from_numpy(rng.random((size, 2), np.float32)).to(home),
        "strengths": torch.full((size,), STRENGTH, device=home),
    }
    found = {}
    for name, attack in ATTACKS.items():
        generator = torch.Generator(home).manual_seed(0)
        ratios, fidelity = task.ratios(model, batch, attack, generator)  # type: ignore[arg-type]
        found[name] = float(ratios.mean())
        found[f"{name}_low"] = float(ratios.quantile(0.1))
        found["psnr"] = float(fidelity.mean())
    return found
