"""The cloud of people that random identities are drawn from: fitted to the training identities, and checked on them.

sampler = cloud.fit(trained_on, others, reader.space);  sampler.save(folder / "people.safetensors")
"""

import numpy as np

from personae.data.labelled_people import LabelledPeople
from personae.identity import CHECKED, IdentitySampler, nearest_of

# Half, not nearly all: data sets hold people twice, so that the upper end of real strangers are none (of nano's 1,564
# held-out photos 9 % have a training photo beyond a cosine of 0.8). About one in twenty of nano's made-up people goes.
_AS_STRANGERS = 0.5


def fit(trained_on: LabelledPeople, others: LabelledPeople, space: str, *, count: int = CHECKED) -> IdentitySampler:
    """Random people of a space, none of them more like anyone in `trained_on` than the median of `others` is.

    others: real people whom no training saw, so that what a made-up person resembles is what any stranger does.
    count: how many made-up people there are to draw from.
    """
    cap = float(np.quantile(nearest_of(others.vectors, trained_on.vectors), _AS_STRANGERS))
    return IdentitySampler.fit(trained_on.vectors, space).checked(trained_on.vectors, round(cap, 3), count=count)
