"""Words and faces side by side, weighed against each other, in regions: by the model's projector (`face_tokens/`).

    pipe(face, prompt="a smiling man, black and white")
    pipe(face, prompt="a man at the beach", look="painting")
    pipe(face, prompt="a man at the beach", face_weight=0.5, face_interval=(0.3, 1))
    pipe([ann, bob], prompt="two people", regions=[(0, 0, 0.5, 1), (0.5, 0, 1, 1)], width=256)

A prompt without `{person}` is Face0's; one with it, or none, is Arc2Face's and not weighed. The weights are
`sampling.weights`: both, unless something is said. `""` is a prompt, too: the face without words.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from personae.conditioning.face_tokens import FaceTokens
from personae.conditioning.id_prompt import PERSON, Conditioning, encode_text
from personae.conditioning.regions import Regions, masks_of, plain, regional
from personae.errors import BadOption, unknown_name
from personae.sampling import codec
from personae.sampling.weights import LOOKS, NAMES, Weights
from personae.steering import Plan, Request, Told

if TYPE_CHECKING:
    from personae.pipeline import FacePipeline

_WEIGHTS = tuple(f"{name}_{what}" for what in ("weight", "interval") for name in NAMES)


def steer(pipe: "FacePipeline", request: Request, options: Mapping[str, Any]) -> Plan | None:
    """See `personae.steering.Steer`. Raises `BadOption` for weights without words to weigh, an unknown look, weights
    and a look, a prompt that is too long, regions that do not fit the people, `fast`; `BadImage`; `WeightsMissing`,
    `WeightsCorrupt`."""
    given = {name: options[name] for name in ("look", *_WEIGHTS, "regions") if options.get(name) is not None}
    if request.prompt is None or PERSON in request.prompt:
        if given:
            raise BadOption(
                f"{min(given)} is for words beside the face: give a prompt without {PERSON}, got {request.prompt!r}"
            )
        return None
    if not given and pipe.part("face_tokens") is None:
        return None  # the identity prompt says what is wrong with these words
    network: FaceTokens = pipe.extra("face_tokens")
    if options.get("fast") is not None or request.settings.get("scheduler") == "lcm":
        raise BadOption(
            "latent consistency sampling (fast, scheduler 'lcm') has its guidance built in and cannot weigh text "
            f"against a face: leave it out, or write the prompt with {PERSON}"
        )
    weights = _weights({name: value for name, value in given.items() if name != "regions"})
    words, nothing, negative = _encoded(pipe, network, [request.prompt, "", request.negative_prompt])
    if "regions" in given:
        return _together(pipe, network, request, given["regions"], weights, (words, nothing, negative))
    vectors = torch.from_numpy(np.stack([one.vector for one in request.people])).to(words.tokens.device)
    who = torch.tensor(request.who)
    told = Told(
        asked={
            "text": network.told(words).rows(torch.zeros_like(who)),
            "face": network.told(nothing, vectors).rows(who),
            "both": network.told(words, vectors).rows(who),
        },
        weights=weights,
        negative=network.told(negative),
    )
    return Plan(told=told, settings=weights.said())


def _together(
    pipe: "FacePipeline",
    network: FaceTokens,
    request: Request,
    regions: Any,
    weights: Weights,
    texts: tuple[Conditioning, Conditioning, Conditioning],
) -> Plan:
    """All people in every picture, each in a region of it."""
    if not isinstance(regions, list | tuple) or len(regions) != len(request.people):
        got = len(regions) if isinstance(regions, list | tuple) else repr(regions)
        raise BadOption(f"each person needs a region: {len(request.people)} people, got {got}")
    cell = codec.pixels_per_cell(pipe.vae)
    height, width = request.grid
    masks = masks_of(regions, grid=request.grid, size=(height * cell, width * cell))
    words, nothing, negative = texts
    vectors = torch.from_numpy(np.stack([one.vector for one in request.people])).to(words.tokens.device)
    tokens, added = network(vectors)
    everyone = torch.zeros(len(request.who), dtype=torch.int64)
    told = Told(
        asked={
            "text": regional(words, torch.zeros_like(tokens)).rows(everyone),
            "face": regional(nothing, tokens).rows(everyone),
            "both": regional(words, tokens).rows(everyone),
        },
        weights=weights,
        negative=regional(negative, torch.zeros_like(tokens)),
        regions=masks,
    )
    faced = [name != "text" for name in weights.names]
    control = Regions(masks, tokens=network.sizes.tokens, faced=faced, added=added)
    return Plan(told=told, controls=[control], settings=weights.said() | {"regions": plain(regions, masks)})


def _encoded(pipe: "FacePipeline", network: FaceTokens, prompts: list[str]) -> list[Conditioning]:
    """Each prompt as one row. The projector comes along to where they are."""
    told = encode_text(prompts, pipe.tokenizer, pipe.text_encoder, reserved=network.sizes.tokens)
    network.to(told.tokens.device)
    return [told.rows(torch.tensor([row])) for row in range(len(prompts))]


def _weights(given: Mapping[str, Any]) -> Weights:
    """From a look, or from weights and their intervals."""
    look = given.get("look")
    if look is None:
        return Weights(**{name.removesuffix("_weight"): value for name, value in given.items()})
    if len(given) > 1:
        raise BadOption(f"a look is a choice of weights: give look {look!r} or {min(set(given) - {'look'})}, not both")
    if look not in LOOKS:
        raise unknown_name("look", str(look), LOOKS)
    return LOOKS[look]
