"""Words and faces side by side, weighed against each other: by the model's projector (`face_tokens/`).

    pipe(face, prompt="a smiling man, black and white")
    pipe(face, prompt="a man at the beach", look="painting")
    pipe(face, prompt="a man at the beach", face_weight=0.5, face_interval=(0.3, 1))

A prompt without `{person}` is Face0's; one with it, or none, is Arc2Face's and not weighed. The weights are
`sampling.guidance_weights`: both, unless something is said. `""` is a prompt, too: the face without words.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from personae.conditioning.arc2face import PERSON, encode_text
from personae.conditioning.face0 import FaceTokens
from personae.conditioning.types import Conditioning
from personae.controls import regions
from personae.controls.request import GuidanceInputs, Plan, Request
from personae.errors import BadOption, unknown_name
from personae.model import Model
from personae.sampling.guidance_weights import LOOKS, NAMES, GuidanceWeights

_WEIGHTS = tuple(f"{name}_{what}" for what in ("weight", "interval") for name in NAMES)


def steer(pipe: Model, request: Request, options: Mapping[str, Any]) -> Plan | None:
    """See `registry.Control`. Raises `BadOption` for weights without words to weigh, an unknown look, weights
    and a look, a prompt that is too long, `fast`; `WeightsMissing`, `WeightsCorrupt`."""
    given = {name: options[name] for name in ("look", *_WEIGHTS) if options.get(name) is not None}
    if request.prompt is None or PERSON in request.prompt:
        if given or (request.regions is not None and request.windows is None):
            what = min(given, default="regions in a picture that is not larger than the model's own")
            raise BadOption(
                f"{what} is for words beside the face: give a prompt without {PERSON}, got {request.prompt!r}"
            )
        return None if request.windows is None else Plan(guidance=regions.named(pipe, request))
    if not given and request.regions is None and not pipe.has_component("face_tokens"):
        return None  # the identity prompt says what is wrong with these words
    network: FaceTokens = pipe.component("face_tokens")
    if options.get("fast") is not None or request.settings.get("scheduler") == "lcm":
        raise BadOption(
            "latent consistency sampling (fast, scheduler 'lcm') has its guidance built in and cannot weigh text "
            f"against a face: leave it out, or write the prompt with {PERSON}"
        )
    weights = _weights(given)
    words, nothing, negative = _encoded(pipe, network, [request.prompt, "", request.negative_prompt])
    if request.regions is not None and request.windows is None:
        return regions.in_one_map(network, request, weights, (words, nothing, negative))
    vectors = torch.from_numpy(np.stack([one.vector for one in request.people])).to(words.tokens.device)
    person_index = torch.tensor(request.person_index)
    inputs = GuidanceInputs(
        conditionings={
            "text": network.conditioning(words).rows(torch.zeros_like(person_index)),
            "face": network.conditioning(nothing, vectors).rows(person_index),
            "both": network.conditioning(words, vectors).rows(person_index),
        },
        weights=weights,
        negative=network.conditioning(negative),
        regions=request.regions,
    )
    if request.windows is not None:
        inputs = regions.without_face(inputs, request.windows)
    return Plan(guidance=inputs, settings=weights.settings())


def _encoded(pipe: Model, network: FaceTokens, prompts: list[str]) -> list[Conditioning]:
    """Each prompt as one row. The projector comes along to where they are."""
    told = encode_text(prompts, pipe.tokenizer, pipe.text_encoder, reserved=network.sizes.tokens)
    return [told.rows(torch.tensor([row])) for row in range(len(prompts))]


def _weights(given: Mapping[str, Any]) -> GuidanceWeights:
    """From a look, or from weights and their intervals."""
    look = given.get("look")
    if look is None:
        return GuidanceWeights(**{name.removesuffix("_weight"): value for name, value in given.items()})
    if len(given) > 1:
        raise BadOption(f"a look is a choice of weights: give look {look!r} or {min(set(given) - {'look'})}, not both")
    if look not in LOOKS:
        raise unknown_name("look", str(look), LOOKS)
    return LOOKS[look]
