"""contact_sheet.draw(rows) -> PIL image: per row the real photo, what was generated, the likeness below

On a neutral grey, so that a colour cast has nothing to hide behind.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from personae.errors import BadData
from personae.shapes import UInt8
from personae.types import Array

_GREY, _INK, _SOFT = (119, 119, 119), (255, 255, 255), (205, 205, 205)
_GAP, _TEXT = 6, 18


@dataclass(frozen=True, kw_only=True)
class Row:
    """One person. `real` and each of `generated`: (H, W, 3) RGB uint8; `likeness`: a cosine per generated image,
    NaN = no face found, None = not judged; `caption` stands under the real photo."""

    real: UInt8[Array, "H W 3"]
    generated: Sequence[UInt8[Array, "h w 3"]]
    likeness: Sequence[float] | None = None
    caption: str = ""


def draw(rows: Sequence[Row], *, columns: int = 2, side: int = 128) -> Image.Image:
    """The sheet: people run down, then into the next of `columns`; every picture `side` pixels wide."""
    if not rows:
        raise BadData("a sheet needs at least one person")
    cells = 1 + max(len(row.generated) for row in rows)
    columns = min(columns, len(rows))
    lines = -(-len(rows) // columns)
    wide, high = cells * (side + _GAP) + 3 * _GAP, side + _TEXT + _GAP
    sheet = Image.new("RGB", (columns * wide + _GAP, lines * high + _GAP), _GREY)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for number, row in enumerate(rows):
        left, top = _GAP + number // lines * wide, _GAP + number % lines * high
        likeness: Sequence[float | None] = row.likeness or [None] * len(row.generated)
        marks = [row.caption, *map(_mark, likeness)]
        for cell, (pixels, mark) in enumerate(zip([row.real, *row.generated], marks, strict=True)):
            # The gap after the real photo is wider: what was given is not what was made.
            x = left + cell * (side + _GAP) + (2 * _GAP if cell else 0)
            picture = Image.fromarray(pixels).resize((side, side), Image.Resampling.LANCZOS)
            sheet.paste(picture, (x, top))
            pen.text((x + 2, top + side + 2), mark, fill=_INK if cell else _SOFT, font=font)
    return sheet


def _mark(likeness: float | None) -> str:
    if likeness is None:
        return ""
    return f"{likeness:.2f}" if np.isfinite(likeness) else "no face"
