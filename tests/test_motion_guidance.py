"""Guidance by the motion reader: towards the pose and expression asked for, and only what is asked."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import personae
from conftest import made_up
from facex_fixtures import made_up_face
from personae.conditioning.facex.assembly import Assembly, FaceRef
from personae.controls import expression_values, motion, registry
from personae.controls.request import Request
from personae.controls.wanted_motion import motion_reader
from personae.errors import BadOption, WeightsMissing
from personae.pipeline import FacePipeline
from personae.provenance import writer
from personae.reading.differentiable import AlignedMotion
from personae.reading.reader import FaceReader
from personae.replay import replay
from personae.sampling import codec
from personae.sampling.identity_guidance import MotionScore, ReaderGuidance
from personae.types import BLENDSHAPES, Array, Identity

SMILE = [BLENDSHAPES.index(f"mouthSmile{side}") for side in ("Left", "Right")]
CHEAP = {"num_inference_steps": 2, "measure_likeness": False}
GAZE = [index for index, name in enumerate(BLENDSHAPES) if name.startswith("eyeLook")]


@pytest.fixture(scope="module")
def nano() -> FacePipeline:
    """The bundled model: a reader that has been trained, and an adapter to be asked for expressions."""
    pipe = personae.load("nano", device="cpu", torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def network(pipe: FacePipeline) -> AlignedMotion:
    reader = pipe.reader.motion
    return AlignedMotion(
        reader.path, source=pipe.config.crop_template, template=reader.template, size=reader.size
    ).eval()


def latents(pipe: FacePipeline, **options: object) -> torch.Tensor:
    return pipe(made_up(pipe, 2), seed=0, num_inference_steps=6, output_type="latent", **options).images


@torch.no_grad()
def read(pipe: FacePipeline, clean: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return network(pipe)(codec.decode(pipe.vae, clean))


def test_it_sees_what_the_reader_sees(nano: FacePipeline) -> None:
    image = codec.to_uint8(codec.decode(nano.vae, latents(nano)))[0]
    points = np.array(personae.reading.align.template(nano.config.crop_template).points) * len(image) - 0.5
    seen = nano.reader.motion.read(image, points)
    pose, shapes = network(nano)(codec.to_tensor(image[None]))
    np.testing.assert_allclose(shapes[0].clip(0, 1), seen.blendshapes, atol=0.1)
    np.testing.assert_allclose(pose[0, :2], (seen.pose.yaw, seen.pose.pitch), atol=1)


def test_the_direction_leads_to_what_is_asked_and_ends_there(nano: FacePipeline) -> None:
    clean = latents(nano)
    shapes = read(nano, clean)[1]
    asked = torch.full((2, 52), torch.nan)
    asked[:, SMILE] = shapes[:, SMILE] + 0.4

    def towards(blendshapes: torch.Tensor) -> ReaderGuidance:
        score = MotionScore(motion=network(nano), pose=torch.full((2, 3), torch.nan), blendshapes=blendshapes)
        return ReaderGuidance(vae=nano.vae, reader_score=score, strength=1, interval=(0, 1))

    direction = towards(asked).direction(clean)
    torch.testing.assert_close(direction.square().mean((1, 2, 3)).sqrt(), torch.ones(2))
    after = read(nano, clean + 0.02 * direction)[1]
    assert (after[:, SMILE] > shapes[:, SMILE]).all()
    asked[:, SMILE] = shapes[:, SMILE]
    assert towards(asked).direction(clean).abs().max() < 1e-3  # nothing is left to ask for
    assert towards(torch.full((2, 52), torch.nan)).direction(clean).abs().max() == 0


@pytest.mark.parametrize("amount", [0.0, 0.9])
def test_faces_do_as_they_are_asked(nano: FacePipeline, amount: float) -> None:
    asked = {"expression": {"mouthSmileLeft": amount, "mouthSmileRight": amount}}
    plain, guided = (
        (read(nano, latents(nano, motion_guidance=strength, **asked))[1][:, SMILE] - amount).abs().mean()
        for strength in (0, 0.2)
    )
    assert guided < plain


def test_at_zero_nothing_changes(nano: FacePipeline) -> None:
    asked, usual = {"expression": {"jawOpen": 0.5}}, nano.config.motion_guidance
    off = latents(nano, motion_guidance=0, **asked)
    nano.register_to_config(motion_guidance=0.0)
    try:
        torch.testing.assert_close(off, latents(nano, **asked), rtol=0, atol=0)
    finally:
        nano.register_to_config(motion_guidance=usual)


@pytest.mark.parametrize("asked", [{"expression": {"jawOpen": 0.5}}, {"pose": {"yaw": 20}}], ids=["shapes", "pose"])
def test_a_model_guides_of_its_own_accord(nano: FacePipeline, asked: dict) -> None:
    """Unless it is told not to."""
    own = latents(nano, **asked)
    torch.testing.assert_close(own, latents(nano, motion_guidance=nano.config.motion_guidance, **asked), rtol=0, atol=0)
    assert (own - latents(nano, motion_guidance=0, **asked)).abs().max() > 0.1
    assert nano(made_up(nano, 1), **asked, **CHEAP).recipe["settings"]["motion_guidance"] == 0.1


def test_of_one_face_that_is_asked_for_something(nano: FacePipeline, nano_like: FacePipeline) -> None:
    for asked in ({}, {"width": 256, "expression": {"jawOpen": 0.5}}):
        assert "motion_guidance" not in nano(made_up(nano, 1), **asked, **CHEAP).recipe["settings"]
    assert nano_like.config.motion_guidance == 0


def test_the_recipe_asks_for_the_same_again(nano: FacePipeline, tmp_path: Path) -> None:
    person = made_up(nano, 1)
    asked = {"expression": {"jawOpen": 0.5}, "motion_guidance": 0.1, "motion_interval": (0.25, 1)}
    made = nano(person, seed=3, num_inference_steps=6, **asked)
    settings = made.recipe["settings"]
    assert (settings["motion_guidance"], settings["motion_interval"]) == (0.1, [0.25, 1.0])
    (path,) = writer.save(made, tmp_path, people=person)
    assert replay(path, pipe=nano)[1].max <= 1


# ---------------------------------------------------------------------- what is looked for


def requested(pipe: FacePipeline, people: int = 1, **options: object) -> Request:
    side = pipe.unet.config.sample_size if pipe else 8
    return Request(
        faces=[],
        people=made_up(pipe, people) if pipe else [Identity(vector=np.ones(4), space="any")] * people,
        person_index=range(people),
        grid=(side, side),
        controls=[control.of(options) for control in registry.CONTROLS],
    )


def wanted(pipe: FacePipeline, people: int = 1, **options: object) -> Array:
    return motion.wanted_of(pipe, requested(pipe, people, **options))


def test_only_what_is_named_is_looked_for(nano: FacePipeline) -> None:
    found = wanted(nano, 2, expression={"smile": 0.8})
    assert found.shape == (2, 55)
    assert set(np.flatnonzero(np.isfinite(found[1]))) == {3 + index for index in SMILE}
    found = wanted(nano, 2, pose=[(20, 0, 0), {"yaw": -10, "jawOpen": 0.3}])
    np.testing.assert_array_equal(found[:, 0], (20, -10))
    assert found[1, 3 + BLENDSHAPES.index("jawOpen")] == np.float32(0.3)
    assert np.isnan(found[0, 3:]).all()


@pytest.mark.parametrize(("form", "count"), [("names", 3), ("file", 3), ("numbers", 51)])
def test_a_recipe_wants_what_the_request_wanted(nano: FacePipeline, tmp_path: Path, form: str, count: int) -> None:
    """Zeros included: a mouth that is to be closed is a request."""
    amounts, file = {"smile": 0.8, "jawOpen": 0.0}, tmp_path / "asked.json"
    file.write_text(json.dumps(amounts))
    numbers = np.zeros(len(BLENDSHAPES))
    numbers[SMILE] = 0.8
    asked = {"names": amounts, "file": file, "numbers": numbers}[form]
    setting = json.loads(json.dumps(expression_values.blendshapes_of(nano, asked)[1]))
    found = wanted(nano, expression=asked)
    assert np.isfinite(found).sum() == count
    np.testing.assert_array_equal(wanted(nano, expression=setting), found)


def test_no_smile_is_replayed_as_no_smile(nano: FacePipeline) -> None:
    person = made_up(nano, 1)
    made = nano(person, seed=3, output_type="latent", expression={"smile": 0.0}, **CHEAP)
    settings = json.loads(json.dumps(made.recipe["settings"]))
    assert settings["motion_guidance"] == 0.1
    again = nano(person, seed=3, output_type="latent", measure_likeness=False, **settings)
    assert torch.equal(again.images, made.images)


@pytest.mark.parametrize(
    ("options", "strength"),
    [
        ({"expression": {"smile": 0}}, 0.1),
        ({"expression": {"smile": 1}, "expression_scale": 0}, None),
        ({"expression": {"smile": 1}, "expression_scale": 0.5}, 0.05),
        ({"pose": {"yaw": 20}, "pose_scale": 0}, None),
        ({"pose": {"yaw": 20}, "pose_scale": 2}, 0.1),
        ({"pose": {"yaw": 20}, "pose_scale": 0.25, "expression": {"smile": 1}}, 0.025),
        ({"expression": {"neutral": 1}}, None),  # nothing to look for is no reason to fail
        ({"expression": {}}, None),
        ({"expression": {}, "pose": {"yaw": 20}}, 0.1),
        ({"expression": {"smile": 1}, "expression_scale": 0, "motion_guidance": 0.2}, 0.2),
    ],
    ids=str,
)
def test_its_own_accord_goes_by_what_is_requested(nano: FacePipeline, options: dict, strength: float | None) -> None:
    request = requested(nano, **options)
    plan = request.control(motion.MotionControl).plan(nano, request)
    assert (None if plan is None else plan.settings["motion_guidance"]) == strength


def test_an_expression_at_scale_zero_is_none_bit_for_bit(nano: FacePipeline) -> None:
    person, asked = made_up(nano, 1), {"expression": {"smile": 1}, "expression_scale": 0}
    plain, scaled = (nano(person, seed=0, output_type="latent", **one, **CHEAP).images for one in ({}, asked))
    assert torch.equal(plain, scaled)


def test_an_assemblys_sources_are_looked_for() -> None:
    ann, bob = made_up_face(0, yaw=15), made_up_face(1)
    first, second = FaceRef("ann"), FaceRef("bob")
    picture = {"reference": ann.crop, "edit_mask": np.ones((128, 128), bool), "faces": {first: ann, second: bob}}
    sources = {"pose": first, "expression": second, "gaze": first}
    found = wanted(None, assembly=Assembly(sources=sources, **picture))[0]
    np.testing.assert_array_equal(found[:3], (15, 0, 0))
    np.testing.assert_array_equal(found[3:][GAZE], ann.blendshapes[GAZE])
    others = [index for index in range(1, 52) if index not in GAZE]
    np.testing.assert_array_equal(found[3:][others], bob.blendshapes[others])
    assert np.isnan(found[3])
    assert np.isfinite(wanted(None, assembly=Assembly(sources={"gaze": first}, **picture))[0]).sum() == len(GAZE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"motion_guidance": 0.1}, "looks for a pose or an expression: give pose or expression"),
        ({"motion_guidance": 0.1, "expression": {"neutral": 1}}, "looks for a pose or an expression"),
        ({"motion_guidance": -1, "expression": {"smile": 1}}, "motion_guidance must be a number between 0 and 1000"),
        ({"motion_interval": (0, 1)}, "motion_interval has nothing to act on: give motion_guidance"),
        ({"motion_guidance": 0.1, "motion_interval": (1, 0), "expression": {"smile": 1}}, "0 <= first < last <= 1"),
        ({"motion_guidance": 0.1, "expression": {"smile": 1}, "width": 256}, "motion_guidance is for pictures of one"),
    ],
)
def test_what_makes_no_sense_is_refused(nano: FacePipeline, options: dict, message: str) -> None:
    with pytest.raises(BadOption, match=message):
        nano(made_up(nano, 1), **options)


def test_a_model_without_a_motion_reader_says_so(nano: FacePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    assert motion_reader(nano) is not None
    reader = FaceReader(detector=nano.reader.detector, embedder=nano.reader.embedder)
    monkeypatch.setattr(nano, "reader", reader)
    assert motion_reader(nano) is None
    with pytest.raises(WeightsMissing, match="own motion reader"):
        nano(made_up(nano, 1), motion_guidance=0.1, expression={"smile": 1})
