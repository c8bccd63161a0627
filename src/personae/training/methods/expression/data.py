"""What `nano-expression` learns from: photos drawn so that rare expressions are met often, each with its own.

Legend: N rows; R of them sampled from noise.
"""

import numpy as np

from personae.conditioning.blendshapes import adapter_input
from personae.training import captions
from personae.training.face_table import FaceTable
from personae.training.methods.base.setting import Setting
from personae.training.mirror import mirrored_blendshapes
from personae.training.rarity import rarity
from personae.types import Array


class FacesWithExpressions:
    """`expressions` (2, N, 52), plain and mirrored, as the adapter takes them. dropout: the share of photos without
    their expression, half of those without identity too, for guidance."""

    def __init__(self, setting: Setting, table: FaceTable, *, dropout: float) -> None:
        self.faces, self.prompts, self.dropout = setting.faces, setting.prompts, dropout
        shapes = adapter_input(table.blendshapes)
        self.expressions = np.stack([shapes, shapes[:, mirrored_blendshapes()]])
        self.shares = self.faces.kinds.balanced(rarity(table.blendshapes))

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Array]:
        """Photos (`LatentFaces.photos`), with `tokens` (N, L) and `expressions` (N, 52), zeros for none."""
        rows = rng.choice(len(self.shares), size=size, p=self.shares)
        sides, lot = rng.integers(2, size=size), rng.random(size)
        expressions = self.expressions[sides, rows]
        expressions[lot < self.dropout] = 0
        prompts = [
            "" if draw < self.dropout / 2 else captions.identity_prompt(self.faces.measures[0][row])
            for draw, row in zip(lot, rows, strict=True)
        ]
        return {
            **self.faces.photos(rng, sides, rows),
            "tokens": self.prompts.tokens(prompts),
            "expressions": expressions,
        }
