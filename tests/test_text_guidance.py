"""Words against a face: the three-weight formula on numbers, what it costs, and every request it cannot serve."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

import face_token_fixtures
from adapters_by_hand import write_lora
from conftest import made_up, nano_parts, sd15_parts, tiny_text_encoder, tiny_tokenizer
from face_token_fixtures import random_tokens, telling
from personae.conditioning.arc2face import encode_text
from personae.conditioning.types import Conditioning
from personae.errors import BadOption
from personae.pipeline import FacePipeline
from personae.sampling import scheduler_table, schedulers
from personae.sampling.fast.deep_cache import DeepCache
from personae.sampling.guidance import GuidanceTerm, guided
from personae.sampling.guidance_weights import LOOKS, NAMES, GuidanceWeights
from personae.sampling.text_guidance import GuidanceInputs
from personae.sampling.unet_hooks import engaged
from test_controls import Nudge
from tolerances import assert_same

PARTS = pytest.mark.parametrize("parts", [nano_parts, sd15_parts])
TIMES = torch.tensor([800.0, 600.0, 400.0, 200.0])


model = face_token_fixtures.model  # the fixture


@torch.no_grad()
def told(weights: GuidanceWeights, count: int = 3, *, pooled: bool = True) -> GuidanceInputs:
    """Of `count` random people and a prompt."""
    tokenizer = tiny_tokenizer()
    network = random_tokens(16, pooled=pooled)
    words, nothing, negative = (
        encode_text([text], tokenizer, tiny_text_encoder(tokenizer), reserved=3) for text in ("a man", "", "black")
    )
    vectors = torch.nn.functional.normalize(torch.randn(count, 16, generator=torch.Generator().manual_seed(1)), dim=1)
    return GuidanceInputs(
        conditionings={
            "text": network.conditioning(words).rows(torch.zeros(count, dtype=torch.int64)),
            "face": network.conditioning(nothing, vectors),
            "both": network.conditioning(words, vectors),
        },
        weights=weights,
        negative=network.conditioning(negative),
    )


def plain(unet, x: Tensor, t: float, told: Conditioning) -> Tensor:
    """The bare UNet, row by row."""
    rows = [told.rows(torch.tensor([n if len(told) > 1 else 0])) for n in range(len(x))]
    classes = unet.config.class_embed_type is not None
    return torch.cat(
        [
            unet(
                x[n : n + 1],
                torch.tensor(t),
                encoder_hidden_states=row.tokens,
                class_labels=row.pooled if classes else None,
            ).sample
            for n, row in enumerate(rows)
        ]
    )


def pixels(pipe: FacePipeline, people: object, **options: object) -> Tensor:
    return pipe(people, output_type="pt", measure_likeness=False, **options).images


class Counted:
    """The rows of every call of a UNet, while it is watched."""

    def __init__(self, unet) -> None:
        self.rows: list[int] = []
        self.hook = unet.register_forward_pre_hook(lambda _, args: self.rows.append(len(args[0])))

    def __enter__(self) -> list[int]:
        return self.rows

    def __exit__(self, *_: object) -> None:
        self.hook.remove()


# ---------------------------------------------------------------------- the formula


WEIGHTS = [
    *LOOKS.values(),
    GuidanceWeights(both=2, face=1),
    GuidanceWeights(both=0, text=3, face=-1),
]


@PARTS
@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
@torch.no_grad()
def test_the_prediction_is_the_papers_formula(parts, weights: GuidanceWeights) -> None:
    unet, x, asked = parts()["unet"], torch.randn(3, 4, 8, 8), told(weights)
    eps = {name: plain(unet, x, 400.0, asked.conditionings[name]) for name in NAMES}
    z = plain(unet, x, 400.0, asked.negative)
    total = weights.text + weights.face + weights.both
    e = (weights.text * eps["text"] + weights.face * eps["face"] + weights.both * eps["both"]) / total
    for w in (0.0, 1.0, 7.5):
        for batch_size in (1, 2, 16):
            predict = guided(unet, asked.terms(TIMES), asked.negative, w, batch_size=batch_size)
            assert_same(predict(x, torch.tensor(400.0)), w * e + (1 - w) * z, guidance=w)


def test_the_looks_are_the_papers_c_and_a() -> None:
    """e = c both + (1 - c) (a face + (1 - a) text)."""
    for name, (c, a) in {"photo": (1, 0), "stylised": (0.55, 0), "painting": (1.4, 1)}.items():
        look = LOOKS[name]
        assert (look.both, look.face, look.text) == pytest.approx((c, (1 - c) * a, (1 - c) * (1 - a)))


@PARTS
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_a_single_weight_is_ordinary_guidance_to_the_bit(parts, name: str) -> None:
    unet, x, t = parts()["unet"], torch.randn(3, 4, 8, 8), torch.tensor(400.0)
    for weight in (1.0, 0.3, 5.0):
        alone = told(GuidanceWeights(**({"both": 0.0} | {name: weight})))
        for scale in (1.0, 3.0):
            found = guided(unet, alone.terms(TIMES), alone.negative, scale)(x, t)
            ordinary = guided(unet, alone.conditionings[name], alone.negative, scale)(x, t)
            torch.testing.assert_close(found, ordinary, rtol=0, atol=0)


@PARTS
@torch.no_grad()
def test_sides_that_ask_for_the_same_are_ordinary_guidance(parts) -> None:
    unet, x, t, asked = parts()["unet"], torch.randn(3, 4, 8, 8), torch.tensor(400.0), told(GuidanceWeights())
    both = asked.conditionings["both"]
    found = guided(
        unet,
        [GuidanceTerm(conditioning=both, weight=0.7), GuidanceTerm(conditioning=both, weight=0.3)],
        asked.negative,
        3.0,
    )(x, t)
    assert_same(found, guided(unet, both, asked.negative, 3.0)(x, t))


def test_only_proportions_count(model: FacePipeline) -> None:
    person = made_up(model, 1)
    half = pixels(model, person, seed=0, prompt="a man", text_weight=0.5, both_weight=0.5)
    assert_same(pixels(model, person, seed=0, prompt="a man", text_weight=3, both_weight=3), half, steps=4)


def test_without_weights_the_look_is_a_photo(model: FacePipeline) -> None:
    person, options = made_up(model, 1), {"seed": 0, "prompt": "a man"}
    torch.testing.assert_close(
        pixels(model, person, **options), pixels(model, person, look="photo", **options), rtol=0, atol=0
    )
    looks = [pixels(model, person, look=look, **options) for look in LOOKS]
    assert min((looks[i] - looks[j]).abs().max() for i, j in ((0, 1), (0, 2), (1, 2))) > 1e-4


def test_text_alone_shows_nobody(model: FacePipeline) -> None:
    ann, bob, _ = made_up(model)
    options = {"seed": 0, "prompt": "a man", "text_weight": 1, "both_weight": 0}
    assert_same(pixels(model, ann, **options), pixels(model, bob, **options), steps=4)


# ---------------------------------------------------------------------- what it costs


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({}, 2),
        ({"look": "photo"}, 2),
        ({"look": "stylised"}, 3),
        ({"look": "painting"}, 3),
        ({"text_weight": 1.0, "both_weight": 0.0}, 2),
        ({"face_weight": 1.0, "both_weight": 0}, 2),
        ({"look": "stylised", "guidance_scale": 1.0}, 2),
        ({"look": "photo", "guidance_scale": 1.0}, 1),
    ],
)
def test_a_weight_of_zero_costs_no_pass(model: FacePipeline, options: dict[str, object], rows: int) -> None:
    with Counted(model.unet) as seen:
        model(made_up(model), seed=0, prompt="a man", **options)
    assert seen == [3 * rows] * 4


def test_schedules_cost_only_what_acts(model: FacePipeline) -> None:
    person = made_up(model, 1)
    with Counted(model.unet) as seen:
        model(person, seed=0, prompt="a man", text_weight=1, text_interval=(0, 0.5))
    assert seen == [3, 3, 2, 2]
    with Counted(model.unet) as seen:
        options = {"text_weight": 1, "text_interval": (0, 0.5), "both_interval": (0.5, 1)}
        model(person, seed=0, prompt="a man", guidance_interval=(0.25, 1), **options)
    assert seen == [1, 2, 2, 2]


@PARTS
@torch.no_grad()
def test_a_scheduled_weight_acts_in_its_steps_alone(parts) -> None:
    unet, x = parts()["unet"], torch.randn(2, 4, 8, 8)
    asked = told(GuidanceWeights(text=1.0, text_interval=(0, 0.5), face=-0.5, face_interval=(0.5, 1)), 2)
    predict = guided(unet, asked.terms(TIMES), asked.negative, 2.0)
    for t, weights in zip(TIMES, [GuidanceWeights(text=1.0)] * 2 + [GuidanceWeights(face=-0.5)] * 2, strict=True):
        expected = guided(unet, told(weights, 2).terms(TIMES), asked.negative, 2.0)
        assert_same(predict(x, t), expected(x, t))


# ---------------------------------------------------------------------- together with all the rest


@pytest.mark.parametrize("scheduler", [None, "dpm++-sde"])
def test_four_at_once_are_four_singles(model: FacePipeline, scheduler: str | None) -> None:
    options = {"prompt": "a man", "scheduler": scheduler, "look": "painting", "guidance_scale": 2.0}
    person = made_up(model)[0]
    four = pixels(model, person, num_images_per_prompt=4, seed=7, **options)
    singles = torch.cat([pixels(model, person, seed=seed, **options) for seed in (7, 8, 9, 10)])
    assert_same(four, singles, steps=4)
    parts = pixels(model, person, num_images_per_prompt=4, seed=7, batch_size=3, **options)
    assert_same(parts, four, steps=4)


@pytest.mark.parametrize("name", [name for name in scheduler_table.SCHEDULERS if name != "lcm"])
def test_every_scheduler_weighs_and_batches_change_nothing(model: FacePipeline, name: str) -> None:
    person, options = made_up(model)[0], {"prompt": "a man", "scheduler": name, "num_inference_steps": 3}
    entry = scheduler_table.SCHEDULERS[name]
    if not (entry.flow if schedulers.is_flow(model.scheduler) else entry.noise):
        with pytest.raises(BadOption, match="cannot sample a model trained on"):
            model(person, **options)
        return
    options |= {"text_weight": 1, "text_interval": (0, 0.4), "guidance_scale": 2.0, "output_type": "latent"}
    with Counted(model.unet) as seen:
        two = model(person, num_images_per_prompt=2, seed=7, **options).images
    assert set(seen) == {4, 6}
    assert_same(two[1:], model(person, seed=8, **options).images, steps=3)


def test_each_person_is_told_of_with_the_same_words(model: FacePipeline) -> None:
    people, options = made_up(model), {"prompt": "a man", "look": "stylised"}
    together = pixels(model, people, seed=5, **options)
    alone = torch.cat([pixels(model, person, seed=5 + i, **options) for i, person in enumerate(people)])
    assert_same(together, alone, steps=4)


@pytest.mark.parametrize("speed", ["balanced", "fast"])
def test_the_speeds_work_and_batches_change_nothing(model: FacePipeline, speed: str) -> None:
    options = {"prompt": "a man", "look": "stylised", "speed": speed, "num_inference_steps": 10}
    person = made_up(model)[0]
    two = pixels(model, person, num_images_per_prompt=2, seed=7, **options)
    assert_same(two[1:], pixels(model, person, seed=8, **options), steps=10)
    exact = pixels(model, person, num_images_per_prompt=2, seed=7, **options | {"speed": "exact"})
    assert (two - exact).abs().mean() < 0.2 * exact.std()


@PARTS
@torch.no_grad()
def test_controls_act_on_all_that_is_asked_for(parts) -> None:
    unet, x, t = parts()["unet"], torch.randn(2, 4, 8, 8), torch.tensor(400.0)
    nudge, one = Nudge([1.0, -2.0]), {}
    for name in ("face", "both"):
        asked = told(GuidanceWeights(**({"both": 0.0} | {name: 1.0})), 2)
        one[name] = guided(unet, asked.terms(TIMES), asked.negative, 1.0, hooks=[nudge])(x, t)
    asked = told(LOOKS["painting"], 2)
    found = guided(unet, asked.terms(TIMES), asked.negative, 3.0, hooks=[nudge])(x, t)
    e = 1.4 * one["both"] - 0.4 * one["face"]
    assert_same(found, 3 * e - 2 * plain(unet, x, 400.0, asked.negative), guidance=3.0)
    names = nudge.seen[-1].names()
    assert names == [(n, asked, side) for asked, side in ((False, 0), (True, 0), (True, 1)) for n in (0, 1)]


@PARTS
@torch.no_grad()
def test_kept_features_do_not_confuse_the_sides(parts) -> None:
    """When guidance ends, one side fewer is asked for; each of the others goes on with its own features."""
    unet, x = parts()["unet"], torch.randn(3, 4, 8, 8)
    asked = told(GuidanceWeights(both=0.6, text=0.4))
    cache, t = DeepCache(2), torch.tensor(400.0)
    led, unled = (guided(unet, asked.terms(TIMES), asked.negative, scale, hooks=[cache]) for scale in (3.0, 1.0))
    with engaged([cache], unet):
        led(x, t)
        kept = unled(x, t)
    assert_same(kept, guided(unet, asked.terms(TIMES), asked.negative, 1.0)(x, t))


@PARTS
@torch.no_grad()
def test_padding_changes_nothing(parts) -> None:
    unet, x, asked = parts()["unet"], torch.randn(3, 4, 8, 8), told(LOOKS["painting"])
    whole = guided(unet, asked.terms(TIMES), asked.negative, 2.0)(x, torch.tensor(400.0))
    with Counted(unet) as seen:
        padded = guided(unet, asked.terms(TIMES), asked.negative, 2.0, batch_size=2, pad=True)(x, torch.tensor(400.0))
    assert_same(padded, whole)
    assert seen == [6, 6]


def test_the_recipe_asks_for_the_same(model: FacePipeline) -> None:
    person = made_up(model, 1)
    for options in ({}, {"look": "painting"}, {"text_weight": 0.5, "text_interval": (0.25, 1)}):
        made = model(person, seed=3, prompt="a man", negative_prompt="black", output_type="pt", **options)
        settings = json.loads(json.dumps(made.recipe["settings"]))
        assert {f"{name}_weight" for name in NAMES} <= settings.keys()
        torch.testing.assert_close(pixels(model, person, seed=3, **settings), made.images, rtol=0, atol=0)


# ---------------------------------------------------------------------- what cannot be asked


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text_weight": -1}, "sum to more than 0, got text_weight -1, face_weight 0, both_weight 1 in step 1"),
        ({"both_weight": 0}, "sum to more than 0"),
        ({"text_weight": -2}, "sum to more than 0"),
        ({"both_interval": (0, 0.5)}, "sum to more than 0, got .* in step 3"),
        ({"text_weight": 1, "face_weight": 1}, "one of the weights must be 0 in every step"),
        ({"text_weight": float("nan")}, "text_weight must be a number between -100 and 100, got nan"),
        ({"face_weight": float("inf")}, "face_weight must be a number between -100 and 100, got inf"),
        ({"both_weight": "much"}, "both_weight must be a number between -100 and 100, got 'much'"),
        ({"text_weight": 1, "text_interval": (0.5, 0.5)}, "text_interval is two shares"),
        ({"both_interval": 0.5}, "both_interval is two shares"),
        ({"look": "paintin"}, "unknown look 'paintin': did you mean 'painting'"),
        ({"look": "photo", "text_weight": 1}, "give look 'photo' or text_weight, not both"),
        ({"prompt": None, "look": "photo"}, r"look is for words beside the face: .* without \{person\}, got None"),
        ({"prompt": "a {person}", "face_weight": 1}, "face_weight is for words beside the face"),
        ({"scheduler": "lcm"}, "latent consistency"),
    ],
)
def test_impossible_requests_are_one_clear_error(model: FacePipeline, options: dict[str, object], message: str) -> None:
    with Counted(model.unet) as seen, pytest.raises(BadOption, match=message):
        model(made_up(model, 1), **{"prompt": "a man"} | options)
    assert seen == []


def test_fast_sampling_cannot_weigh(tmp_path: Path) -> None:
    pipe = telling("sd15", tmp_path)
    write_lora(pipe.folder / "lcm", pipe.unet)
    with pytest.raises(BadOption, match=r"latent consistency .* write the prompt with \{person\}"):
        pipe(made_up(pipe, 1), prompt="a man", fast=4)


def test_guidance_refuses_sides_without_weight() -> None:
    asked = told(GuidanceWeights())
    for weights in ([], [0.0], [1.0, -1.0]):
        sides = [GuidanceTerm(conditioning=asked.conditionings["both"], weight=weight) for weight in weights]
        with pytest.raises(BadOption, match="sum to more than 0"):
            guided(sd15_parts()["unet"], sides, asked.negative, 2.0)
