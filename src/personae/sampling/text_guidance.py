"""What guidance leads to when words and faces stand side by side (Face0), or people share a picture.

    inputs = words_and_faces(network, texts, vectors, person_index, weights)
    inputs.terms(scheduler.timesteps)           # [GuidanceTerm(...), ...], one for each weight that is not 0

Legend: N images or windows, P people; "text" is the words alone, "face" the face alone, "both" words and face.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from personae.conditioning.arc2face import PERSON, PROMPT, encode_identities, encode_text
from personae.conditioning.face0 import FaceTokens
from personae.conditioning.regional_attention import RegionalAttention, regional_conditioning
from personae.conditioning.types import Conditioning
from personae.model import Model
from personae.sampling.guidance import GuidanceTerm, join
from personae.sampling.guidance_weights import GuidanceWeights
from personae.sampling.multidiffusion import MultiDiffusion
from personae.shapes import Bool, Float32, Num
from personae.types import Identity


@dataclass(frozen=True, kw_only=True)
class GuidanceInputs:
    """What guidance leads to in place of the identity prompt.

    conditionings: N rows each, by the names of `guidance_weights.NAMES`. weights: of these. negative: one row.
    regions: (P, h, w) bool, where each person is, if all of them are in every picture.
    """

    conditionings: Mapping[str, Conditioning]
    weights: GuidanceWeights
    negative: Conditioning
    regions: Bool[Tensor, "P h w"] | None = None

    def terms(self, timesteps: Num[Tensor, " S"]) -> list[GuidanceTerm]:
        """What guidance leads to over a scheduler's `timesteps` (S,). Raises `BadOption` as `GuidanceWeights.over`."""
        return [
            GuidanceTerm(conditioning=self.conditionings[name], weight=weight, interval=interval)
            for name, (weight, interval) in self.weights.over(timesteps).items()
        ]


@dataclass(frozen=True, kw_only=True)
class Texts:
    """What the projector of Face0 stands beside, one row each: the words of the prompt, no words, and the negative."""

    words: Conditioning
    nothing: Conditioning
    negative: Conditioning

    @classmethod
    def encode(cls, model: Model, network: FaceTokens, prompt: str, negative_prompt: str) -> "Texts":
        """With room for the face's tokens."""
        texts = [prompt, "", negative_prompt]
        rows = encode_text(texts, model.tokenizer, model.text_encoder, reserved=network.sizes.tokens)
        words, nothing, negative = (rows.rows(torch.tensor([row])) for row in range(len(texts)))
        return cls(words=words, nothing=nothing, negative=negative)


def vectors_of(people: Sequence[Identity]) -> Float32[Tensor, "P D"]:
    """(P, D) float32."""
    return torch.from_numpy(np.stack([one.vector for one in people]))


def words_and_faces(
    network: FaceTokens,
    texts: Texts,
    people: Sequence[Identity],
    person_index: Sequence[int],
    weights: GuidanceWeights,
    *,
    regions: Bool[Tensor, "P h w"] | None = None,
) -> GuidanceInputs:
    """Of N images or windows, each of one of the people: the words, the face, and both."""
    vectors, person = vectors_of(people).to(texts.words.tokens.device), torch.tensor(person_index)
    return GuidanceInputs(
        conditionings={
            "text": network.conditioning(texts.words).rows(torch.zeros_like(person)),
            "face": network.conditioning(texts.nothing, vectors).rows(person),
            "both": network.conditioning(texts.words, vectors).rows(person),
        },
        weights=weights,
        negative=network.conditioning(texts.negative),
        regions=regions,
    )


def everyone_in_one_map(
    network: FaceTokens,
    texts: Texts,
    people: Sequence[Identity],
    images: int,
    weights: GuidanceWeights,
    *,
    regions: Bool[Tensor, "P h w"],
) -> tuple[GuidanceInputs, RegionalAttention]:
    """Of N `images` that show all the people without windows: what guidance leads to, and the hook by which attention
    keeps each person to its region."""
    tokens, added = network(vectors_of(people).to(texts.words.tokens.device))
    everyone = torch.zeros(images, dtype=torch.int64)
    inputs = GuidanceInputs(
        conditionings={
            "text": regional_conditioning(texts.words, torch.zeros_like(tokens)).rows(everyone),
            "face": regional_conditioning(texts.nothing, tokens).rows(everyone),
            "both": regional_conditioning(texts.words, tokens).rows(everyone),
        },
        weights=weights,
        negative=regional_conditioning(texts.negative, torch.zeros_like(tokens)),
        regions=regions,
    )
    faced = [name != "text" for name in weights.names]
    return inputs, RegionalAttention(regions, tokens=network.sizes.tokens, faced=faced, added=added)


def identities_in_windows(
    model: Model,
    people: Sequence[Identity],
    person_index: Sequence[int],
    *,
    prompt: str | None,
    negative_prompt: str,
    windows: MultiDiffusion,
    regions: Bool[Tensor, "P h w"] | None,
) -> GuidanceInputs:
    """Of windows by Arc2Face's prompt: the person where there is one, the words about "person" elsewhere."""
    text = PROMPT if prompt is None else prompt
    faced = encode_identities(vectors_of(people), model.tokenizer, model.text_encoder, text)
    texts = [text.replace(PERSON, "person"), negative_prompt]
    words = encode_text(texts, model.tokenizer, model.text_encoder)
    person = torch.tensor(person_index)
    inputs = GuidanceInputs(
        conditionings={"both": faced.rows(person), "text": words.rows(torch.zeros_like(person))},
        weights=GuidanceWeights(),
        negative=words.rows(torch.tensor([1])),
        regions=regions,
    )
    return without_face(inputs, windows)


def without_face(inputs: GuidanceInputs, windows: MultiDiffusion) -> GuidanceInputs:
    """With the words alone instead of words and face, and nothing instead of the face alone, in the windows that show
    nobody."""
    nobody = torch.tensor([person is None for person in windows.people]).repeat(
        len(inputs.conditionings["both"]) // windows.count
    )
    nothing = inputs.negative.rows(torch.zeros(len(nobody), dtype=torch.int64))
    instead = {"both": inputs.conditionings["text"], "face": nothing, "text": inputs.conditionings["text"]}
    return replace(
        inputs, conditionings={name: _where(nobody, instead[name], one) for name, one in inputs.conditionings.items()}
    )


def _where(mask: Bool[Tensor, " N"], those: Conditioning, others: Conditioning) -> Conditioning:
    """Row by row of N: of `those` where `mask` (N,) bool is true, else of the `others`."""
    return join(others, those).rows(torch.arange(len(mask)) + len(mask) * mask)
