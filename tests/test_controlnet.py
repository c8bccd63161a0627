"""The pose ControlNet: diffusers' numbers, nothing at scale 0, whole weights and differences, one error per mistake."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel
from PIL import Image

from conftest import made_up
from controlnet_fixtures import (
    CHANNELS,
    GUIDANCE,
    SCALES,
    SEEDS,
    SIDE,
    STEPS,
    drawn,
    plain_diffusers,
    random_controlnet,
    three_maps,
)
from model_fixtures import empty_photo, face_photo
from personae.conditioning.head_mesh import FaceModel
from personae.controls import pose_values
from personae.errors import BadImage, BadOption, NoFaceFound, PersonaeError, WeightsCorrupt, WeightsMissing
from personae.pipeline import FacePipeline
from personae.provenance import writer
from personae.provenance.recipe import read_recipe
from personae.sampling.controlnet import DIFFERENCE, MARKER, PoseHook, load, save_difference
from personae.sampling.guidance import guided
from personae.sampling.loop import denoise, draw_noise, generators_for
from personae.sampling.schedulers import fresh
from personae.sampling.unet_hooks import engaged
from personae.training.methods.pose.network import trainable_copy
from personae.types import Pose
from tolerances import assert_same

GOLDEN = Path(__file__).parent / "golden" / "controlnet.npz"


@pytest.fixture(scope="module")
def posing(pipe_factory: Callable[[str], FacePipeline]) -> FacePipeline:
    return pipe_factory("nano_like")


@pytest.fixture(scope="module")
def pipe_factory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """One of the two families with a `controlnet/` in its folder."""

    def make(family: str) -> FacePipeline:
        plain = request.getfixturevalue(family)
        folder = tmp_path_factory.mktemp(family)
        plain.save_pretrained(folder)
        random_controlnet(plain.unet).save_pretrained(folder / "controlnet")
        (folder / "sha256.json").unlink()
        pipe = FacePipeline.from_pretrained(folder)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    return make


def sampled(pipe: FacePipeline, scale: float | None, maps: torch.Tensor | None = None, **options: int) -> torch.Tensor:
    """(3, 4, 8, 8) final latents of three people, as the pipeline's own stages make them."""
    positive, negative = pipe.condition(made_up(pipe))
    network = random_controlnet(pipe.unet)
    maps = three_maps() if maps is None else maps
    controls = [] if scale is None else [PoseHook(network=network, maps=maps, scale=scale)]
    generators = generators_for(SEEDS)
    scheduler = fresh("dpm++", like=pipe.scheduler, steps=options.pop("steps", STEPS))
    with torch.no_grad(), engaged(controls, pipe.unet):
        predict = guided(pipe.unet, positive, negative, GUIDANCE, hooks=controls, **options)
        return denoise(predict, draw_noise((4, 8, 8), generators), scheduler, generators=generators)


@pytest.mark.parametrize("scale", SCALES)
def test_equal_to_diffusers_and_to_the_golden_numbers(sd15_like: FacePipeline, scale: float) -> None:
    positive, negative = sd15_like.condition(made_up(sd15_like))
    expected = plain_diffusers(positive.tokens.detach(), negative.tokens.detach(), scale)
    found = sampled(sd15_like, scale)
    golden = torch.from_numpy(np.load(GOLDEN)[str(scale)])
    for one, wanted, stored in zip(found, expected, golden, strict=True):
        assert (one - wanted).abs().max() < 1e-3 * wanted.std()
        assert (one - stored).abs().max() < 1e-3 * stored.std()


def test_scale_0_calls_nothing_and_changes_nothing(pipe: FacePipeline) -> None:
    class Forbidden(ControlNetModel):
        def forward(self, *args, **kwargs):
            raise AssertionError("called")

    network = Forbidden.from_unet(pipe.unet, conditioning_embedding_out_channels=CHANNELS)
    positive, negative = pipe.condition(made_up(pipe))
    x, t = torch.randn(3, 4, 8, 8), torch.tensor(500)
    with torch.no_grad():
        plain = guided(pipe.unet, positive, negative, 2.0)(x, t)
        off = PoseHook(network=network, maps=three_maps(), scale=0)
        assert torch.equal(guided(pipe.unet, positive, negative, 2.0, hooks=[off])(x, t), plain)
        on = PoseHook(network=network, maps=three_maps(), scale=1)
        with pytest.raises(AssertionError, match="called"):
            guided(pipe.unet, positive, negative, 2.0, hooks=[on])(x, t)


def test_each_image_has_its_own_map_in_any_batch(pipe: FacePipeline) -> None:
    whole = sampled(pipe, 1.0, steps=3)
    assert_same(sampled(pipe, 1.0, steps=3, batch_size=2), whole, steps=3)
    one_for_all = sampled(pipe, 1.0, three_maps()[:1], steps=3)
    assert_same(one_for_all[0], whole[0], steps=3)
    assert (one_for_all[1:] - whole[1:]).abs().max() > 1e-3 * whole.std()


@pytest.mark.parametrize("family", ["nano_like", "sd15_like"])
def test_a_pose_from_the_front_door(pipe_factory, family: str) -> None:
    pipe = pipe_factory(family)
    people = made_up(pipe, 2)
    asked = {"num_images_per_prompt": 2, "seed": 3, "output_type": "latent"}
    turned = pipe(people, pose=(30, 0, 0), **asked)
    plain = pipe(people, **asked)
    assert (turned.images - plain.images).abs().max() > 1e-3
    assert turned.recipe["settings"]["pose"] == [30.0, 0.0, 0.0]
    assert turned.recipe["settings"]["pose_scale"] == 1.0
    json.dumps(turned.recipe["settings"])
    again = pipe(people, seed=3, num_images_per_prompt=2, output_type="latent", **turned.recipe["settings"])
    assert torch.equal(again.images, turned.images)
    assert torch.equal(pipe(people, pose=Pose(yaw=30, pitch=0, roll=0), **asked).images, turned.images)
    assert torch.equal(pipe(people, pose=(30, 0, 0), pose_scale=0, **asked).images, plain.images)
    assert torch.equal(pipe(people, **asked).images, plain.images)  # nothing stays behind


def test_a_pose_of_each_person(posing: FacePipeline, tmp_path: Path) -> None:
    people = made_up(posing, 3)
    asked = [(30, 0, 0), {"yaw": -20, "jawOpen": 0.5}, Pose(yaw=0, pitch=10, roll=0)]
    together = posing(people, pose=asked, seed=3, num_inference_steps=2, measure_likeness=False)
    paths = writer.save(together, tmp_path, people=people)
    for n, (person, pose, image) in enumerate(zip(people, asked, together.images, strict=True)):
        alone = posing(person, pose=pose, seed=3 + n, num_inference_steps=2, measure_likeness=False)
        assert np.abs(np.asarray(image, np.int16) - np.asarray(alone.images[0], np.int16)).max() <= 1
        assert read_recipe(paths[n])["settings"] == alone.recipe["settings"]
    with pytest.raises(BadOption, match="2 poses for 3 people"):
        posing(people, pose=asked[:2])


def test_a_map_of_ones_own(posing: FacePipeline, tmp_path: Path) -> None:
    path = tmp_path / "map.png"
    Image.fromarray(drawn(30)).save(path)
    person = made_up(posing, 1)
    asked = {"seed": 3, "output_type": "latent"}
    own = posing(person, pose_map=path, **asked)
    torch.testing.assert_close(own.images, posing(person, pose=(30, 0, 0), **asked).images)
    assert own.recipe["settings"]["pose_map"]["name"] == path.name
    large = Image.fromarray(drawn(30)).resize((4 * SIDE, 4 * SIDE), Image.Resampling.NEAREST)
    resized = posing(person, pose_map=large, **asked).images
    torch.testing.assert_close(resized, own.images, atol=0.2, rtol=0.1)
    wide = Image.fromarray(drawn(30)).resize((2 * SIDE, SIDE))
    with pytest.raises(BadOption, match="pose map is square"):
        posing(person, pose_map=wide)
    with pytest.raises(BadImage, match="no such file"):
        posing(person, pose_map=tmp_path / "none.png")


def test_a_photo_gives_pose_and_expression_and_numbers_for_a_replay(posing: FacePipeline, tmp_path: Path) -> None:
    photo = face_photo(tmp_path / "ref.png")
    person = made_up(posing, 1)
    made = posing(person, pose=photo, seed=3, output_type="latent")
    told = made.recipe["settings"]["pose"]
    assert set(told) > {"yaw", "pitch", "roll", "jawOpen"}
    again = posing(person, seed=3, output_type="latent", **made.recipe["settings"])
    assert torch.equal(again.images, made.images)


def test_the_source_keeps_its_shape(posing: FacePipeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A read face brings its own mesh, an identity the mean one."""
    face = posing.read(face_photo(tmp_path / "me.png"))[0]
    shapes = []

    def noting(shape, *rest):
        shapes.append(shape)
        return np.zeros((SIDE, SIDE, 3), np.uint8)

    monkeypatch.setattr(pose_values, "_drawn", noting)
    posing([face, face.identity], pose=(0, 0, 0), seed=0, output_type="latent", num_inference_steps=1)
    assert shapes[1] is None
    np.testing.assert_array_equal(shapes[0], FaceModel.bundled().shape_of(face.motion))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"pose": (80, 0, 0)}, BadOption, "yaw of a pose lies between -75 and 75, got 80"),
        ({"pose": (0, -76, 0)}, BadOption, "pitch of a pose"),
        ({"pose": (0, 0, 61)}, BadOption, "roll of a pose lies between -60 and 60"),
        ({"pose": (float("nan"), 0, 0)}, BadOption, "yaw of a pose"),
        ({"pose": (1, 2)}, BadOption, "three angles"),
        ({"pose": ("a", 0, 0)}, BadOption, "three angles"),
        ({"pose": {"yaw": 3, "jawOpn": 1}}, BadOption, "did you mean 'jawOpen'"),
        ({"pose": {"jawOpen": 3}}, BadOption, "jawOpen of a pose lies between 0 and 1"),
        ({"pose": (0, 0, 0), "pose_map": np.zeros((32, 32, 3), np.uint8)}, BadOption, "not both"),
        ({"pose": (0, 0, 0), "pose_scale": 3}, BadOption, "between 0 and 2"),
        ({"pose_scale": 1.0}, BadOption, "give pose or pose_map"),
        ({"pose": "nowhere.jpg"}, BadImage, "no such file"),
    ],
)
def test_mistakes_are_named(posing: FacePipeline, options: dict, error: type[PersonaeError], message: str) -> None:
    with pytest.raises(error, match=message):
        posing(made_up(posing, 1), **options)


def test_a_pose_photo_needs_a_face(posing: FacePipeline, tmp_path: Path) -> None:
    with pytest.raises(NoFaceFound, match=r"pose photo .*empty.png"):
        posing(made_up(posing, 1), pose=empty_photo(tmp_path / "empty.png"))


def test_a_model_without_a_controlnet_says_so(pipe: FacePipeline) -> None:
    with pytest.raises(WeightsMissing, match="no controlnet/, which a pose"):
        pipe(made_up(pipe, 1), pose=(0, 0, 0))


def test_a_difference_loads_as_the_network_that_was_trained(pipe: FacePipeline, tmp_path: Path) -> None:
    network = trainable_copy(pipe.unet, rank=2, channels=CHANNELS)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.copy_((torch.randn(parameter.shape, generator=generator) * 0.2).half())
    save_difference(network, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", MARKER, DIFFERENCE}
    loaded = load(tmp_path, pipe.unet)
    assert not any("lora" in name for name in loaded.state_dict())
    told, _ = pipe.condition(made_up(pipe))
    labels = told.pooled if pipe.unet.config.class_embed_type else None
    x, t = torch.randn(3, 4, 8, 8, generator=generator), torch.tensor(300)
    with torch.no_grad():
        one, other = (
            n(x, t, told.tokens, three_maps(), class_labels=labels, return_dict=False) for n in (network.eval(), loaded)
        )
    for a, b in zip([*one[0], one[1]], [*other[0], other[1]], strict=True):
        assert a.std() > 1e-3
        assert_same(a, b)


def test_damaged_or_strange_weights_are_refused(pipe: FacePipeline, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    random_controlnet(pipe.unet).save_pretrained(whole)
    assert tuple(load(whole, pipe.unet).config.block_out_channels) == (8, 16)
    cut = shutil.copytree(whole, tmp_path / "cut") / "diffusion_pytorch_model.safetensors"
    cut.write_bytes(cut.read_bytes()[:100])
    with pytest.raises(WeightsCorrupt, match="not a ControlNet of this model"):
        load(cut.parent, pipe.unet)
    other = ControlNetModel.from_config(random_controlnet(pipe.unet).config, cross_attention_dim=20)
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(WeightsCorrupt, match="its cross_attention_dim is 20"):
        load(tmp_path / "other", pipe.unet)

    difference = tmp_path / "difference"
    save_difference(trainable_copy(pipe.unet, rank=2, channels=CHANNELS), difference)
    marker = difference / MARKER
    good = marker.read_text()
    marker.write_text('{"format": "another"}')
    with pytest.raises(WeightsCorrupt, match="does not say"):
        load(difference, pipe.unet)
    marker.write_text(good)
    from safetensors.torch import load_file, save_file

    state = load_file(difference / DIFFERENCE)
    lost = next(name for name in state if name.startswith("controlnet_mid"))
    save_file({n: v for n, v in state.items() if n != lost}, difference / DIFFERENCE)
    with pytest.raises(WeightsCorrupt, match=r"controlnet_mid_block.* is missing"):
        load(difference, pipe.unet)


def test_a_difference_may_steer_the_conditional_half_alone(pipe: FacePipeline, tmp_path: Path) -> None:
    """As guess mode: the other half, and the price, are those of no pose at all."""
    trained = trainable_copy(pipe.unet, rank=2, channels=CHANNELS)
    with torch.no_grad():
        for name, parameter in trained.named_parameters():
            if name.startswith(("controlnet_down_blocks", "controlnet_mid_block")):
                parameter.normal_(std=0.2, generator=torch.Generator().manual_seed(0))
    save_difference(trained, tmp_path)
    network = load(tmp_path, pipe.unet)
    rows_seen = []
    network.register_forward_hook(lambda _module, given, _output: rows_seen.append(len(given[0])))
    positive, negative = pipe.condition(made_up(pipe))
    x, t = torch.randn(3, 4, 8, 8), torch.tensor(500)

    def predicted(scale: float, *controls: PoseHook) -> torch.Tensor:
        return guided(pipe.unet, positive, negative, scale, hooks=controls)(x, t)

    with torch.no_grad():
        control = PoseHook(network=network, maps=three_maps())
        posed, unposed, untold = predicted(1.0, control), predicted(1.0), predicted(0.0)
        assert (posed - unposed).abs().max() > 0.01
        torch.testing.assert_close(predicted(0.0, control), untold)
        assert_same(predicted(2.0, control), untold + 2 * (posed - untold))
    assert set(rows_seen) == {3}
