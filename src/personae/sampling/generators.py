"""One random generator for each image of a call.

per_image(7, None, 4)            # of the seeds 7, 8, 9, 10
per_image([40, 4], None, 2)      # of these seeds
per_image(None, None, 4)         # of a first seed that is drawn
"""

import secrets
from collections.abc import Sequence
from numbers import Integral

import torch

from personae.errors import BadOption
from personae.sampling.loop import generators_for

LARGEST_SEED = 2**63 - 1
_LARGEST_DRAWN = 2**31  # short enough to be typed again


def per_image(
    seed: int | Sequence[int] | None,
    generator: torch.Generator | Sequence[torch.Generator] | None,
    count: int,
) -> list[torch.Generator]:
    """`count` generators; `generator.initial_seed()` is the seed of its image.

    Arguments:
        seed: of the first image, the others count on from it; or one for each image; None: the first one is drawn.
        generator: instead of seeds, one for each image; a single one is for a single image.
        count: N images.

    Raises `BadOption` for seeds and generators together, another number of either, a seed outside 0 to 2^63 - 1.
    """
    if seed is not None and generator is not None:
        raise BadOption("give seeds or generators, not both")
    if generator is not None:
        generators = [generator] if isinstance(generator, torch.Generator) else list(generator)
        if len(generators) != count:
            raise BadOption(f"{count} images need one generator each, got {len(generators)}: or give seed=")
        return generators
    return generators_for(_seeds(secrets.randbelow(_LARGEST_DRAWN) if seed is None else seed, count))


def are_fresh(generators: Sequence[torch.Generator]) -> bool:
    """Whether the seed of each says what it will draw: generators of the CPU from which nothing was drawn yet, each for
    one image."""
    return len({id(one) for one in generators}) == len(generators) and all(_is_fresh(one) for one in generators)


def _is_fresh(generator: torch.Generator) -> bool:
    seed = generator.initial_seed()
    if generator.device.type != "cpu" or seed > LARGEST_SEED:
        return False
    return torch.equal(generator.get_state(), torch.Generator().manual_seed(seed).get_state())


def _seeds(seed: int | Sequence[int], count: int) -> list[int]:
    seeds = [int(seed) + n for n in range(count)] if isinstance(seed, int | Integral) else [int(s) for s in seed]
    if len(seeds) != count:
        raise BadOption(f"{count} images need one seed each, or a single first one; got {len(seeds)}")
    if not all(0 <= one <= LARGEST_SEED for one in seeds):
        raise BadOption(f"seeds lie between 0 and 2^63 - 1, got {seeds}")
    return seeds
