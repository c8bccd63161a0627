"""The recipe of a call: how all of its images were made, as plain JSON. The writer makes one for each image of it.

call_recipe(pipe, settings, people, faces, scheduler, noise="seed")
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from personae.types import Face, Identity
from personae.version import __version__

if TYPE_CHECKING:
    from personae.model import Model


def call_recipe(
    model: "Model",
    settings: Mapping[str, Any],
    people: Sequence[Identity],
    faces: Sequence[Any],
    scheduler: Any,
    *,
    noise: str,
) -> dict[str, Any]:
    """A recipe whose `settings` are arguments of the call: `pipe(person, seed=seed, **settings)` makes an image again.

    Arguments:
        settings: of the call, those that the model chose included.
        people: P identities. faces: the same P people as they were passed; those with a photo name its hash.
        scheduler: the one that was used. noise: "seed", or "given" for latents of the caller's, or
            generators whose seed does not say what they drew.
    """
    import diffusers
    import torch

    photos = [one.photo if isinstance(one, Face) else None for one in faces]
    inputs = [
        {
            "photo_sha256": photo.sha256 if photo else None,
            "identity_sha256": hashlib.sha256(person.vector.tobytes()).hexdigest(),
        }
        for person, photo in zip(people, photos, strict=True)
    ]
    return {
        "task": "generate",
        "model": {"name": model.name, "sha256": model.sha256, "identity_space": model.config.identity_space},
        "settings": dict(settings),
        "inputs": inputs,
        "dtype": str(model.unet.dtype).removeprefix("torch."),
        "device": model._execution_device.type,
        "versions": {"personae": __version__, "diffusers": diffusers.__version__, "torch": torch.__version__},
        "sampler": type(scheduler).__name__,
        "noise": noise,
    }
