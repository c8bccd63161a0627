"""What `facex-nano` learns from: labelled photos in decoupled views, and pairs that no photo shows.

Legend: M rows of a batch; S side of a crop; G the regions' grid; D numbers of an identity.
"""

from pathlib import Path
from typing import Any

import numpy as np

from personae.shapes import Int, Shaped
from personae.training import captions, self_edit_tasks
from personae.training.crop_motion import marks_in_crops
from personae.training.face_table import FaceTable
from personae.training.methods.base.setting import Setting
from personae.training.methods.facex.decomposed import Decomposed
from personae.training.methods.facex.lessons import drawn, is_own, moves
from personae.training.rarity import rarity
from personae.types import Array

_OTHERS = 0.6  # the share of the photos that are made from another view, of people who have some


class FacesToEdit:
    """folder: for what is read off faces. pairs: the share of a batch's rows that no photo shows."""

    def __init__(self, setting: Setting, table: FaceTable, folder: Path, *, pairs: float) -> None:
        self.setting, self.pairs = setting, pairs
        self.crops, self.marks, self.rows = table.crops, marks_in_crops(table), Decomposed.of(table, folder)
        # Wide poses and rare expressions are met often: half of the rows are drawn by `rarity`.
        turned = np.abs(self.rows.pose[:, :1]).clip(0, 1)
        rare = rarity(np.concatenate([self.rows.expression, turned], 1))
        self.shares = setting.faces.kinds.balanced(0.5 * rare + 0.5 / len(rare))
        held_out = setting.held_out.table
        self.held_out_rows, self.held_out_marks = Decomposed.of(held_out, folder), marks_in_crops(held_out)

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Any]:
        """As `lessons` has it; `latents`: of the photo that is made, or around a pair's free region; `inside`: its
        cells that the photo shows; `vectors` (M, D): the source's; `tokens`. The last rows are the pairs."""
        faces, pairs = self.setting.faces, max(1, round(size * self.pairs))
        lessons = np.concatenate([drawn(rng, size - pairs, "share"), drawn(rng, pairs, "pairs")])
        paired = np.arange(size) >= size - pairs
        own = paired & is_own(lessons)
        target = rng.choice(len(self.shares), size=size, p=self.shares)
        source = np.where(paired & ~own, rng.choice(len(self.shares), size=size, p=self.shares), target)
        source = np.where(paired, source, faces.others.draw(rng, target, _OTHERS))
        sides, other = np.where(own, 0, rng.integers(2, size=(2, size)))
        from_source = paired & moves(lessons)  # whose photo the canvas is
        around = np.where(from_source, source, target), np.where(from_source, other, sides)
        views = rng.integers(faces.vectors.shape[2], size=size)
        source_faces = _faces(self.rows, self.crops, source, other.astype(bool))
        target_faces = _faces(self.rows, self.crops, target, sides.astype(bool))
        template = self.setting.frame.template
        free = self_edit_tasks.ask(rng, lessons, own, self.marks[target], target_faces, template=template)
        return {
            "lessons": lessons.astype(np.int64),
            "pairs": pairs,
            "free": free,
            "latents": faces.latents[around[1], around[0]],
            "inside": faces.inside[sides, target],
            "vectors": faces.vectors[other, source, views],
            "tokens": self.setting.prompts.tokens([captions.identity_prompt(faces.measures[0][row]) for row in target]),
            "source": source_faces,
            "target": target_faces,
        }

    def held_out(self, rows: Int[Array, " M"]) -> dict[str, Shaped[Array, "M ..."]]:
        """What FaceX reads of held-out people, by their rows."""
        return _faces(self.held_out_rows, self.setting.held_out.table.crops, rows, np.zeros(len(rows), bool))


def _faces(rows: Decomposed, crops: Array, which: Array, mirrored: Array) -> dict[str, Array]:
    crop = crops[which]
    crop[mirrored] = crop[mirrored][:, :, ::-1]
    return {"crops": crop, **rows.at(which, mirrored)}
