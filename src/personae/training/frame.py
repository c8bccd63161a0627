"""Where a face lies in the pictures that a base makes, and how large these are.

HEAD.matrix(points)      # (2, 3), pixels of a photo -> pixels of the picture
of_model(folder)         # of a model folder
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from personae.errors import BadData
from personae.reading import align
from personae.shapes import Float, Float64, UInt8
from personae.types import Array

_FACE, _REACH = 4.0, 0.8  # how much the middle of a face counts, and how far from it that falls: in eye distances


@dataclass(frozen=True, kw_only=True)
class Frame:
    """template: of `reading.align`. side: pixels. cell: pixels a side of what one cell of the latents stands for."""

    template: str
    side: int
    cell: int

    @property
    def cells(self) -> int:
        """Of a picture's latents, a side."""
        return self.side // self.cell

    def matrix(self, points: Float[Array, "5 2"]) -> Float64[Array, "2 3"]:
        """The similarity from a photo with a face's five `points` to the picture."""
        return align.similarity(points, self.template, self.side)

    def points(self) -> Float64[Array, "5 2"]:
        """Where a face's five points lie, in pixels of the picture."""
        return np.array(align.template(self.template).points) * self.side - 0.5

    def focus(self) -> Float64[Array, "h w"]:
        """(h, w) how much a cell of the latents counts in a loss: `_FACE` times as much in the middle of a face as far
        from it. Beside its background and clothes a face is few cells, and what people look at."""
        points = self.points()
        distance = np.linalg.norm(points[1] - points[0])
        middles = np.arange(self.cells) * self.cell + (self.cell - 1) / 2
        x, y = ((middles - middle) / distance for middle in points.mean(0))
        return 1 + (_FACE - 1) * np.exp(-(x[None] ** 2 + y[:, None] ** 2) / (2 * _REACH**2))

    def inside(self, matrix: Float[Array, "2 3"], shape: tuple[int, ...]) -> UInt8[Array, "h w"]:
        """(h, w), 1 for the cells of the latents whose pixels all lie in a photo (H, W, ...) that `matrix` cuts."""
        # Photos have no dents: where a cell's corners lie inside, all of it does.
        edges = np.add.outer(np.arange(self.cells) * self.cell, (0, self.cell - 1)).ravel()
        corners = np.stack(np.meshgrid(edges, edges), -1).astype(np.float64)
        covered = align.covered(matrix, corners, shape)
        return np.asarray(covered.reshape(self.cells, 2, self.cells, 2).all((1, 3)), np.uint8)


PORTRAIT = Frame(template="portrait", side=128, cell=8)  # what `personae prepare` cuts
HEAD = Frame(template="head", side=192, cell=16)


def of_side(side: int) -> Frame:
    """The frame of pictures of `side` pixels. Raises `BadData` if no base makes such."""
    for frame in (PORTRAIT, HEAD):
        if frame.side == side:
            return frame
    raise BadData(f"no base makes pictures of {side} pixels a side: {PORTRAIT.side} or {HEAD.side}")


def latent_channels(export: Path) -> int:
    """Of the latents that the UNet in an export makes."""
    return int(json.loads((export / "unet" / "config.json").read_text())["in_channels"])


def of_model(folder: str | Path) -> Frame:
    """The frame of a model folder's pictures; of an export, which does not say, `PORTRAIT`."""
    index = Path(folder) / "model_index.json"
    name = json.loads(index.read_text()).get("crop_template") if index.is_file() else PORTRAIT.template
    return HEAD if name == HEAD.template else PORTRAIT
