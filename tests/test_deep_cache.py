"""Deep features kept over steps: against the network run by hand, and that the UNet comes back untouched."""

import diffusers
import pytest
import torch
from torch import Tensor

from conftest import WIDTH, nano_parts, sd15_parts
from personae.conditioning.types import Conditioning
from personae.errors import BadOption
from personae.sampling.fast.deep_cache import DeepCache, inside
from personae.sampling.guidance import guided
from personae.sampling.loop import denoise, draw_noise, generators_for
from personae.sampling.unet_hooks import engaged
from test_controls import Nudge
from tolerances import assert_same

PARTS = pytest.mark.parametrize("parts", [nano_parts, sd15_parts])


def told(count: int, seed: int) -> Conditioning:
    rng = torch.Generator().manual_seed(seed)
    return Conditioning(
        tokens=torch.randn(count, 5, WIDTH, generator=rng), pooled=torch.randn(count, WIDTH, generator=rng)
    )


def sampled(unet, controls, *, count: int = 3, steps: int = 6, batch_size: int = 16, **options) -> Tensor:
    generators = generators_for(range(count))
    scheduler = diffusers.DDIMScheduler(clip_sample=False)  # clipped, latents hide how large they were
    scheduler.set_timesteps(steps)
    predict = guided(
        unet, told(3, 0).rows(torch.arange(count)), told(1, 1), 2.0, hooks=controls, batch_size=batch_size, **options
    )
    with engaged(controls, unet), torch.no_grad():
        return denoise(predict, draw_noise((4, 8, 8), generators), scheduler)


def state(unet) -> list[object]:
    """What engaging could leave behind: every module's own attributes and hooks."""
    return [
        (name, sorted(vars(m)), len(m._forward_hooks), len(m._forward_pre_hooks)) for name, m in unet.named_modules()
    ]


@PARTS
def test_an_interval_of_one_changes_no_bit(parts) -> None:
    unet = parts()["unet"]
    torch.testing.assert_close(sampled(unet, [DeepCache(1)]), sampled(unet, []), rtol=0, atol=0)


@PARTS
@torch.no_grad()
def test_between_whole_steps_only_the_outermost_layer_is_fresh(parts) -> None:
    """The whole step's deep features, caught by a hook, put through the outer layer by hand at other latents."""
    unet, x, cache = parts()["unet"], torch.randn(2, 2, 4, 8, 8), DeepCache(2)
    first, then = torch.tensor(900), torch.tensor(700)
    last, both = unet.up_blocks[-1], torch.cat([told(1, 1).tokens.expand(2, -1, -1), told(2, 0).tokens])
    pooled = torch.cat([told(1, 1).pooled.expand(2, -1), told(2, 0).pooled])
    labels = pooled if unet.config.class_embed_type is not None else None

    caught = []
    hook = last.resnets[-1].register_forward_pre_hook(lambda _, given: caught.append(given[0]))
    unet(torch.cat([x[0], x[0]]), first, encoder_hidden_states=both, class_labels=labels)
    hook.remove()
    width = caught[0].shape[1] - unet.config.block_out_channels[0]  # beside the skip of conv_in

    doubled = torch.cat([x[1], x[1]])
    time = unet.time_embedding(unet.get_time_embed(doubled, then))
    if labels is not None:
        time = time + unet.get_class_embed(doubled, labels)
    features = last.resnets[-1](torch.cat([caught[0][:, :width], unet.conv_in(doubled)], 1), time)
    unconditional, conditional = unet.conv_out(unet.conv_act(unet.conv_norm_out(features))).chunk(2)

    predict = guided(unet, told(2, 0), told(1, 1), 2.0, hooks=[cache])
    with engaged([cache], unet):
        predict(x[0], first)
        found = predict(x[1], then)
    assert_same(found, unconditional + 2.0 * (conditional - unconditional))
    assert not torch.allclose(found, guided(unet, told(2, 0), told(1, 1), 2.0)(x[1], then), atol=1e-3)


@pytest.mark.parametrize(("interval", "whole"), [(1, 6), (2, 3), (3, 2), (4, 2), (9, 1)])
@PARTS
def test_the_inside_runs_in_every_nth_step(parts, interval: int, whole: int) -> None:
    unet, counts = parts()["unet"], {"inside": 0, "outside": 0}

    def count(name: str):
        return lambda *_: counts.__setitem__(name, counts[name] + 1)

    unet.mid_block.resnets[0].register_forward_hook(count("inside"))
    unet.up_blocks[-1].resnets[-1].register_forward_hook(count("outside"))
    sampled(unet, [DeepCache(interval)])
    assert counts == {"inside": whole, "outside": 6}


@PARTS
@pytest.mark.parametrize("interval", [(-1.0, 2000.0), (300.0, 700.0)], ids=["guided", "guided in between"])
def test_batches_and_padding_change_nothing(parts, interval: tuple[float, float]) -> None:
    unet = parts()["unet"]
    whole = sampled(unet, [DeepCache(3)], interval=interval)
    for options in ({"batch_size": 1}, {"batch_size": 2}, {"batch_size": 2, "pad": True}):
        assert_same(sampled(unet, [DeepCache(3)], interval=interval, **options), whole, steps=6)
    assert_same(sampled(unet, [DeepCache(3)], interval=interval, count=1), whole[:1], steps=6)


@PARTS
def test_a_half_that_was_not_kept_is_computed(parts) -> None:
    """Guidance that begins late needs the unconditional half, which the last whole step did not have."""
    unet, rows = parts()["unet"], []
    unet.mid_block.resnets[0].register_forward_hook(lambda _module, given, _output: rows.append(len(given[0])))
    sampled(unet, [DeepCache(10)], interval=(0, 500), steps=4)  # at t = 750, 500, 250, 0
    assert rows == [3, 6]
    rows.clear()
    sampled(unet, [DeepCache(10)], interval=(500, 1000), steps=4)  # the conditional half is there already
    assert rows == [6]


@PARTS
@torch.no_grad()
def test_residuals_of_a_controlnet_are_taken_along(parts) -> None:
    unet, x, t = parts()["unet"], torch.randn(2, 4, 8, 8), torch.tensor(400)
    nudge, cache = Nudge([3.0, -3.0]), DeepCache(2)
    expected = guided(unet, told(2, 0), told(1, 1), 2.0, hooks=[nudge])(x, t)
    predict = guided(unet, told(2, 0), told(1, 1), 2.0, hooks=[nudge, cache])
    with engaged([nudge, cache], unet):
        whole, kept = predict(x, t), predict(x, t)
    torch.testing.assert_close(whole, expected, rtol=0, atol=0)
    assert_same(kept, expected)


@PARTS
@torch.no_grad()
def test_a_call_that_is_not_guidances_own_is_left_alone(parts) -> None:
    """A control may run the UNet to prepare a call, as a reference does."""
    unet, x, t, cache = parts()["unet"], torch.randn(1, 4, 8, 8), torch.tensor(400), DeepCache(2)
    labels = told(1, 0).pooled if unet.config.class_embed_type is not None else None

    def bare(x: Tensor) -> Tensor:
        return unet(x, t, encoder_hidden_states=told(1, 0).tokens, class_labels=labels).sample

    expected = bare(2 * x)
    predict = guided(unet, told(1, 0), told(1, 1), 2.0, hooks=[cache])
    with engaged([cache], unet):
        whole = predict(x, t)
        torch.testing.assert_close(bare(2 * x), expected, rtol=0, atol=0)
        assert_same(predict(x, t), whole)


@PARTS
def test_the_unet_comes_back_untouched(parts) -> None:
    unet = parts()["unet"]
    before = state(unet)
    sampled(unet, [DeepCache(2)])
    assert state(unet) == before

    def fail(*_: object) -> None:
        raise RuntimeError("midway")

    hook = unet.mid_block.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="midway"):
        sampled(unet, [DeepCache(2)])
    hook.remove()
    assert state(unet) == before


def test_a_compiled_unet_is_not_compiled_anew_for_a_request() -> None:
    unet, graphs = sd15_parts()["unet"], []

    def compiler(graph, _inputs):
        graphs.append(graph)
        return graph.forward

    expected = sampled(unet, [DeepCache(2)], steps=2, count=1)
    unet.compile(backend=compiler, dynamic=False)
    torch.testing.assert_close(sampled(unet, [DeepCache(2)], steps=2, count=1), expected, rtol=0, atol=0)
    assert graphs == []


def test_forwards_that_others_put_there_stay() -> None:
    unet = sd15_parts()["unet"]
    module = inside(unet)[0]
    module.forward = own = module.forward
    sampled(unet, [DeepCache(2)])
    assert vars(module)["forward"] is own


def test_an_interval_counts_from_one() -> None:
    with pytest.raises(BadOption, match="got 0"):
        DeepCache(0)
