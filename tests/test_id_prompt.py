"""The identity prompt against the same computation written out by hand, layer by layer."""

import pytest
import torch
from torch import Tensor

from conftest import WORDS, tiny_text_encoder, tiny_tokenizer
from personae.conditioning.arc2face import encode_identities, encode_text
from personae.errors import BadIdentity, BadOption, WeightsCorrupt
from tolerances import assert_same


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture(scope="module")
def encoder(tokenizer):
    return tiny_text_encoder(tokenizer, width=24)


def vectors(count: int, width: int = 16) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(0)), dim=1)


@torch.no_grad()
def by_hand(ids: list[int], replace: dict[int, Tensor], encoder) -> tuple[Tensor, Tensor]:
    """One sequence (L,) through the encoder's own weights, by the equations of CLIP's text tower."""
    weights = encoder.state_dict()
    x = torch.stack([replace.get(i, weights["embeddings.token_embedding.weight"][t]) for i, t in enumerate(ids)])
    x = x + weights["embeddings.position_embedding.weight"][: len(ids)]
    mask = torch.full((len(ids), len(ids)), float("-inf")).triu(1)

    def linear(name: str, value: Tensor) -> Tensor:
        return value @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(name: str, value: Tensor) -> Tensor:
        return torch.nn.functional.layer_norm(
            value, value.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"]
        )

    for layer in ("encoder.layers.0", "encoder.layers.1"):
        y = norm(f"{layer}.layer_norm1", x)
        q, k, v = (linear(f"{layer}.self_attn.{n}_proj", y).unflatten(-1, (2, -1)).transpose(0, 1) for n in "qkv")
        attention = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5 + mask).softmax(-1)
        x = x + linear(f"{layer}.self_attn.out_proj", (attention @ v).transpose(0, 1).flatten(1))
        y = linear(f"{layer}.mlp.fc1", norm(f"{layer}.layer_norm2", x))
        x = x + linear(f"{layer}.mlp.fc2", y * torch.sigmoid(1.702 * y))
    x = norm("final_layer_norm", x)
    return x, x[ids.index(encoder.config.eos_token_id)]


def padded_ids(text: str, tokenizer) -> list[int]:
    ids = [tokenizer.get_vocab()[f"{word}</w>"] for word in text.split()]
    ids = [tokenizer.bos_token_id, *ids, tokenizer.eos_token_id]
    return ids + [tokenizer.pad_token_id] * (tokenizer.model_max_length - len(ids))


@pytest.mark.parametrize("count", [1, 3])
def test_identities_equal_the_computation_by_hand(count: int, tokenizer, encoder) -> None:
    told = encode_identities(vectors(count), tokenizer, encoder)
    assert told.tokens.shape == (count, 16, 24)
    assert told.pooled.shape == (count, 24)
    ids = padded_ids("photo of a id person", tokenizer)
    for row, vector in enumerate(vectors(count)):
        tokens, pooled = by_hand(ids, {4: torch.cat([vector, torch.zeros(8)])}, encoder)
        assert_same(told.tokens[row], tokens)
        assert_same(told.pooled[row], pooled)


def test_text_and_the_empty_prompt_equal_the_computation_by_hand(tokenizer, encoder) -> None:
    told = encode_text(["", "a smiling man"], tokenizer, encoder)
    for row, text in enumerate(("", "a smiling man")):
        tokens, pooled = by_hand(padded_ids(text, tokenizer), {}, encoder)
        assert_same(told.tokens[row], tokens)
        assert_same(told.pooled[row], pooled)


def test_only_the_person_is_replaced_not_another_id_in_the_text(tokenizer, encoder) -> None:
    told = encode_identities(vectors(2), tokenizer, encoder, ["a id , {person} , smiling", "photo of {person}"])
    first, _ = by_hand(
        padded_ids("a id , id person , smiling", tokenizer), {4: torch.cat([vectors(2)[0], torch.zeros(8)])}, encoder
    )
    second, _ = by_hand(
        padded_ids("photo of id person", tokenizer), {3: torch.cat([vectors(2)[1], torch.zeros(8)])}, encoder
    )
    assert_same(told.tokens, torch.stack([first, second]))


def test_an_identity_as_wide_as_the_text_fits_and_a_wider_one_does_not(tokenizer, encoder) -> None:
    assert encode_identities(vectors(1, 24), tokenizer, encoder).tokens.isfinite().all()
    with pytest.raises(BadIdentity, match="25 numbers does not fit a text encoder of width 24"):
        encode_identities(vectors(1, 25), tokenizer, encoder)


def test_the_hook_is_gone_afterwards(tokenizer, encoder) -> None:
    before = encode_text(["a id person"], tokenizer, encoder).tokens
    encode_identities(vectors(1), tokenizer, encoder)
    with pytest.raises(BadIdentity):
        encode_identities(vectors(1, 99), tokenizer, encoder)
    torch.testing.assert_close(encode_text(["a id person"], tokenizer, encoder).tokens, before, rtol=0, atol=0)


def test_gradients_reach_the_vector_and_the_encoder(tokenizer, encoder) -> None:
    vector = vectors(1).requires_grad_()
    gradients = torch.autograd.grad(
        encode_identities(vector, tokenizer, encoder).tokens.square().sum(),
        [vector, encoder.encoder.layers[0].mlp.fc1.weight],
    )
    assert all(gradient.abs().sum() > 0 for gradient in gradients)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("a photo", "names its person once"),
        ("{person} and {person}", "names its person once"),
        ("the{person}", "stand alone"),
        ("{person} " + "smiling " * 15, "at most 16 tokens, got 19"),
    ],
)
def test_prompts_that_cannot_be_used_are_refused(prompt: str, message: str, tokenizer, encoder) -> None:
    with pytest.raises(BadOption, match=message):
        encode_identities(vectors(1), tokenizer, encoder, prompt)


def test_prompts_and_identities_must_be_as_many(tokenizer, encoder) -> None:
    with pytest.raises(BadOption, match="as many prompts"):
        encode_identities(vectors(3), tokenizer, encoder, ["{person}", "{person}"])
    with pytest.raises(BadIdentity, match="N >= 1"):
        encode_identities(torch.zeros(0, 16), tokenizer, encoder)


def test_a_tokenizer_that_splits_the_placeholder_is_refused(encoder) -> None:
    splitting = tiny_tokenizer([word for word in WORDS if word != "id"])
    with pytest.raises(WeightsCorrupt, match="not as one token"):
        encode_identities(vectors(1), splitting, encoder)
