"""Regions of a face as a network sees them, pixel by pixel: with a SegFormer that was trained to parse faces.

    parser = FaceParser.load(folder)                # config.json and model.safetensors, as transformers saves them
    parts = parser.parts(crops)                     # (N, 7, S, S) in the order of region_table.REGIONS

The optional part `parser/` of a model folder; without it regions are drawn from landmarks (`face_regions.py`), where
hair is geometry. Nobody's weights come with personae. Those of huggingface.co/jonathandinu/face-parsing fit (MIT, as
its page says; but its encoder is NVIDIA's MiT-B5 and its data are CelebAMask-HQ, both for non-commercial research
only).

Legend: N crops of S x S pixels; L labels of the network; R = 7 regions.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from personae.component_module import ComponentModule, execution_device
from personae.errors import WeightsCorrupt
from personae.reading.region_table import REGIONS
from personae.shapes import Float, Float32, UInt8
from personae.types import Array

# CelebAMask-HQ's labels (Lee et al. 2020) by the region that they are part of; whatever else there is, surrounds.
_LABELS = {
    "skin": ("skin", "l_ear", "r_ear"),
    "brows": ("l_brow", "r_brow"),
    "eyes": ("l_eye", "r_eye", "eye_g"),
    "nose": ("nose",),
    "mouth": ("mouth", "u_lip", "l_lip"),
    "hair": ("hair", "hat"),
}
_REQUIRED = ("skin", "l_brow", "l_eye", "nose", "mouth", "hair")
_SIDE = 512  # pixels, of what SegFormers for faces were trained on
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's


class FaceParser(ComponentModule):
    """A network that says of every pixel of a crop which region of a face it belongs to.

    Arguments:
        network: a `SegformerForSemanticSegmentation` with CelebAMask-HQ's labels.

    Attributes:
        into: (L, R), 1 where a label is part of a region.

    Raises `WeightsCorrupt` if the network's labels are not those of faces.
    """

    into: Float[Tensor, "L R"]

    def __init__(self, network: Any) -> None:
        named = {int(index): str(name) for index, name in network.config.id2label.items()}
        lacking = [name for name in _REQUIRED if name not in named.values()]
        if lacking:
            raise WeightsCorrupt(
                f"this parser does not tell {', '.join(lacking)} apart, its labels are {', '.join(named.values())}: "
                "use one that was trained on CelebAMask-HQ"
            )
        super().__init__()
        self.network = network.eval().requires_grad_(requires_grad=False)
        into = torch.zeros(len(named), len(REGIONS))
        for index, name in named.items():
            regions = [region for region, labels in _LABELS.items() if name in labels]
            into[index, REGIONS.index(regions[0] if regions else "surroundings")] = 1

        self.register_buffer("into", into, persistent=False)

    @classmethod
    def load(cls, folder: Path) -> "FaceParser":
        """Read what transformers saved. Raises `WeightsCorrupt` if it is no SegFormer that parses faces."""
        from transformers import SegformerForSemanticSegmentation  # late: few models have one

        try:
            network = SegformerForSemanticSegmentation.from_pretrained(
                folder, use_safetensors=True, local_files_only=True
            )
        except (OSError, ValueError, RuntimeError) as error:
            first = str(error).strip().splitlines()[0]
            raise WeightsCorrupt(f"{folder} is no SegFormer ({first}): fetch that folder again") from error
        try:
            return cls(network)
        except WeightsCorrupt as error:
            raise WeightsCorrupt(f"{folder}: {error}") from error

    def save(self, folder: Path) -> None:
        """Write the network into `folder`, as transformers does."""
        self.network.save_pretrained(folder)

    def forward(self, pixels: Float32[Tensor, "N 3 S S"]) -> Float32[Tensor, "N R S S"]:
        """How much of each pixel belongs to each region.

        Arguments:
            pixels: (N, 3, S, S) float32 in 0-1, RGB.

        Returns (N, R, S, S) float32 in 0-1, which sums to 1 over the regions.
        """
        mean, std = (torch.tensor(values, device=pixels.device)[:, None, None] for values in (_MEAN, _STD))
        scaled = F.interpolate(pixels, size=_SIDE, mode="bilinear", antialias=True)
        normal = ((scaled - mean) / std).to(self.dtype)
        labels: Tensor = self.network(pixel_values=normal).logits.float().softmax(1)
        found = torch.einsum("nlhw,lr->nrhw", labels, self.into.to(labels))
        found = F.interpolate(found, size=pixels.shape[-1], mode="bilinear", antialias=True)
        return found / found.sum(1, keepdim=True)

    @torch.no_grad()
    def parts(self, crops: Sequence[UInt8[Array, "S S 3"]]) -> Float32[Array, "N R S S"]:
        """`forward` of photos' crops, on the network's device.

        Arguments:
            crops: N of them, (S, S, 3) RGB uint8.

        Returns (N, R, S, S) float32 in 0-1, which sums to 1 over the regions.
        """
        pixels = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255
        return np.asarray(self(pixels.to(execution_device(self))).cpu().numpy())
