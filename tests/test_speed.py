"""The speeds of a request: what each saves, counted in calls of the UNet, and that exact stays exact."""

from collections.abc import Iterator
from pathlib import Path

import diffusers
import pytest
import torch

from conftest import made_up
from personae import pipeline
from personae.errors import BadOption, WeightsCorrupt, WeightsMissing
from personae.pipeline import FacePipeline
from personae.sampling import codec, scheduler_table, schedulers
from personae.sampling.fast import modes
from personae.sampling.fast.mode_table import MODES, Mode
from personae.sampling.fast.modes import guided_times
from tolerances import assert_same

STEPS = 10


def latents(pipe: FacePipeline, count: int = 1, **options) -> torch.Tensor:
    options = {"num_inference_steps": STEPS, "guidance_scale": 3.0, "seed": 0} | options
    return pipe(made_up(pipe, 1), num_images_per_prompt=count, output_type="latent", **options).images


@pytest.fixture
def counted(pipe: FacePipeline) -> Iterator[dict[str, int]]:
    """Rows that went through the middle and through the outermost layer of the UNet."""
    rows = {"deep": 0, "outer": 0}

    def count(name: str):
        return lambda _module, given, _output: rows.__setitem__(name, rows[name] + len(given[0]))

    hooks = [
        pipe.unet.mid_block.resnets[0].register_forward_hook(count("deep")),
        pipe.unet.up_blocks[-1].resnets[-1].register_forward_hook(count("outer")),
    ]
    yield rows
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize(
    ("options", "outer", "deep"),
    [
        ({}, 20, 20),
        ({"speed": "exact"}, 20, 20),
        ({"guidance_scale": 1.0}, 10, 10),
        ({"guidance_interval": (0.2, 0.6)}, 14, 14),
        ({"cache_interval": 2}, 20, 10),
        ({"cache_interval": 3}, 20, 8),
        # Guided are steps 2-5. Whole ones are 0, then 2 (its other half was not there), then 5, 8; or 7.
        ({"speed": "balanced"}, 14, 1 + 2 + 2 + 1),
        ({"speed": "fast"}, 14, 1 + 2 + 1),
        ({"speed": "balanced", "guidance_scale": 1.0}, 10, 4),
        ({"speed": "balanced", "cache_interval": 1}, 14, 14),
        # Few steps: all of them count, unless a part is named.
        ({"speed": "balanced", "num_inference_steps": 8}, 16, 16),
        ({"speed": "fast", "num_inference_steps": 4}, 8, 8),
        ({"cache_interval": 2, "num_inference_steps": 4}, 8, 4),
    ],
)
def test_what_a_speed_saves(pipe: FacePipeline, counted: dict[str, int], options, outer: int, deep: int) -> None:
    latents(pipe, **options)
    assert counted == {"deep": deep, "outer": outer}


def test_exact_is_what_a_call_without_speed_is(pipe: FacePipeline) -> None:
    before = latents(pipe)
    latents(pipe, speed="fast")
    for options in ({"speed": "exact"}, {"guidance_interval": (0, 1)}, {"cache_interval": 1}, {"decoder": "full"}):
        torch.testing.assert_close(latents(pipe, **options), before, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["balanced", "fast"])
def test_a_fast_mode_is_deterministic_and_alone_as_in_company(pipe: FacePipeline, name: str) -> None:
    together = latents(pipe, 4, speed=name)
    torch.testing.assert_close(latents(pipe, 4, speed=name), together, rtol=0, atol=0)
    assert_same(latents(pipe, 4, speed=name, batch_size=3), together, steps=STEPS)
    for seed in range(4):
        assert_same(latents(pipe, seed=seed, speed=name)[0], together[seed], steps=STEPS)
    assert not torch.allclose(together, latents(pipe, 4), atol=1e-3)


def test_a_stop_or_an_error_midway_leaves_no_trace(pipe: FacePipeline) -> None:
    exact = latents(pipe)

    def stop(pipe, step, t, tensors):
        pipe.interrupt = step == 3

    def fail(pipe, step, t, tensors):
        raise RuntimeError("midway")

    latents(pipe, speed="balanced", callback_on_step_end=stop)
    with pytest.raises(RuntimeError, match="midway"):
        latents(pipe, speed="balanced", callback_on_step_end=fail)
    assert not any("forward" in vars(module) for module in pipe.unet.modules())
    torch.testing.assert_close(latents(pipe), exact, rtol=0, atol=0)


@pytest.mark.parametrize("name", scheduler_table.SCHEDULERS)
def test_every_scheduler_goes_with_balanced(pipe: FacePipeline, name: str) -> None:
    entry = scheduler_table.SCHEDULERS[name]
    if entry.flow if schedulers.is_flow(pipe.scheduler) else entry.noise:
        assert latents(pipe, scheduler=name, speed="balanced").isfinite().all()


def test_the_recipe_names_what_was_given_up_and_replays_it(pipe: FacePipeline) -> None:
    first = pipe(made_up(pipe, 1), seed=0, num_inference_steps=STEPS, speed="balanced", output_type="pt")
    settings = first.recipe["settings"]
    assert settings["speed"] == "balanced"
    assert settings["decoder"] == "full"
    again = pipe(made_up(pipe, 1), seed=0, output_type="pt", **settings)
    torch.testing.assert_close(again.images, first.images, rtol=0, atol=0)
    named = pipe(made_up(pipe, 1), seed=0, num_inference_steps=STEPS, guidance_interval=(0.5, 1), output_type="latent")
    assert named.recipe["settings"]["guidance_interval"] == [0.5, 1.0]
    assert "speed" not in pipe(made_up(pipe, 1), seed=0, output_type="latent").recipe["settings"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"speed": "balance"}, "unknown speed 'balance': did you mean 'balanced'"),
        ({"decoder": "tiney"}, "unknown decoder 'tiney': did you mean 'tiny'"),
        ({"cache_interval": 0}, "cache_interval must be a whole number between 1 and 1000, got 0"),
        ({"guidance_interval": 0.5}, "two shares of the steps"),
        ({"guidance_interval": (0.8, 0.2)}, r"0 <= first < last <= 1, got \(0.8, 0.2\)"),
    ],
)
def test_impossible_speeds_are_refused(pipe: FacePipeline, options, message: str) -> None:
    with pytest.raises(BadOption, match=message):
        latents(pipe, **options)


def test_times_in_which_guidance_acts() -> None:
    timesteps = torch.tensor([900, 700, 500, 300, 100])
    assert guided_times(timesteps, (0, 1)) == (100, 900)
    assert guided_times(timesteps, (0.2, 0.6)) == (500, 700)
    assert guided_times(timesteps, (0.99, 1.0)) == (100, 100)
    assert guided_times(timesteps, (0.4, 0.41)) == (500, 500)


def test_modes_are_ordered_by_what_they_give_up() -> None:
    assert MODES["exact"] == Mode()
    assert MODES["exact"].cache_interval < MODES["balanced"].cache_interval < MODES["fast"].cache_interval
    assert MODES["fast"].for_steps(4) == Mode(tiny_decoder=True)


def test_a_padded_batch_is_the_same(pipe: FacePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, rows = latents(pipe, 5, batch_size=2), []
    monkeypatch.setattr(pipeline, "is_compiled", lambda network: True)
    hook = pipe.unet.register_forward_pre_hook(lambda _, given: rows.append(len(given[0])))
    padded = latents(pipe, 5, batch_size=2)
    hook.remove()
    assert_same(padded, plain, steps=STEPS)
    assert set(rows) == {4}


def test_decoding_together_is_bounded_by_pixels(pipe: FacePipeline) -> None:
    assert modes.decoded_at_once(pipe.vae, torch.zeros(9, 4, 8, 8)) == 256  # of 32 px: as many pixels as one of 512
    assert modes.decoded_at_once(pipe.vae, torch.zeros(9, 4, 256, 256)) == 1


@pytest.fixture
def with_taesd(nano_folder: Path, tmp_path: Path) -> FacePipeline:
    pipe = FacePipeline.from_pretrained(nano_folder)
    pipe.save_pretrained(tmp_path)
    torch.manual_seed(0)
    blocks = {"num_encoder_blocks": (1, 1, 1), "num_decoder_blocks": (1, 1, 1)}
    widths = {"encoder_block_out_channels": (8, 8, 8), "decoder_block_out_channels": (8, 8, 8)}
    diffusers.AutoencoderTiny(latent_channels=4, **blocks, **widths).save_pretrained(tmp_path / "taesd")
    (tmp_path / "sha256.json").unlink()
    pipe = FacePipeline.from_pretrained(tmp_path)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_the_tiny_decoder_decodes_the_same_latents(with_taesd: FacePipeline) -> None:
    pipe = with_taesd
    options = {"seed": 0, "num_inference_steps": 4, "output_type": "pt", "measure_likeness": False}
    tiny = pipe(made_up(pipe, 1), decoder="tiny", **options)
    full = pipe(made_up(pipe, 1), **options)
    assert tiny.images.shape == full.images.shape == (1, 3, 32, 32)
    expected = pipe.component("taesd").decode(latents(pipe, num_inference_steps=4, guidance_scale=None)).sample
    assert_same(tiny.images, (expected.clamp(-1, 1) / 2 + 0.5).detach())
    assert not torch.allclose(tiny.images, full.images, atol=1e-2)
    fast = pipe(made_up(pipe, 1), speed="fast", **options)  # four steps: nothing of fast but its decoder is left
    torch.testing.assert_close(fast.images, tiny.images, rtol=0, atol=0)
    assert fast.recipe["settings"]["decoder"] == "tiny"
    assert pipe(made_up(pipe, 1), speed="fast", decoder="full", **options).recipe["settings"]["decoder"] == "full"


def test_a_tiny_decoder_that_is_not_there(pipe: FacePipeline) -> None:
    with pytest.raises(WeightsMissing, match="has no taesd/"):
        latents(pipe, decoder="tiny")
    assert latents(pipe, speed="fast").isfinite().all()  # its decoder is an offer, which the recipe records


def test_a_tiny_decoder_for_other_latents_or_damaged(with_taesd: FacePipeline) -> None:
    folder = with_taesd.folder / "taesd"
    diffusers.AutoencoderTiny(latent_channels=16).save_pretrained(folder)
    with pytest.raises(WeightsCorrupt, match="16 channels, this model's have 4"):
        with_taesd.component("taesd")
    (folder / "diffusion_pytorch_model.safetensors").write_bytes(b"damaged")
    with pytest.raises(WeightsCorrupt, match=r"taesd cannot be loaded.*fetch that folder again"):
        with_taesd.component("taesd")


def test_preparing_changes_no_picture(pipe: FacePipeline) -> None:
    """Layout, and a decoder that activates in place: also where a gradient goes through it."""
    clean = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))

    def decoded() -> tuple[torch.Tensor, torch.Tensor]:
        moved = clean.clone().requires_grad_()
        images = codec.decode(pipe.vae, moved)
        (gradient,) = torch.autograd.grad(images.square().sum(), moved)
        return images.detach(), gradient

    before = decoded()
    modes.prepare(pipe)
    for one, other in zip(decoded(), before, strict=True):
        assert_same(one, other)
