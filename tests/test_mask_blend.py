"""What is known of a picture stays, at every step and for every scheduler; what is free is made as ever."""

import hashlib
import json
from itertools import pairwise

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from conftest import made_up
from personae.errors import BadOption
from personae.pipeline import FacePipeline
from personae.sampling import codec, parameterisation, scheduler_table, schedulers
from personae.sampling.loop import denoise, draw_noise, generators_for
from personae.sampling.mask_blend import MaskBlend, cells
from tolerances import assert_same

FLOW = diffusers.FlowMatchEulerDiscreteScheduler(shift=1.5)
NOISE = diffusers.DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
CASES = [
    (name, kind) for name, e in scheduler_table.SCHEDULERS.items() for kind in ("flow", "noise") if getattr(e, kind)
]
LIKE = {"flow": FLOW, "noise": NOISE}
# These draw new noise at every step: of them only the level is known.
NOISY = ("ddpm", "dpm++-sde", "euler-a", "lcm")
# Diffusers knows no level of these, or looks it up by rounded times.
UNNOISED = ("flow-heun", "unipc")


def shrug(x: Tensor, t: Tensor) -> Tensor:
    """A network that knows nothing: something bounded, other in every cell."""
    return torch.sin(3 * x + t / 100)


def left_half(count: int = 2, side: int = 4) -> Tensor:
    free = torch.zeros(count, side, side, dtype=torch.bool)
    free[:, :, : side // 2] = True
    return free


@pytest.fixture
def clean() -> Tensor:
    return torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))


# ---------------------------------------------------------------------- numbers


@pytest.mark.parametrize(("name", "kind"), [case for case in CASES if case[0] not in NOISY])
def test_the_level_is_the_schedulers_own(name: str, kind: str, clean: Tensor) -> None:
    """A perfect network for one known picture, exactly at the level claimed, stays on the line from it to its noise:
    every deterministic scheduler walks `signal clean + spread noise`, and so must the fused part."""
    noise = draw_noise((3, 4, 4), generators_for([4, 5]))
    scheduler = schedulers.fresh(name, like=LIKE[kind], steps=9)
    seen = []

    def oracle(x: Tensor, t: Tensor) -> Tensor:
        return noise - clean if kind == "flow" else noise

    def compare(step: int, t: Tensor, latents: Tensor) -> Tensor:
        if step + 1 < len(scheduler.timesteps):
            signal, spread = parameterisation.signal_and_noise(scheduler, scheduler.timesteps[step + 1])
            seen.append((latents - signal * clean - spread * noise).abs().max().item())
        return latents

    signal, spread = parameterisation.signal_and_noise(scheduler, scheduler.timesteps[0])
    # Begun where the level says, which for some is not where unit noise begins.
    start = (signal * clean + spread * noise) / getattr(scheduler, "init_noise_sigma", 1.0)
    denoise(oracle, start, scheduler, on_step=compare)
    assert len(seen) >= 8
    assert max(seen) < 2e-4 * max(1, spread)


@pytest.mark.parametrize(("name", "kind"), [case for case in CASES if case[0] not in UNNOISED])
def test_what_is_known_is_noised_as_diffusers_noises(name: str, kind: str, clean: Tensor) -> None:
    scheduler = schedulers.fresh(name, like=LIKE[kind], steps=7)
    noise = draw_noise((3, 4, 4), generators_for([0, 1]))
    flow = isinstance(scheduler, diffusers.FlowMatchEulerDiscreteScheduler)
    for step in (0, 3):
        scheduler = schedulers.fresh(name, like=LIKE[kind], steps=7)
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(step)
        t = scheduler.timesteps[step]
        known = scheduler.scale_noise(clean, t[None], noise) if flow else scheduler.add_noise(clean, noise, t[None])
        signal, spread = parameterisation.signal_and_noise(scheduler, t)
        torch.testing.assert_close(signal * clean + spread * noise, known)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_outside_the_mask_it_ends_with_the_known_bit_for_bit(name: str, kind: str, clean: Tensor) -> None:
    generators = generators_for([3, 4])
    noise, free = draw_noise((3, 4, 4), generators), left_half()
    scheduler = schedulers.fresh(name, like=LIKE[kind], steps=6)
    levels = []

    def watch(step: int, t: Tensor, latents: Tensor) -> Tensor:
        if step + 1 < len(scheduler.timesteps):
            signal, spread = parameterisation.signal_and_noise(scheduler, scheduler.timesteps[step + 1])
            torch.testing.assert_close(latents[..., 2:], (signal * clean + spread * noise)[..., 2:], rtol=0, atol=0)
            levels.append(spread)
        return latents

    mask_blend = MaskBlend(clean=clean, mask=free)
    made = denoise(shrug, noise, scheduler, generators=generators, on_step=watch, mask_blend=mask_blend)
    assert torch.equal(made[..., 2:], clean[..., 2:])
    assert not torch.isclose(made[..., :2], clean[..., :2]).any()
    assert all(a >= b for a, b in pairwise(levels))  # Heun's stand twice
    assert levels[-1] > 0


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_an_all_white_mask_is_plain_generation(name: str, kind: str, clean: Tensor) -> None:
    made = []
    for mask_blend in (None, MaskBlend(clean=clean, mask=torch.ones(2, 4, 4, dtype=torch.bool))):
        generators = generators_for([3, 4])
        scheduler = schedulers.fresh(name, like=LIKE[kind], steps=6)
        noise = draw_noise((3, 4, 4), generators)
        made.append(denoise(shrug, noise, scheduler, generators=generators, mask_blend=mask_blend))
    assert torch.equal(*made)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_strength_leaves_out_the_first_steps(name: str, kind: str, clean: Tensor) -> None:
    """The network first meets the known picture, everywhere, at the level of the first step that is made."""
    for strength, share in ((0.5, 0.5), (0.01, 0.1)):
        generators = generators_for([3, 4])
        noise = draw_noise((3, 4, 4), generators)
        scheduler = schedulers.fresh(name, like=LIKE[kind], steps=10)
        off = []

        def watch(x: Tensor, t: Tensor, scheduler=scheduler, off=off, noise=noise) -> Tensor:
            form = parameterisation.at(scheduler, t)
            off.append((x - form.signal * clean - form.noise * noise).abs().max().item())
            return shrug(x, t)

        mask_blend = MaskBlend(clean=clean, mask=left_half(), strength=strength)
        made = denoise(watch, noise, scheduler, generators=generators, mask_blend=mask_blend)
        assert abs(len(off) - share * len(scheduler.timesteps)) <= 1
        assert off[0] < 1e-5
        assert len(off) == 1 or off[1] > 0.01
        assert torch.equal(made[..., 2:], clean[..., 2:])


def test_a_stop_leaves_the_known_clean(clean: Tensor) -> None:
    scheduler = schedulers.fresh("flow-euler", like=FLOW, steps=6)
    noise = draw_noise((3, 4, 4), generators_for([3, 4]))
    mask_blend = MaskBlend(clean=clean, mask=left_half())
    stopped = denoise(shrug, noise, scheduler, on_step=lambda *_: None, mask_blend=mask_blend)
    assert torch.equal(stopped[..., 2:], clean[..., 2:])


@pytest.mark.parametrize("strength", [0, -0.5, 1.01, float("nan")])
def test_an_impossible_strength_is_refused(clean: Tensor, strength: float) -> None:
    with pytest.raises(BadOption, match="strength is a share of the steps"):
        MaskBlend(clean=clean, mask=left_half(), strength=strength)


def test_a_cell_is_free_if_any_of_its_pixels_is() -> None:
    mask = np.zeros((8, 16), bool)
    mask[3, 5] = mask[7, 15] = True
    expected = torch.tensor([[False, True, False, False], [False, False, False, True]])
    assert torch.equal(cells(mask, (2, 4)), expected)


# ---------------------------------------------------------------------- the option, on both families


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def right_half_white() -> np.ndarray:
    mask = np.zeros((32, 32), bool)
    mask[:, 16:] = True
    return mask


def latents(pipe: FacePipeline, people: object, **options: object) -> Tensor:
    return pipe(people, output_type="latent", measure_likeness=False, **options).images


def encoded(pipe: FacePipeline, *pictures: np.ndarray) -> Tensor:
    with torch.no_grad():
        return codec.encode(pipe.vae, codec.to_tensor(np.stack(pictures)))


def test_the_rest_of_the_image_stays(pipe: FacePipeline) -> None:
    person = made_up(pipe)[0]
    made = latents(pipe, person, seed=1, image=picture(), mask_image=right_half_white(), num_images_per_prompt=3)
    known = encoded(pipe, picture())
    for one in made:
        torch.testing.assert_close(one[..., :4], known[0, ..., :4], rtol=0, atol=0)
        assert (one[..., 4:] - known[0, ..., 4:]).abs().max() > 0.01
    plain = latents(pipe, person, seed=1, num_images_per_prompt=3)
    assert (made[..., 4:] - plain[..., 4:]).abs().max() > 1e-4  # it saw what is around


def test_all_white_is_generation_without_an_image(pipe: FacePipeline) -> None:
    people = made_up(pipe)
    for scheduler in (None, "dpm++-sde"):
        plain = latents(pipe, people, seed=1, scheduler=scheduler)
        white = np.full((32, 32, 3), 255, np.uint8)
        masked = latents(pipe, people, seed=1, scheduler=scheduler, image=picture(), mask_image=white)
        torch.testing.assert_close(masked, plain, rtol=0, atol=0)


def test_each_image_may_have_a_picture_and_a_mask_of_its_own(pipe: FacePipeline) -> None:
    people, pictures = made_up(pipe), [picture(seed) for seed in range(3)]
    masks = [right_half_white(), right_half_white()[:, ::-1], np.full((32, 32), 255, np.uint8)]
    together = latents(pipe, people, seed=5, image=pictures, mask_image=masks)
    alone = [latents(pipe, people[i], seed=5 + i, image=pictures[i], mask_image=masks[i]) for i in range(3)]
    assert_same(together, torch.cat(alone), steps=4)
    twice = latents(pipe, people, seed=5, num_images_per_prompt=2, image=pictures, mask_image=masks[0])
    torch.testing.assert_close(twice[::2, ..., :4], encoded(pipe, *pictures)[..., :4], rtol=0, atol=1e-5)


def test_a_small_strength_keeps_the_picture(pipe: FacePipeline) -> None:
    person, known = made_up(pipe)[0], encoded(pipe, picture())
    far = [
        (latents(pipe, person, seed=1, num_inference_steps=20, image=picture(), strength=s) - known).abs().mean()
        for s in (0.05, 0.5, 0.95)
    ]
    assert far[0] < far[1] < far[2]


def test_the_recipe_holds_hashes_and_masks(pipe: FacePipeline, tmp_path) -> None:
    path = tmp_path / "crop.png"
    Image.fromarray(picture()).save(path)
    person = made_up(pipe)[0]
    options = {"image": str(path), "mask_image": right_half_white(), "strength": 0.5}
    made = pipe(person, seed=3, output_type="latent", measure_likeness=False, num_inference_steps=8, **options)
    settings = json.loads(json.dumps(made.recipe["settings"]))
    assert settings["image"] == {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "name": "crop.png"}
    again = latents(pipe, person, seed=3, **settings | {"image": path})
    torch.testing.assert_close(again, made.images, rtol=0, atol=0)
    unnamed = pipe(person, seed=3, measure_likeness=False, image=picture(), mask_image=right_half_white())
    assert unnamed.recipe["settings"]["image"] == {"sha256": hashlib.sha256(picture().tobytes()).hexdigest()}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": picture()[:16], "strength": 0.5}, r"image must be 32 x 32 pixels.*got 32 x 16"),
        ({"image": picture(), "mask_image": np.ones((8, 32), bool)}, r"mask_image must be 32 x 32.*got 32 x 8"),
        ({"image": picture(), "mask_image": np.zeros((32, 32), bool)}, "mask_image is black"),
        ({"image": picture()}, "give mask_image, or a strength below 1"),
        ({"image": picture(), "strength": 0}, "strength must be a number above 0 and at most 1, got 0"),
        ({"image": picture(), "strength": "half"}, "strength must be a number above 0 and at most 1"),
        ({"mask_image": np.ones((32, 32), bool)}, "nothing to act on: give image with it"),
        ({"strength": 0.5}, "nothing to act on: give image with it"),
        ({"image": [], "strength": 0.5}, "an empty list"),
        ({"image": [picture()] * 2, "strength": 0.5}, "2 images for 3 people and 3 images"),
    ],
)
def test_impossible_pictures_are_refused(pipe: FacePipeline, options: dict[str, object], message: str) -> None:
    with pytest.raises(BadOption, match=message):
        pipe(made_up(pipe), **options)
