"""Face0's projector against the same computation by hand; its places in the prompt; its folder."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import face_token_fixtures
from conftest import made_up, tiny_text_encoder, tiny_tokenizer
from face_token_fixtures import FREE, TOKENS, random_tokens, telling
from personae import identity
from personae.conditioning.arc2face import encode_text
from personae.conditioning.face0 import SIZES, FaceTokens, Sizes
from personae.errors import BadIdentity, BadOption, WeightsCorrupt, WeightsMissing
from personae.pipeline import FacePipeline
from reading_fixtures import white_face
from tolerances import assert_same

model, nano = face_token_fixtures.model, face_token_fixtures.nano  # the fixtures


def unit(count: int, width: int = 16) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(0)), dim=1)


def pixels(pipe: FacePipeline, people: object, **options: object) -> Tensor:
    return pipe(people, seed=0, output_type="pt", measure_likeness=False, **options).images


# ---------------------------------------------------------------------- the projector


@pytest.mark.parametrize("count", [1, 3])
@torch.no_grad()
def test_each_token_has_a_head_of_linear_layers_with_relus_between(count: int) -> None:
    network, vectors = random_tokens(16, pooled=True), unit(count)
    weights = network.state_dict()
    made = []
    for head in range(TOKENS + 1):
        x = vectors * 4  # the root of 16: numbers of unit size
        for layer in (0, 2, 4):
            x = x @ weights[f"heads.{head}.{layer}.weight"].T + weights[f"heads.{head}.{layer}.bias"]
            x = x.clamp(min=0) if layer < 4 else x
        made.append(x)
    tokens, pooled = network(vectors)
    assert tokens.shape == (count, TOKENS, 128)
    assert_same(tokens, torch.stack(made[:TOKENS], 1))
    assert_same(pooled, made[TOKENS])
    assert random_tokens(16, pooled=False)(vectors)[1] is None


def test_the_papers_sizes() -> None:
    with torch.device("meta"):
        paper = FaceTokens(SIZES["face0-sd15"], "a/space")
    assert [len([layer for layer in head if isinstance(layer, torch.nn.Linear)]) for head in paper.heads] == [4] * 3
    assert {layer.out_features for head in paper.heads for layer in head if hasattr(layer, "weight")} == {768}
    assert 9e6 < sum(weight.numel() for weight in paper.parameters()) < 11e6  # "about 10 M"


@torch.no_grad()
def test_the_last_positions_are_overridden_and_nothing_else() -> None:
    tokenizer = tiny_tokenizer()
    encoder, network, vectors = tiny_text_encoder(tokenizer), random_tokens(16, pooled=True), unit(3)
    text = encode_text(["a smiling man"], tokenizer, encoder, reserved=TOKENS)
    tokens, pooled = network(vectors)
    told = network.conditioning(text, vectors)
    assert told.tokens.shape == (3, 16, 128)
    for row in range(3):
        torch.testing.assert_close(told.tokens[row, :-TOKENS], text.tokens[0, :-TOKENS], rtol=0, atol=0)
    torch.testing.assert_close(told.tokens[:, -TOKENS:], tokens, rtol=0, atol=0)
    torch.testing.assert_close(told.pooled, text.pooled + pooled, rtol=0, atol=0)

    blank = network.conditioning(text)
    torch.testing.assert_close(blank.tokens[:, :-TOKENS], text.tokens[:, :-TOKENS], rtol=0, atol=0)
    assert not blank.tokens[:, -TOKENS:].any()
    torch.testing.assert_close(blank.pooled, text.pooled, rtol=0, atol=0)


def test_gradients_reach_vector_and_projector() -> None:
    tokenizer = tiny_tokenizer()
    text = encode_text(["a man"], tokenizer, tiny_text_encoder(tokenizer), reserved=TOKENS)
    network, vector = random_tokens(16, pooled=True), unit(1).requires_grad_()
    told = network.conditioning(text, vector)
    gradients = torch.autograd.grad(
        told.tokens.square().sum() + told.pooled.square().sum(), [vector, network.heads[0][0].weight]
    )
    assert all(gradient.abs().sum() > 0 for gradient in gradients)


def test_other_widths_and_impossible_sizes_are_refused() -> None:
    with pytest.raises(BadIdentity, match=r"identities \(N, 16\), got \(2, 15\)"):
        random_tokens(16, pooled=False)(unit(2, 15))
    for wrong in ({"tokens": 0}, {"layers": -1}, {"width": 2.5}):
        with pytest.raises(BadOption, match=f"{min(wrong)} of face tokens"):
            Sizes(features=16, text_width=128, **wrong)


# ---------------------------------------------------------------------- in a prompt


def test_a_prompt_may_fill_the_free_positions_and_no_more(model: FacePipeline) -> None:
    person, words = made_up(model, 1), FREE - 2  # beside start and end
    assert pixels(model, person, prompt=" ".join(["smiling"] * words)).isfinite().all()
    for wrong in ({"prompt": "smiling " * (words + 1)}, {"prompt": "a man", "negative_prompt": "smiling " * 14}):
        with pytest.raises(BadOption, match=f"at most {FREE} tokens beside the {TOKENS} of the face, got"):
            model(person, **wrong)


def test_words_and_face_have_an_effect(model: FacePipeline) -> None:
    ann, bob, _ = made_up(model)
    plain = pixels(model, ann, prompt="a smiling man")
    assert (pixels(model, bob, prompt="a smiling man") - plain).abs().max() > 1e-3
    assert (pixels(model, ann, prompt="black and white") - plain).abs().max() > 1e-4
    assert (pixels(model, ann, prompt="") - plain).abs().max() > 1e-4


def test_prompts_with_a_person_stay_as_they_are(model: FacePipeline, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "model")
    shutil.rmtree(tmp_path / "model" / "face_tokens")
    (tmp_path / "model" / "sha256.json").unlink()
    without = FacePipeline.from_pretrained(tmp_path / "model")
    without.set_progress_bar_config(disable=True)
    person = made_up(model, 1)
    for prompt in (None, "a smiling {person}"):
        torch.testing.assert_close(
            pixels(model, person, prompt=prompt), pixels(without, person, prompt=prompt), rtol=0, atol=0
        )
    with pytest.raises(BadOption, match=r"names its person once, as \{person\}.*model with face_tokens/"):
        without(person, prompt="a smiling man")
    with pytest.raises(WeightsMissing, match="no face_tokens/"):
        without(person, prompt="a smiling man", look="painting")


def test_several_photos_of_a_person_are_their_weighted_mean(nano: FacePipeline) -> None:
    noise = np.random.default_rng(0).integers(0, 99, (2, 120, 160, 3), dtype=np.uint8)
    faces = [nano.read(white_face(photo, 20, 20, 60 + 20 * i, 90))[0] for i, photo in enumerate(noise)]
    both = identity.mean([face.identity for face in faces], [3, 1])
    vector = 0.75 * faces[0].identity.vector + 0.25 * faces[1].identity.vector
    found = pixels(nano, both, prompt="a man")
    assert_same(found, pixels(nano, vector[None], prompt="a man"), steps=4)
    assert (found - pixels(nano, faces[0], prompt="a man")).abs().max() > 1e-4


# ---------------------------------------------------------------------- on disk


def test_a_saved_projector_comes_back_to_half_precision(tmp_path: Path) -> None:
    network = random_tokens(16, pooled=True)
    network.save(tmp_path)
    again = FaceTokens.load(tmp_path)
    assert (again.sizes, again.space) == (network.sizes, network.space)
    for name, weight in again.state_dict().items():
        torch.testing.assert_close(weight, network.state_dict()[name].half().float(), rtol=0, atol=0)
    assert not any(weight.requires_grad for weight in again.parameters())


def test_it_is_saved_along_with_its_model(model: FacePipeline, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "model")
    again = FacePipeline.from_pretrained(tmp_path / "model")
    again.set_progress_bar_config(disable=True)
    person = made_up(model, 1)
    assert_same(pixels(again, person, prompt="a man"), pixels(model, person, prompt="a man"), steps=4)


@pytest.mark.parametrize(
    ("file", "content", "error"),
    [
        ("model.safetensors", None, WeightsMissing),
        ("config.json", None, WeightsMissing),
        ("model.safetensors", b"not weights", WeightsCorrupt),
        ("config.json", b"[]", WeightsCorrupt),
        ("config.json", b'{"format": "something/1"}', WeightsCorrupt),
    ],
)
def test_a_damaged_folder_is_one_error(file: str, content: bytes | None, error: type, tmp_path: Path) -> None:
    random_tokens(16, pooled=True).save(tmp_path)
    (tmp_path / file).unlink() if content is None else (tmp_path / file).write_bytes(content)
    with pytest.raises(error, match="install or fetch the model again"):
        FaceTokens.load(tmp_path)


@pytest.mark.parametrize("change", [{"tokens": 4}, {"tokens": 0}, {"width": "32"}, {"heads": 2}])
def test_a_config_that_does_not_fit_its_weights_is_found(change: dict, tmp_path: Path) -> None:
    random_tokens(16, pooled=False).save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | change
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsCorrupt, match="install or fetch"):
        FaceTokens.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"space": "another/space"}, "trained with identities of 'another/space'"),
        ({"pooled": True}, "reads the pooled text"),
        ({"text_width": 64}, "a text width of 64"),
    ],
)
def test_face_tokens_of_another_model_are_refused(change: dict, message: str, tmp_path: Path) -> None:
    pipe = telling("sd15", tmp_path)
    sizes = {"features": 16, "text_width": 128, "layers": 1} | {k: v for k, v in change.items() if k != "space"}
    FaceTokens(Sizes(**sizes), change.get("space", "random/test/0")).save(pipe.folder / "face_tokens")
    with pytest.raises(WeightsCorrupt, match=message):
        pipe(made_up(pipe, 1), prompt="a man")
