"""`num_images_per_prompt`, `seed` and `batch_size`: how many images, of which noise, and how many at once.

pipe(face, num_images_per_prompt=4, seed=7)             # of the seeds 7, 8, 9, 10
pipe([ann, bob], seed=[40, 4])                          # one seed for each image
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from personae.controls.control import Control
from personae.controls.option import option
from personae.io.json_kinds import Whole

_COUNT = Whole(low=1, high=10**6)


@dataclass(frozen=True, kw_only=True)
class BatchControl(Control):
    """The images of a call. A recipe is of one image and holds its own seed beside the settings."""

    group: ClassVar[str] = "Images"

    num_images_per_prompt: int = option(
        _COUNT,
        default=1,
        title="Images",
        soft=(1, 8),
        in_recipe=False,
        by_edit="always",
        flag="--count",
        short_flag="-n",
        help="Images per person; with --region, in all.",
    )
    seed: int | Sequence[int] | None = option(
        Whole(low=0, high=2**63 - 1),
        each="image",
        default_text="random",
        in_recipe=False,
        help="Of the first image; the next ones count on.",
    )
    batch_size: int = option(
        _COUNT,
        default=16,
        unit="images",
        soft=(1, 32),
        in_recipe=False,
        in_commands=False,
        help="The most images in one call of the networks; changes no result.",
    )
