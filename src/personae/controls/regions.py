"""`regions`: all the people in every picture, each in a part of it.

    pipe([ann, bob], prompt="photo of a {person}, smiling", regions=[(0, 0, 0.5, 1), (0.5, 0, 1, 1)], width=256)

Larger than the model's own pictures, each person gets a window of their size (`sampling.multidiffusion`). To all other
ways to steer such a window is a picture of its person, so they need not know of it, and prompts of both kinds will do.
Where nobody is, words without a face say what is there; a model that knows nothing but faces puts strangers there.

In a picture as large as the model's own there is no room for windows: attention says who is seen where
(`conditioning.regional_attention`), beside words without `{person}`.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from personae.conditioning.arc2face import PERSON, PROMPT, encode_identities, encode_text
from personae.conditioning.face0 import FaceTokens
from personae.conditioning.regional_attention import RegionalAttention, plain, region_masks, regional_conditioning
from personae.conditioning.types import Conditioning
from personae.controls.request import GuidanceInputs, Plan, Request
from personae.errors import BadOption
from personae.model import Model
from personae.sampling import codec
from personae.sampling.guidance import join
from personae.sampling.guidance_weights import GuidanceWeights
from personae.sampling.multidiffusion import MultiDiffusion


def laid_out(pipe: Model, request: Request, regions: Any) -> tuple[Request, dict[str, Any]]:
    """A request of N pictures as one whose people are in `regions` of them: where there are windows, a request of N K
    pictures, a window each. And the setting that asks for the same again.

    Raises `BadOption` for regions that do not fit the people or the picture; `BadImage`.
    """
    if not isinstance(regions, list | tuple) or len(regions) != len(request.people):
        got = len(regions) if isinstance(regions, list | tuple) else repr(regions)
        raise BadOption(f"each person needs a region: {len(request.people)} people, got {got}")
    cell, side = codec.pixels_per_cell(pipe.vae), pipe.unet.config.sample_size
    height, width = request.grid
    masks = region_masks(regions, grid=request.grid, size=(height * cell, width * cell))
    setting = {"regions": plain(regions, masks)}
    if min(height, width) < side or request.grid == (side, side):
        return replace(request, regions=masks), setting
    windows = MultiDiffusion.for_regions(masks, side)
    # Nobody's windows count for the first person, until `without_face`: rows are told apart by numbers of people.
    person_index = [person or 0 for person in windows.people] * len(request.person_index)
    return replace(request, regions=masks, windows=windows, person_index=person_index, grid=(side, side)), setting


def named(pipe: Model, request: Request) -> GuidanceInputs:
    """What the windows are told by a prompt with `{person}`, or none."""
    assert request.windows is not None
    text = PROMPT if request.prompt is None else request.prompt
    vectors = torch.from_numpy(np.stack([one.vector for one in request.people]))
    faced = encode_identities(vectors, pipe.tokenizer, pipe.text_encoder, text)
    words = encode_text([text.replace(PERSON, "person"), request.negative_prompt], pipe.tokenizer, pipe.text_encoder)
    everyone = torch.tensor(request.person_index)
    inputs = GuidanceInputs(
        conditionings={"both": faced.rows(everyone), "text": words.rows(torch.zeros_like(everyone))},
        weights=GuidanceWeights(),
        negative=words.rows(torch.tensor([1])),
        regions=request.regions,
    )
    return without_face(inputs, request.windows)


def without_face(inputs: GuidanceInputs, windows: MultiDiffusion) -> GuidanceInputs:
    """Nobody's windows told the words alone instead of words and face, and nothing instead of the face alone."""
    nobody = torch.tensor([person is None for person in windows.people]).repeat(
        len(inputs.conditionings["both"]) // windows.count
    )
    nothing = inputs.negative.rows(torch.zeros(len(nobody), dtype=torch.int64))
    instead = {"both": inputs.conditionings["text"], "face": nothing, "text": inputs.conditionings["text"]}
    return replace(
        inputs, conditionings={name: _where(nobody, instead[name], one) for name, one in inputs.conditionings.items()}
    )


def _where(mask: Tensor, those: Conditioning, others: Conditioning) -> Conditioning:
    """Row by row of N: of `those` where `mask` (N,) bool is true, else of the `others`."""
    return join(others, those).rows(torch.arange(len(mask)) + len(mask) * mask)


def in_one_map(network: FaceTokens, request: Request, weights: GuidanceWeights, texts: Sequence[Conditioning]) -> Plan:
    """Without windows: attention held to the regions. texts: the words, nothing, and the negative, a row each."""
    assert request.regions is not None
    words, nothing, negative = texts
    vectors = torch.from_numpy(np.stack([one.vector for one in request.people])).to(words.tokens.device)
    tokens, added = network(vectors)
    everyone = torch.zeros(len(request.person_index), dtype=torch.int64)
    inputs = GuidanceInputs(
        conditionings={
            "text": regional_conditioning(words, torch.zeros_like(tokens)).rows(everyone),
            "face": regional_conditioning(nothing, tokens).rows(everyone),
            "both": regional_conditioning(words, tokens).rows(everyone),
        },
        weights=weights,
        negative=regional_conditioning(negative, torch.zeros_like(tokens)),
        regions=request.regions,
    )
    faced = [name != "text" for name in weights.names]
    control = RegionalAttention(request.regions, tokens=network.sizes.tokens, faced=faced, added=added)
    return Plan(guidance=inputs, hooks=[control], settings=weights.settings())
