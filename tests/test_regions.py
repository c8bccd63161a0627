"""Several people in one picture: who is seen from where, against the same attention by hand; and what cannot be."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import face_token_fixtures
from conftest import made_up, sd15_parts
from expression_fixtures import random_adapter
from face_token_fixtures import TOKENS
from model_fixtures import face_photo
from personae.conditioning.expression_adapter import ExpressionAdapter
from personae.conditioning.regional_attention import (
    RegionalAttention,
    likeness_by_region,
    region_masks,
    regional_conditioning,
    shrunk,
)
from personae.conditioning.types import Conditioning
from personae.errors import BadOption
from personae.pipeline import FacePipeline
from personae.provenance import writer
from personae.provenance.recipe import read_recipe
from personae.replay import replay
from personae.sampling.unet_hooks import stacked
from reading_fixtures import white_face
from tolerances import assert_same

LEFT, RIGHT = (0, 0, 0.5, 1), (0.5, 0, 1, 1)


model, nano = face_token_fixtures.model, face_token_fixtures.nano  # the fixtures


def pixels(pipe: FacePipeline, people: object, **options: object) -> Tensor:
    asked = {"seed": 0, "prompt": "a man", "num_inference_steps": 3} | options
    return pipe(people, output_type="pt", measure_likeness=False, **asked).images


def state(unet) -> list[object]:
    """Everything that a control might leave behind."""
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in unet.modules()]
    return [*unet.attn_processors.values(), hooks, list(unet.state_dict())]


# ---------------------------------------------------------------------- masks


def test_boxes_are_the_cells_whose_middle_they_hold() -> None:
    masks = region_masks([LEFT, (0.5, 0.25, 1, 0.75)], grid=(4, 8), size=(16, 32))
    assert masks.dtype == torch.bool
    assert masks[0].int().tolist() == [[1, 1, 1, 1, 0, 0, 0, 0]] * 4
    assert masks[1].sum(1).tolist() == [0, 4, 4, 0]
    assert not masks[1, :, :4].any()


def test_masks_of_the_image_and_of_its_latents_say_the_same(tmp_path: Path) -> None:
    mask = np.zeros((16, 32), np.uint8)
    mask[:, 16:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    for same in (mask, mask > 0, (mask / 255).tolist(), mask[::4, ::4], tmp_path / "mask.png", Image.fromarray(mask)):
        torch.testing.assert_close(
            region_masks([same], grid=(4, 8), size=(16, 32)), region_masks([RIGHT], grid=(4, 8), size=(16, 32))
        )


def test_a_region_is_never_lost_on_a_coarser_grid() -> None:
    masks = region_masks([LEFT, (0.5, 0.5, 0.6, 0.6)], grid=(8, 8), size=(32, 32))
    coarse = shrunk(masks, (2, 2))
    assert coarse[0].int().tolist() == [[1, 0], [1, 0]]
    assert coarse[1].int().tolist() == [[0, 0], [0, 1]]


# ---------------------------------------------------------------------- attention


@torch.no_grad()
def test_every_position_sees_the_words_and_its_own_person() -> None:
    """One layer: what each position gets is what a layer told of its person alone gives it."""
    unet = sd15_parts()["unet"]
    layer = unet.mid_block.attentions[0].transformer_blocks[0].attn2
    words = Conditioning(tokens=torch.randn(1, 16, 128), pooled=None)
    tokens, x = torch.randn(2, TOKENS, 128), torch.randn(2, 32, 16)  # (P, T, C); two rows of 4 x 8 positions
    masks = region_masks([(0, 0, 0.25, 1), RIGHT], grid=(8, 16), size=(32, 64))
    told = regional_conditioning(words, tokens).tokens.expand(2, -1, -1)
    control = RegionalAttention(masks, tokens=TOKENS, faced=[True])
    with control.engaged(unet):
        found = layer(x, encoder_hidden_states=told)
    for columns, person in (
        (slice(0, 2), tokens[:1]),
        (slice(2, 4), torch.zeros(1, 3, 128)),
        (slice(4, 8), tokens[1:]),
    ):
        alone = torch.cat([words.tokens[:, :-TOKENS], person], dim=1).expand(2, -1, -1)
        expected = layer(x, encoder_hidden_states=alone)
        here = (slice(None), slice(None), columns)
        assert_same(found.unflatten(1, (4, 8))[here], expected.unflatten(1, (4, 8))[here])


@torch.no_grad()
def test_an_adapter_in_the_same_layer_is_heard_everywhere() -> None:
    unet = sd15_parts()["unet"]
    adapter = ExpressionAdapter.from_weights(random_adapter(unet, 55), unet)
    adapter.attach(unet)
    layer = unet.mid_block.attentions[0].transformer_blocks[0].attn2
    words = Conditioning(tokens=torch.randn(1, 16, 128), pooled=None)
    tokens, x, image = torch.randn(1, TOKENS, 128), torch.randn(1, 16, 16), [torch.randn(1, 1, 4, 128)]
    control = RegionalAttention(region_masks([(0, 0, 1, 1)], grid=(8, 8), size=(32, 32)), tokens=TOKENS, faced=[True])
    with control.engaged(unet):
        found = layer(x, encoder_hidden_states=(regional_conditioning(words, tokens).tokens, image))
    alone = torch.cat([words.tokens[:, :-TOKENS], tokens], dim=1)
    assert_same(found, layer(x, encoder_hidden_states=(alone, image)))


def test_one_person_everywhere_is_an_ordinary_picture(model: FacePipeline) -> None:
    person = made_up(model, 1)
    for options in ({}, {"look": "stylised"}, {"look": "painting"}, {"face_weight": 1, "both_weight": 0}):
        assert_same(pixels(model, person, regions=[(0, 0, 1, 1)], **options), pixels(model, person, **options), steps=3)


def test_regions_belong_to_their_people_in_any_order(model: FacePipeline) -> None:
    ann, bob, eve = made_up(model)
    both = pixels(model, [ann, bob], regions=[LEFT, RIGHT])
    assert_same(pixels(model, [bob, ann], regions=[RIGHT, LEFT]), both, steps=3)
    for others in ([bob, ann], [ann, eve], [eve, bob]):
        assert (pixels(model, others, regions=[LEFT, RIGHT]) - both).abs().max() > 1e-4


def test_the_class_embedding_is_each_ones_own(nano: FacePipeline) -> None:
    """A block's map before its norm, in each region, is what it would be for a picture of its person alone."""
    unet, network = nano.unet, nano.component("face_tokens")
    block, seen = unet.down_blocks[0].resnets[0], []
    vectors = torch.from_numpy(np.stack([person.vector for person in made_up(nano, 2)]))
    text = Conditioning(tokens=torch.randn(1, 16, 128), pooled=torch.randn(1, 128))
    tokens, added = network(vectors)
    masks = region_masks([(0, 0, 0.25, 1), RIGHT], grid=(8, 8), size=(32, 32))
    x, t = torch.randn(1, 4, 8, 8), torch.tensor(400)

    def map_of(told: Conditioning, control: RegionalAttention | None = None) -> list[Tensor]:
        """The unconditional and the conditional row."""
        both = told.rows(torch.tensor([0, 0]))
        if control is not None:
            control.arguments(x, t, both, stacked(torch.tensor([0]), [None, 0]))
        hook = block.norm2.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        unet(torch.cat([x, x]), t, encoder_hidden_states=both.tokens, class_labels=both.pooled)
        hook.remove()
        return list(seen.pop())

    control = RegionalAttention(masks, tokens=TOKENS, faced=[True], added=added)
    with torch.no_grad():
        with control.engaged(unet):
            blank, found = map_of(regional_conditioning(text, tokens), control)
        plain = map_of(text)[0]
        assert_same(blank, plain)  # nobody is asked for
        assert_same(found[:, :, 2:4], plain[:, :, 2:4])
        for person, columns in ((0, slice(0, 2)), (1, slice(4, 8))):
            alone = map_of(Conditioning(tokens=text.tokens, pooled=text.pooled + added[person]))[0]
            assert_same(found[:, :, columns], alone[:, :, columns])
            assert (alone - plain).abs().max() > 1e-3


def test_nothing_stays_behind(model: FacePipeline) -> None:
    before = state(model.unet)
    pixels(model, made_up(model, 2), regions=[LEFT, RIGHT])
    assert state(model.unet) == before

    def fail(*_: object) -> None:
        raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        pixels(model, made_up(model, 2), regions=[LEFT, RIGHT], callback_on_step_end=fail)
    assert state(model.unet) == before


# ---------------------------------------------------------------------- requests


@pytest.mark.parametrize(
    "options", [{}, {"look": "stylised", "cache_interval": 2}, {"width": 64, "height": 24}], ids=str
)
def test_seeds_make_pictures_of_all_and_batches_change_nothing(model: FacePipeline, options: dict) -> None:
    people, asked = made_up(model, 2), {"regions": [LEFT, RIGHT], **options}
    made = model(people, prompt="a man", num_images_per_prompt=3, seed=4, output_type="pt", **asked)
    assert (made.seeds, made.people) == ([4, 5, 6], [0, 0, 0])
    assert made.images.shape == (3, 3, options.get("height", 32), options.get("width", 32))
    singles = [model(people, prompt="a man", seed=seed, output_type="pt", **asked).images for seed in (4, 5, 6)]
    assert_same(made.images, torch.cat(singles), steps=4)


def test_any_request_may_have_another_size(model: FacePipeline) -> None:
    for prompt in (None, "a man"):
        assert model(made_up(model, 1), prompt=prompt, seed=0, height=24, width=48).images[0].size == (48, 24)
    with pytest.raises(BadOption, match="width must be a multiple of 4 pixels, got 33: the model's own is 32"):
        model(made_up(model, 1), width=33)


def test_likeness_is_of_the_one_who_is_met_the_least(nano: FacePipeline) -> None:
    grey = np.random.default_rng(0).integers(0, 99, (120, 240, 3), dtype=np.uint8)
    two = white_face(white_face(grey, 20, 20, 60, 90), 150, 20, 210, 90)
    faces = nano.read(two)
    ann, bob = sorted(faces, key=lambda face: face.detection.box[0])
    masks = region_masks([LEFT, RIGHT], grid=(8, 16), size=(32, 64))
    cosine = float(ann.identity.vector @ bob.identity.vector)
    people = [ann.identity, bob.identity]
    assert likeness_by_region(faces, people, masks) == pytest.approx([1, 1], abs=1e-5)
    assert likeness_by_region(faces, people[::-1], masks) == pytest.approx([cosine] * 2, abs=1e-5)
    assert np.isnan(likeness_by_region([bob], people, masks)[0])
    shown = torch.from_numpy(np.stack([two, white_face(grey, 20, 20, 60, 90)])).permute(0, 3, 1, 2) / 127.5 - 1
    both, one = nano.likeness_together(shown, [ann.identity] * 2, masks)
    assert both == pytest.approx(cosine, abs=1e-5)
    assert np.isnan(one)


def test_a_picture_of_two_is_replayed_from_its_file(nano: FacePipeline, tmp_path: Path) -> None:
    people = made_up(nano, 2)
    mask = np.zeros((32, 64), bool)
    mask[:, 40:] = True
    made = nano(people, prompt="a man", seed=3, regions=[LEFT, mask], width=64, look="painting")
    assert json.loads(json.dumps(made.recipe["settings"]))["width"] == 64
    (path,) = writer.save(made, tmp_path / "with", people=people)
    assert len(read_recipe(path)["inputs"]) == 2
    assert replay(path, pipe=nano)[1].max == 0


def test_without_identities_a_picture_of_two_cannot_be_replayed(nano: FacePipeline, tmp_path: Path) -> None:
    photo = face_photo(tmp_path / "ann.png")
    people = [nano.read(photo)[0], *made_up(nano, 1)]
    made = nano(people, prompt="a man", seed=3, regions=[LEFT, RIGHT])
    (path,) = writer.save(made, tmp_path, people=people, identity=False)
    assert not {"identity", "others"} & read_recipe(path).keys()
    with pytest.raises(BadOption, match="shows several people and was written without their identities"):
        replay(path, pipe=nano, photo=photo)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"regions": [LEFT]}, "each person needs a region: 2 people, got 1"),
        ({"regions": [LEFT, RIGHT, LEFT]}, "each person needs a region: 2 people, got 3"),
        ({"regions": []}, "each person needs a region: 2 people, got 0"),
        pytest.param(
            {"regions": "left"}, "each person needs a region: 2 people, got 'left'", marks=pytest.mark.untyped
        ),
        pytest.param(
            {"regions": [LEFT, None]}, "a region is a box x0, y0, x1, y1 .* got None", marks=pytest.mark.untyped
        ),
        ({"regions": [LEFT, (0.5, 0, 1)]}, "a region is a box"),
        ({"regions": [LEFT, (0.5, 0, 0.5, 1)]}, "0 <= x0 < x1 <= 1"),
        ({"regions": [LEFT, (10, 0, 32, 32)]}, "in shares of the image"),
        pytest.param({"regions": [LEFT, ("a", 0, 1, 1)]}, "a region is a box", marks=pytest.mark.untyped),
        ({"regions": [LEFT, np.ones((16, 32))]}, r"a mask is as large as the image, 32 x 32 .* 8 x 8; got 16 x 32"),
        ({"regions": [LEFT, np.zeros((32, 32))]}, "region 2 is too small"),
        ({"regions": [LEFT, (0.5, 0.5, 0.51, 0.51)]}, "region 2 is too small"),
        ({"prompt": None}, r"regions .* is for words beside the face: give a prompt without \{person\}"),
        ({"pose": (10, 0, 0)}, "pose is for pictures of one face"),
        ({"reference": "me.jpg"}, "reference is for pictures of one face"),
        ({"likeness_guidance": 0.1}, "likeness_guidance is for pictures of one face"),
        ({"regions": None, "pose": (10, 0, 0), "width": 64}, "pose is for pictures of one face"),
    ],
)
def test_regions_that_cannot_be_are_one_clear_error(model: FacePipeline, options: dict, message: str) -> None:
    with pytest.raises(BadOption, match=message):
        model(made_up(model, 2), **{"prompt": "a man", "regions": [LEFT, RIGHT]} | options)
