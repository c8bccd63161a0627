"""The decoder's blocks in strips: the same numbers, and the memory of one map beside the input."""

from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor

from conftest import sd15_parts
from personae.sampling import codec
from personae.sampling.fast import modes, strips
from personae.sampling.fast.allocator import release_freed_memory
from personae.sampling.fast.strips import PhasedUpsample2D, StripResnetBlock2D


def twins(inner: int, outer: int, groups: int = 4) -> tuple[ResnetBlock2D, ResnetBlock2D]:
    """A block without an embedding of time, as autoencoders have them, and the same in strips."""
    torch.manual_seed(0)
    plain = ResnetBlock2D(in_channels=inner, out_channels=outer, temb_channels=None, groups=groups, eps=1e-6).eval()
    for weight in plain.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    plain.to(memory_format=torch.channels_last)
    other = torch.nn.Sequential(deepcopy(plain))
    strips.install(other)
    assert type(other[0]) is StripResnetBlock2D
    return plain, other[0]


def drawn(*shape: int) -> Tensor:
    return (5 + 3 * torch.randn(*shape)).to(memory_format=torch.channels_last)  # a mean far from 0


@torch.no_grad()
@pytest.mark.parametrize(("inner", "outer"), [(16, 16), (16, 8), (8, 16), (24, 16)])
@pytest.mark.parametrize("strip", [1, 3 * 16 * 20, 1 << 21])
@pytest.mark.parametrize("height", [1, 2, 13])
def test_a_block_in_strips_is_the_block(
    monkeypatch: pytest.MonkeyPatch, inner: int, outer: int, strip: int, height: int
) -> None:
    monkeypatch.setattr(strips, "_LARGE", height * 20)
    monkeypatch.setattr(strips, "_STRIP", strip)
    plain, other = twins(inner, outer)
    x = drawn(1, inner, height, 20)
    wanted = plain(x, None)
    found = other(x.clone(memory_format=torch.preserve_format), None)
    assert found.shape == wanted.shape
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert (found - wanted).abs().max() < 1e-5 * wanted.std()


@torch.no_grad()
def test_a_small_map_two_maps_and_another_precision_are_computed_as_ever() -> None:
    plain, other = twins(16, 8)
    for x in (drawn(1, 16, 8, 8), drawn(2, 16, 64, 64)):
        before = x.clone()
        assert torch.equal(other(x, None), plain(x, None))
        assert torch.equal(x, before)
    half = drawn(1, 16, 128, 128).to(torch.bfloat16)
    assert torch.equal(other.to(torch.bfloat16)(half, None), plain.to(torch.bfloat16)(half, None))


def test_gradients_flow_as_ever() -> None:
    plain, other = twins(16, 8)
    x = drawn(1, 16, 128, 128)
    assert torch.equal(other(x, None), plain(x, None))
    other(x, None).sum().backward()
    assert other.conv1.weight.grad is not None


def in_mib(line: str) -> float:
    return int(Path("/proc/self/status").read_text().split(f"{line}:")[1].split()[0]) / 1024


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read as Linux tells it")
@torch.no_grad()
@pytest.mark.parametrize(("inner", "maps"), [(16, 0.5), (8, 1.0)])
def test_what_a_block_takes_beside_its_input(monkeypatch: pytest.MonkeyPatch, inner: int, maps: float) -> None:
    """Half as many channels: a copy of the result alone; as many: one map. As ever: more."""
    monkeypatch.setattr(strips, "_STRIP", 1 << 18)
    plain, other = twins(inner, 8)
    x = drawn(1, inner, 1024, 1024)
    size = x.nbytes / 2**20
    other(drawn(1, inner, 128, 128), None)
    release_freed_memory()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew (proc(5))
    resting = in_mib("VmRSS")
    other(x, None)
    took = in_mib("VmHWM") - resting
    assert took < maps * size + 24  # strips, and what oneDNN lays out
    plain(x, None)
    assert in_mib("VmHWM") - resting > maps * size + 40


@torch.no_grad()
@pytest.mark.parametrize("size", [(1, 1), (2, 5), (6, 4)])
@pytest.mark.parametrize("channels", [(3, 3), (3, 5)])
def test_a_doubled_map_is_convolved_in_four_phases(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], channels: tuple[int, int]
) -> None:
    plain = Upsample2D(channels[0], use_conv=True, out_channels=channels[1]).to(memory_format=torch.channels_last)
    other = torch.nn.Sequential(deepcopy(plain))
    strips.install(other)
    x = drawn(1, channels[0], *size)
    assert torch.equal(other(x), plain(x))  # small: as ever
    monkeypatch.setattr(strips, "_LARGE", 1)
    monkeypatch.setattr(torch.nn.functional, "interpolate", None)  # nothing is doubled
    found = other(x)
    monkeypatch.undo()
    torch.testing.assert_close(found, plain(x), rtol=1e-5, atol=1e-5)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_only_the_decoder_is_prepared_so_and_decodes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = sd15_parts()
    latents = torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        wanted = codec.decode(parts["vae"], latents)
        modes.prepare(SimpleNamespace(unet=parts["unet"], vae=parts["vae"]))
        kinds = StripResnetBlock2D, PhasedUpsample2D
        assert {type(module) for module in parts["vae"].decoder.modules()} >= set(kinds)
        assert not any(isinstance(module, kinds) for module in parts["vae"].encoder.modules())
        monkeypatch.setattr(strips, "_LARGE", 64)
        monkeypatch.setattr(strips, "_STRIP", 300)
        torch.testing.assert_close(codec.decode(parts["vae"], latents), wanted, rtol=1e-4, atol=1e-5)
