"""Which requests share one call of a pipeline, and how its result is taken apart again.

Requests share a call if they are for the same model with the same options: then only people and seeds differ, of which
a call takes many. An image depends on its own seed and person alone, whoever shares its call; but a network rounds the
rows of a larger batch otherwise, so that pixels may differ in the last digit. `batch=False` rules that out.
"""

import hashlib
import json
from collections.abc import Hashable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from personae.controls import registry
from personae.controls.request import per_person
from personae.serving.engine.requests import EngineRequest, Generate
from personae.types import Generation


def images_of(request: Generate) -> int:
    """How many images it asks for."""
    return len(request.people) * request.num_images_per_prompt


def key_of(request: EngineRequest) -> Hashable | None:
    """Requests of equal keys may share a call; None: it goes alone."""
    if not isinstance(request, Generate) or not request.batch or _alone(request):
        return None
    try:
        options = json.dumps(request.options, sort_keys=True, default=_digest)
    except TypeError:
        return None
    return request.model, request.measure_likeness, options


def _alone(request: Generate) -> bool:
    """Whether one of its options is about all images of its call together, or holds a list with one for each."""
    rows = {row["name"]: row for row in registry.rows()}
    for name, value in request.options.items():
        row = rows.get(name, {})
        if row.get("type") == "regions" or row.get("per") == "picture":
            return True
        if row.get("per") == "person" and per_person(value):
            return True
    return False


def _digest(value: Any) -> Any:
    """What stands for an option's value that is no JSON: the hash of a photo's bytes, a path."""
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    if isinstance(value, Path):
        return f"file {value}"
    raise TypeError(f"a {type(value).__name__} cannot be compared")


def seeds_of(requests: Sequence[Generate]) -> list[int]:
    """The seed of every image of a call that they share, request after request."""
    seeds = []
    for request in requests:
        assert request.seed is not None  # the engine has drawn it
        seeds += [request.seed + number for number in range(images_of(request))]
    return seeds


def split(result: Generation, requests: Sequence[Generate]) -> list[Generation]:
    """What each request would have got from a call of its own, of a call with every image's person once for each."""
    parts, first = [], 0
    for request in requests:
        count, copies = images_of(request), request.num_images_per_prompt
        rows = slice(first, first + count)
        inputs = result.recipe["inputs"][first : first + count : copies]
        parts.append(
            replace(
                result,
                images=result.images[rows],
                seeds=result.seeds[rows],
                people=[number // copies for number in range(count)],
                likeness=None if result.likeness is None else result.likeness[rows],
                recipe=result.recipe | {"inputs": inputs},
            )
        )
        first += count
    return parts
