"""An identity encoder as a reader's part: `embedder.onnx`, and the torch weights beside it."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from personae.training.images import to_tensor
from personae.training.methods.embedder.data import FaceCrops
from personae.training.methods.embedder.network import Embedder

_COUNT = 2000  # photos by which strangers are spread out


def export(embedder: Embedder, photos: FaceCrops, folder: Path) -> None:
    """photos: labelled by the teacher, by whom strangers are spread out as the teacher spreads them."""
    from personae.training.export_onnx import export_onnx

    _spread_out(embedder.eval(), photos)
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(embedder.state_dict(), folder / "embedder.pt")
    export_onnx(
        embedder,
        torch.zeros(2, 3, 112, 112),
        folder / "embedder.onnx",
        input_names=["crop"],
        output_names=["identity"],
    )


def _between(vectors: Tensor) -> Tensor:
    """Mean cosine between different rows of (N, D) unit vectors."""
    count = len(vectors)
    return (vectors.sum(0).pow(2).sum() - count) / (count * (count - 1))


def _spread_out(embedder: Embedder, photos: FaceCrops) -> None:
    """Take as much of the mean vector out of the last bias as puts strangers as far apart as the teacher does.

    A student that explains 80 % of its teacher leans towards the mean; a shift of the bias undoes that, and
    costs nothing.
    """
    last = embedder.head[-1]
    crops = np.stack([photos.cut(row) for row in range(min(_COUNT, len(photos)))])
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        home = last.weight.device
        parts = (to_tensor(part).to(home) for part in np.array_split(crops, 16))
        raw = torch.cat([embedder.head(embedder.trunk(part)) for part in parts])
        goal = _between(torch.from_numpy(photos.vectors[:_COUNT]).to(home))
        shares = torch.linspace(0, 1, 101, device=home)
        gaps = torch.stack([(_between(F.normalize(raw - s * raw.mean(0), dim=-1)) - goal).abs() for s in shares])
        last.bias.sub_(shares[gaps.argmin()] * raw.mean(0))
