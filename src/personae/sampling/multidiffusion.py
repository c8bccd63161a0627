"""Pictures larger than the model's own size, predicted in overlapping windows (MultiDiffusion, Bar-Tal et al., ICML
2023, arXiv 2302.08113).

    windows = MultiDiffusion.for_regions(masks, side=16)            # one around each region, more where there is none
    predict = windows(guided(unet, positive, negative, 3.0), scheduler)     # positive: N x K rows
    denoise(predict, noise, scheduler)              # noise (N, c, h, w)

In every step each window is predicted by itself, with its own conditioning, and where windows overlap their predictions
are averaged. To the network, a window is an ordinary picture.

Legend: N pictures, P people, K windows of `side` x `side` cells, (h, w) the cells of a picture's latents.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from personae.errors import BadOption
from personae.sampling.guidance import Predict
from personae.shapes import Bool, Float, Shaped

Corner = tuple[int, int]  # row, column of the first cell


@dataclass(frozen=True, kw_only=True, eq=False)
class MultiDiffusion:
    """K windows over the latents of a picture.

    Attributes:
        side: of each window, in cells.
        grid: (h, w), the cells of a picture.
        corners: row and column of each window's first cell.
        people: the number of the person that each window shows; None: nobody.
        weights: (K, side, side), the share of each window in the prediction of its cells; they sum to 1 in every cell.

    Called as `personae.controls.request.PredictionWrapper`, with what predicts N K windows, those of a picture one
    after the other.
    """

    side: int
    grid: tuple[int, int]
    corners: Sequence[Corner]
    people: Sequence[int | None]
    weights: Float[Tensor, "K side side"]

    @classmethod
    def for_regions(cls, regions: Bool[Tensor, "P h w"], side: int) -> "MultiDiffusion":
        """A window around the middle of each region, and more of them where these leave cells out.

        Arguments:
            regions: (P, h, w) bool, one for each person. In a region its own window alone counts; elsewhere the weight
                of a window grows with the distance from its edge.
            side: of a window, in cells.

        Raises `BadOption` for a picture smaller than a window, and for regions so close that their windows would share
        more than half of their width and height: two faces do not fit there.
        """
        height, width = grid = (int(regions.shape[1]), int(regions.shape[2]))
        if height < side or width < side:
            raise BadOption(f"windows of {side} x {side} cells do not fit a picture of {height} x {width}")
        around = [_around(mask.numpy(), side) for mask in regions]
        _require_apart(around, side)
        corners = [*around, *_filling(around, grid, side)]
        people = [*range(len(around)), *[None] * (len(corners) - len(around))]

        own = torch.stack(
            [region & _covered([corner], grid, side) for region, corner in zip(regions, around, strict=True)]
        )
        anyone = own.any(0)
        to_edge = torch.minimum(torch.arange(side) + 0.5, side - 0.5 - torch.arange(side)) / side
        ramp = to_edge[:, None] * to_edge
        weights = torch.stack(
            [
                ramp * _cut(~anyone if person is None else ~anyone | own[person], corner, side)
                for person, corner in zip(people, corners, strict=True)
            ]
        )
        total = _pasted(weights[None], corners, grid)[0]
        shares = [one / _cut(total, corner, side) for one, corner in zip(weights, corners, strict=True)]
        return cls(side=side, grid=grid, corners=corners, people=people, weights=torch.stack(shares))

    @property
    def count(self) -> int:
        """K, the number of windows."""
        return len(self.corners)

    def __call__(self, predict: Predict, scheduler: Any) -> Predict:
        """The prediction of N pictures (N, c, h, w), of a `predict` for N K windows (N K, c, side, side), those of a
        picture one after the other."""

        def together(latents: Tensor, t: Tensor) -> Tensor:
            windows = torch.stack([_cut(latents, corner, self.side) for corner in self.corners], dim=1)
            found = predict(windows.flatten(0, 1), t).unflatten(0, windows.shape[:2])  # (N, K, c, side, side)
            return _pasted(found * self.weights.to(found)[:, None], self.corners, self.grid)

        return together


def _around(mask: Bool[np.ndarray, "h w"], side: int) -> Corner:
    """Of the window about the middle of what is true in `mask` (h, w)."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    row, column = (
        int(np.clip((span[0] + span[-1] + 1 - side) // 2, 0, whole - side))
        for span, whole in ((rows, mask.shape[0]), (columns, mask.shape[1]))
    )
    return row, column


def _require_apart(corners: Sequence[Corner], side: int) -> None:
    for second, (row, column) in enumerate(corners):
        for first, (other_row, other_column) in enumerate(corners[:second]):
            if max(abs(row - other_row), abs(column - other_column)) * 2 < side:
                raise BadOption(
                    f"regions {first + 1} and {second + 1} are too close for a face in each: on a picture larger than "
                    "the model's own their middles must be at least half of its side apart: move them, or make the "
                    "picture larger, or as large as the model's own"
                )


def _filling(corners: Iterable[Corner], grid: tuple[int, int], side: int) -> list[Corner]:
    """Windows over all cells that those at `corners` leave out."""
    missing, more = ~_covered(corners, grid, side), []
    while missing.any():
        row, column = (int(place) for place in missing.nonzero()[0])
        more.append((min(row, grid[0] - side), min(column, grid[1] - side)))
        missing &= ~_covered(more[-1:], grid, side)
    return more


def _covered(corners: Iterable[Corner], grid: tuple[int, int], side: int) -> Bool[Tensor, "h w"]:
    """(h, w) bool: the cells of windows."""
    cells = torch.zeros(grid, dtype=torch.bool)
    for corner in corners:
        _cut(cells, corner, side)[:] = True
    return cells


def _cut(cells: Shaped[Tensor, "... h w"], corner: Corner, side: int) -> Shaped[Tensor, "... side side"]:
    """The window (..., side, side) of (..., h, w), a view."""
    row, column = corner
    return cells[..., row : row + side, column : column + side]


def _pasted(
    windows: Float[Tensor, "N K ... side side"], corners: Sequence[Corner], grid: tuple[int, int]
) -> Float[Tensor, "N ... h w"]:
    """The sum (N, ..., h, w) of windows (N, K, ..., side, side), each in its place."""
    side = windows.shape[-1]
    whole = windows.new_zeros(len(windows), *windows.shape[2:-2], *grid)
    for number, corner in enumerate(corners):
        _cut(whole, corner, side).add_(windows[:, number])
    return whole
