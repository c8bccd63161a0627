"""Guidance, schedulers, loop and codec, against closed forms and the bare networks."""

from pathlib import Path
from types import SimpleNamespace

import diffusers
import numpy as np
import pytest
import torch
from torch import Tensor

from conftest import WIDTH, nano_parts, sd15_parts
from personae.conditioning.types import Conditioning
from personae.errors import BadOption
from personae.sampling import codec, scheduler_table, schedulers
from personae.sampling.fast import modes
from personae.sampling.guidance import combine, guided
from personae.sampling.loop import denoise, draw_noise, generators_for
from tolerances import assert_same

MEAN, SPREAD = 0.8, 0.5  # of the Gaussian that the closed-form models below know
FLOW = diffusers.FlowMatchEulerDiscreteScheduler(shift=1.5)
NOISE = diffusers.DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)


def velocity(x: Tensor, t: Tensor) -> Tensor:
    """The exact velocity E[noise - data | x] of a rectified flow to a Gaussian."""
    s = float(t) / 1000
    variance = (1 - s) ** 2 * SPREAD**2 + s**2
    residual = x - (1 - s) * MEAN
    return s / variance * residual - (MEAN + (1 - s) * SPREAD**2 / variance * residual)


def epsilon(x: Tensor, t: Tensor) -> Tensor:
    """The exact noise E[noise | x] for the same Gaussian under `NOISE`'s schedule."""
    position = float(t)
    alphas = np.interp(position, np.arange(1000), NOISE.alphas_cumprod.numpy())
    variance = alphas * SPREAD**2 + 1 - alphas
    return (1 - alphas) ** 0.5 / variance * (x - alphas**0.5 * MEAN)


CASES = [
    (name, kind) for name, e in scheduler_table.SCHEDULERS.items() for kind in ("flow", "noise") if getattr(e, kind)
]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_every_scheduler_of_the_table_reaches_the_known_distribution(name: str, kind: str) -> None:
    like, predict = (FLOW, velocity) if kind == "flow" else (NOISE, epsilon)
    steps = 200 if name in ("ddpm", "euler-a", "lcm") else 40
    generators = generators_for(range(256))
    scheduler = schedulers.fresh(name, like=like, steps=40 if name == "lcm" else steps)
    samples = denoise(predict, draw_noise((1, 4, 4), generators), scheduler, generators=generators)
    assert samples.mean().item() == pytest.approx(MEAN, abs=0.06)
    if name != "lcm":  # a consistency sampler is not exact for a model that is not a consistency model
        assert samples.std().item() == pytest.approx(SPREAD, abs=0.06)


@pytest.mark.parametrize("like", [FLOW, NOISE], ids=["flow", "noise"])
def test_the_models_own_scheduler_is_copied_not_used(like) -> None:
    before = dict(like.config)
    own = schedulers.fresh(None, like=like, steps=3)
    assert type(own) is type(like)
    assert own is not like
    assert dict(like.config) == before
    assert len(own.timesteps) == 3
    assert len(like.timesteps) == 1000


def test_a_flow_keeps_its_shift_under_any_name() -> None:
    assert schedulers.fresh("dpm++", like=FLOW, steps=5).config.flow_shift == 1.5
    dpm = schedulers.fresh("dpm++", like=FLOW, steps=5)
    assert schedulers.fresh("flow-euler", like=dpm, steps=5).config.shift == 1.5


@pytest.mark.parametrize("name", [None, *(name for name, kind in CASES if kind == "noise")])
@pytest.mark.parametrize("own", [diffusers.DPMSolverMultistepScheduler, diffusers.DDIMScheduler])
def test_a_saved_model_samples_under_any_name_as_before(own, name: str | None, tmp_path: Path) -> None:
    """Saved, a scheduler no longer knows which of its settings nobody has chosen."""
    like = own(beta_schedule="scaled_linear", steps_offset=1)
    like.save_pretrained(tmp_path)
    before, after = (schedulers.fresh(name, like=one, steps=7) for one in (like, own.from_pretrained(tmp_path)))
    assert torch.equal(after.timesteps, before.timesteps)
    assert torch.equal(after.alphas_cumprod, like.alphas_cumprod)
    assert torch.equal(before.alphas_cumprod, like.alphas_cumprod)  # none of them has betas of its own
    assert {key: after.config[key] for key in before.config if not key.startswith("_")} == {
        key: value for key, value in before.config.items() if not key.startswith("_")
    }


def test_what_a_model_chose_goes_to_every_scheduler() -> None:
    like = diffusers.DDIMScheduler(timestep_spacing="trailing", steps_offset=1)
    for name in ("euler", "lcm", "dpm++", "ddim"):
        assert schedulers.fresh(name, like=like, steps=4).config.timestep_spacing == "trailing"


def test_even_flow_steps_end_where_the_last_one_still_counts() -> None:
    scheduler = schedulers.fresh("flow-euler", like=diffusers.FlowMatchEulerDiscreteScheduler(), steps=4)
    np.testing.assert_allclose(scheduler.sigmas, [1, 0.75, 0.5, 0.25, 0], atol=1e-6)


def test_wrong_schedulers_are_refused_with_the_right_names() -> None:
    with pytest.raises(BadOption, match=r"did you mean .*'dpm\+\+'"):
        schedulers.fresh("dpm+", like=FLOW, steps=5)
    with pytest.raises(BadOption, match=r"trained on a flow: choose one of .*flow-euler"):
        schedulers.fresh("ddim", like=FLOW, steps=5)
    with pytest.raises(BadOption, match=r"trained on a noise schedule: choose one of .*euler"):
        schedulers.fresh("flow-euler", like=NOISE, steps=5)
    for steps in (0, -1, 1001):
        with pytest.raises(BadOption, match="between 1 and 1000"):
            schedulers.fresh(None, like=FLOW, steps=steps)
    assert len(schedulers.fresh("lcm", like=NOISE, steps=50).timesteps) == 50
    with pytest.raises(BadOption, match="the number of steps of lcm lies between 1 and 50, got 51"):
        schedulers.fresh("lcm", like=NOISE, steps=51)


def test_noise_depends_on_its_seed_alone() -> None:
    together = draw_noise((4, 8, 8), generators_for([3, 4, 5]))
    assert together.shape == (3, 4, 8, 8)
    torch.testing.assert_close(together[1:2], draw_noise((4, 8, 8), generators_for([4])), rtol=0, atol=0)


def test_the_loop_can_be_stopped_and_steered() -> None:
    seen = []

    def on_step(step: int, t: Tensor, latents: Tensor) -> Tensor | None:
        seen.append((step, float(t)))
        return None if step == 1 else latents * 0

    scheduler = schedulers.fresh(None, like=FLOW, steps=4)
    denoise(velocity, torch.ones(1, 1, 2, 2), scheduler, on_step=on_step)
    assert [step for step, _ in seen] == [0, 1]
    assert seen[0][1] == 1000
    with pytest.raises(BadOption, match="as many generators"):
        denoise(velocity, torch.ones(2, 1, 2, 2), scheduler, generators=generators_for([0]))


def drawn(count: int, seed: int) -> Conditioning:
    rng = torch.Generator().manual_seed(seed)
    return Conditioning(
        tokens=torch.randn(count, 5, WIDTH, generator=rng), pooled=torch.randn(count, WIDTH, generator=rng)
    )


@pytest.mark.parametrize(("scale", "expected"), [(0, 2), (1, 5), (3, 11), (7.5, 24.5), (0.5, 3.5)])
def test_guidance_goes_on_from_the_unconditional_through_the_conditional(scale: float, expected: float) -> None:
    """By hand: the conditional prediction is 5, the unconditional 2; each unit of scale adds their distance, 3."""
    assert combine(torch.tensor(5.0), torch.tensor(2.0), scale).item() == expected


@pytest.mark.parametrize("parts", [nano_parts, sd15_parts])
@torch.no_grad()
def test_guidance_weighs_both_predictions_whatever_the_batch(parts) -> None:
    """Each row's two predictions, made alone by the bare network, with weights worked out by hand."""
    unet = parts()["unet"]
    x, t, positive, negative = torch.randn(3, 4, 8, 8), torch.tensor(500.0), drawn(3, 0), drawn(1, 1)
    classes = unet.config.class_embed_type is not None

    def plain(x: Tensor, one: Conditioning) -> Tensor:
        labels = one.pooled if classes else None
        return unet(x, t, encoder_hidden_states=one.tokens, class_labels=labels).sample

    conditional = torch.cat([plain(x[i : i + 1], positive.rows(torch.tensor([i]))) for i in range(3)])
    unconditional = torch.cat([plain(x[i : i + 1], negative) for i in range(3)])
    assert (conditional - unconditional).abs().max() > 0.01  # the weights are seen in the result
    for scale, of_conditional, of_unconditional in ((0.0, 0, 1), (1.0, 1, 0), (3.0, 3, -2), (7.5, 7.5, -6.5)):
        for batch_size in (1, 2, 16):
            found = guided(unet, positive, negative, scale, batch_size=batch_size)(x, t)
            assert_same(found, of_conditional * conditional + of_unconditional * unconditional)


@torch.no_grad()
def test_scale_one_skips_the_unguided_half() -> None:
    unet, rows = sd15_parts()["unet"], []
    unet.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    for scale in (1.0, 2.0):
        guided(unet, drawn(3, 0), drawn(1, 1), scale)(torch.randn(3, 4, 8, 8), torch.tensor(10))
    assert rows == [3, 6]


def test_guidance_refuses_what_is_no_number_or_negative() -> None:
    for scale in (-1.0, float("nan"), float("inf")):
        with pytest.raises(BadOption, match="guidance"):
            guided(sd15_parts()["unet"], drawn(1, 0), drawn(1, 1), scale)


class _Plain:
    """An autoencoder that changes nothing, so that its config's numbers are all that happens."""

    config = diffusers.configuration_utils.FrozenDict(scaling_factor=2.0, shift_factor=3.0)
    dtype = torch.float32

    def encode(self, images: Tensor) -> SimpleNamespace:
        return SimpleNamespace(latent=images)

    def decode(self, latents: Tensor, *, return_dict: bool) -> tuple[Tensor]:
        return (latents,)


@pytest.mark.untyped  # images of one channel
def test_latents_are_shifted_and_scaled_by_the_config() -> None:
    """By hand: (0.5 - 3) x 2 = -5, and back; 3 and 4 / 2 + 3 = 5 lie outside [-1, 1] and are cut."""
    assert codec.encode(_Plain(), torch.full((1, 3, 2, 2), 0.5)).unique().tolist() == [-5.0]
    latents = torch.tensor([-5.0, -6.5, 0.0, 4.0]).reshape(4, 1, 1, 1)
    assert codec.decode(_Plain(), latents).flatten().tolist() == [0.5, -0.25, 1.0, 1.0]


@pytest.mark.parametrize("parts", [nano_parts, sd15_parts])
@torch.no_grad()
def test_the_codec_scales_and_batches(parts) -> None:
    vae = parts()["vae"]
    images = torch.rand(3, 3, 32, 32) * 2 - 1
    latents = codec.encode(vae, images)
    assert latents.shape == (3, 4, 8, 8)
    encoded = vae.encode(images)
    plain = encoded.latent if hasattr(encoded, "latent") else encoded.latent_dist.mean
    assert_same(latents, plain * vae.config.scaling_factor)
    decoded, unclipped = codec.decode(vae, latents), vae.decode(plain).sample
    assert_same(decoded, unclipped.clamp(-1, 1), unclipped=unclipped)
    assert_same(codec.decode(vae, latents, batch_size=2), decoded, unclipped=unclipped)


def test_pixels_come_back_from_tensors() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 6, 3), dtype=np.uint8)
    tensor = codec.to_tensor(pixels)
    assert tensor.shape == (2, 3, 5, 6)
    assert tensor.min() >= -1
    assert tensor.max() <= 1
    np.testing.assert_array_equal(codec.to_uint8(tensor), pixels)


def test_a_device_that_is_not_here_is_refused() -> None:
    assert modes.device_for("cpu") == torch.device("cpu")
    with pytest.raises(BadOption, match="unknown device 'gpu'"):
        modes.device_for("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(BadOption, match="no cuda device"):
            modes.device_for("cuda:0")
