"""People who are drawn where a portrait base is trained, as it learns from pictures that were prepared.

drawn = of_stream(stream, networks, people=50_000, views=3)     # on a GPU, in minutes
everybody = LatentFaces.joined([people, drawn])
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from personae.data.people_stream import PeopleStream
from personae.training.frame import HEAD
from personae.training.methods.base.data import VIEWS, LatentFaces
from personae.training.methods.base.frozen import FrozenNetworks
from personae.training.picture_kinds import of_drawn

_AT_ONCE = 32  # people who are drawn together
_SAME = 0.5  # the least cosine of a view that was drawn to its person's first, by the encoder that conditions


def of_stream(
    stream: PeopleStream, networks: FrozenNetworks, *, people: int, views: int = 3, seed: int = 0, crops: int = VIEWS
) -> LatentFaces:
    """People drawn here and now, on the stream's device, but for views that lost the person; nobody labels them, so
    captions say the kind alone."""
    generator = torch.Generator(stream.mean.device).manual_seed(seed)

    def batches() -> Iterator[Tensor]:
        for start in range(0, people, _AT_ONCE):
            yield stream.draw(min(_AT_ONCE, people - start), views, generator).images.flatten(0, 1)

    latents, vectors = networks.both_sides(batches(), crops)
    person = np.arange(people).repeat(views)
    same = (vectors[0, :, 0] * vectors[0, person * views, 0]).sum(-1) >= _SAME
    plain = [of_drawn()] * int(same.sum())
    return LatentFaces(
        latents=latents[:, same],
        vectors=vectors[:, same],
        inside=np.ones((2, len(plain), HEAD.cells, HEAD.cells), np.uint8),
        person=person[same],
        measures=(plain, plain),
    )
