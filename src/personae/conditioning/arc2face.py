"""Arc2Face's conditioning: the identity takes the place of a word (Papantoniou et al., ECCV 2024, section 3.2).

    encode_identities(vectors, tokenizer, text_encoder)                         # "photo of a id person"
    encode_identities(vectors, tokenizer, text_encoder, "a smiling {person}")   # words around the person
    encode_text([""], tokenizer, text_encoder)                                  # the unguided branch

The unit vector, zero-padded to the text encoder's width, overwrites the *input embedding* of the token `id`; the
whole sequence then runs through the tuned text encoder. Nothing here is trained on its own, and everything is
differentiable, so that training calls the same functions.

Legend: N prompts, L tokens (padded), C width of the text encoder, D width of an identity, D <= C.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from personae.component_module import execution_device
from personae.conditioning.types import Conditioning
from personae.errors import BadIdentity, BadOption, WeightsCorrupt
from personae.shapes import Bool, Float, Int64

PROMPT = "photo of a {person}"
PERSON = "{person}"
_WORD = "id"


def encode_text(prompts: Sequence[str], tokenizer: Any, text_encoder: Any, *, reserved: int = 0) -> Conditioning:
    """Plain prompts (N) through the text encoder, the last `reserved` positions of which hold no word. Raises
    `BadOption` for a prompt that is too long."""
    ids = _tokenize(prompts, tokenizer, text_encoder, reserved)
    return encode_tokens(text_encoder, ids)


def encode_identities(
    vectors: Float[Tensor, "N D"], tokenizer: Any, text_encoder: Any, prompts: str | Sequence[str] = PROMPT
) -> Conditioning:
    """Identities (N, D) float32, unit norm, each within its prompt.

    prompts: one for all, or N; each holds `{person}` exactly once, where `id person` is written.
    Raises `BadIdentity` if D > C, `BadOption` for a prompt that is too long or lacks its person, `WeightsCorrupt`
    if the tokenizer has no single token for `id`.
    """
    texts = [prompts] * len(vectors) if isinstance(prompts, str) else list(prompts)
    if vectors.ndim != 2 or not len(vectors):
        raise BadIdentity(f"identities come as (N, D), N >= 1, got shape {tuple(vectors.shape)}")
    if len(texts) != len(vectors):
        raise BadOption(f"{len(vectors)} identities need as many prompts, or one for all; got {len(texts)}")
    word = id_token(tokenizer)
    ids = _tokenize([_with_person(text) for text in texts], tokenizer, text_encoder)
    # The words before the person decide where it stands; another "id" in the text stays a word.
    places = [len(tokenizer(text.partition(PERSON)[0], add_special_tokens=False).input_ids) + 1 for text in texts]
    for text, place, row in zip(texts, places, ids.tolist(), strict=True):
        if row[place] != word:
            raise BadOption(f"{PERSON} must stand alone as a word, got {text!r}: put spaces around it")
    rows = torch.arange(ids.shape[1])[None] == torch.tensor(places)[:, None]  # (N, L)
    return encode_tokens(text_encoder, ids, replace=rows, vectors=vectors)


def encode_tokens(
    text_encoder: Any,
    ids: Int64[Tensor, "N L"],
    replace: Bool[Tensor, "N L"] | None = None,
    vectors: Float[Tensor, "N D"] | None = None,
) -> Conditioning:
    """Token ids (N, L) through the text encoder; where `replace` (N, L) is true, its input embedding is
    `vectors[n]`, zero-padded."""
    embedding = text_encoder.get_input_embeddings()
    device = execution_device(text_encoder)
    if replace is None or vectors is None:
        return _outputs(text_encoder(ids.to(device)))
    width = embedding.weight.shape[1]
    if vectors.shape[1] > width:
        raise BadIdentity(
            f"an identity of {vectors.shape[1]} numbers does not fit a text encoder of width {width}: "
            "read the photo with the model's own reader"
        )
    padded = torch.nn.functional.pad(vectors, (0, width - vectors.shape[1]))  # (N, C)

    # CLIPTextModel takes no `inputs_embeds` since transformers 5; a hook on the public input embedding writes
    # the same tensor, and lets the end-of-text token be found from the ids as for any prompt.
    def overwrite(_module: Any, _inputs: Any, embedded: Tensor) -> Tensor:
        person = padded.to(embedded.device, embedded.dtype)[:, None]
        return torch.where(replace.to(embedded.device)[..., None], person, embedded)

    hook = embedding.register_forward_hook(overwrite)
    try:
        return _outputs(text_encoder(ids.to(device)))
    finally:
        hook.remove()


def _outputs(output: Any) -> Conditioning:
    return Conditioning(tokens=output.last_hidden_state, pooled=getattr(output, "pooler_output", None))


def _tokenize(prompts: Sequence[str], tokenizer: Any, text_encoder: Any, reserved: int = 0) -> Int64[Tensor, "N L"]:
    """(N, L) int64, padded to the tokenizer's length; too long is an error, never a silent cut."""
    for prompt in prompts:
        if any("\ud800" <= letter <= "\udfff" for letter in prompt):  # what Python makes of bytes that are no UTF-8
            raise BadOption(f"a prompt is text in UTF-8, got {prompt!a}")
    # A tokenizer saved without a length claims 1e30.
    length = min(tokenizer.model_max_length, text_encoder.config.max_position_embeddings)
    for prompt, ids in zip(prompts, tokenizer(list(prompts)).input_ids, strict=True):
        if len(ids) > length - reserved:
            beside = f" beside the {reserved} of the face" if reserved else ""
            raise BadOption(
                f"a prompt holds at most {length - reserved} tokens{beside}, got {len(ids)}: shorten {prompt!r}"
            )
    return tokenizer(list(prompts), padding="max_length", max_length=length, return_tensors="pt").input_ids


def id_token(tokenizer: Any) -> int:
    """The token that an identity overwrites. Raises `WeightsCorrupt` if `id` is not one token."""
    ids = tokenizer(_WORD, add_special_tokens=False).input_ids
    if len(ids) != 1 or ids[0] in tokenizer.all_special_ids:
        raise WeightsCorrupt(
            f"this tokenizer writes {_WORD!r} as {ids}, not as one token: use the tokenizer the model was trained with"
        )
    return int(ids[0])


def _with_person(prompt: str) -> str:
    if prompt.count(PERSON) != 1:
        raise BadOption(
            f"a prompt names its person once, as {PERSON}; got {prompt!r}: write 'photo of a {PERSON}, ...' "
            "(words without it, and a face beside them, take a model with face_tokens/)"
        )
    return prompt.replace(PERSON, f"{_WORD} person")
