"""The layers for CPUs: the same numbers as the ones they stand in for, and those themselves wherever it matters."""

import platform
import resource
from copy import deepcopy

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.activations import GEGLU
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor, nn

from personae.sampling.fast import cpu_layers
from personae.sampling.fast.allocator import keep_freed_memory
from personae.sampling.fast.cpu_layers import ChannelsLastTransformer2DModel, FusedGEGLU, GemmConv2d, install

HALF = torch.bfloat16


def twins(plain: nn.Module) -> tuple[nn.Module, nn.Module]:
    """`plain` in bfloat16, and with the layers installed."""
    plain = nn.Sequential(plain).to(HALF, memory_format=torch.channels_last)
    other = deepcopy(plain)
    install(other)
    return plain, other


def near(one: Tensor, other: Tensor) -> bool:
    return (one.float() - other.float()).abs().max() < 0.03 * other.float().std()


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of the patches that were multiplied instead of convolved."""
    seen = []
    own = torch.nn.functional.linear

    def linear(patches: Tensor, *args: Tensor) -> Tensor:
        seen.append(tuple(patches.shape))
        return own(patches, *args)

    monkeypatch.setattr("personae.sampling.fast.cpu_layers.linear", linear)
    return seen


@torch.no_grad()
@pytest.mark.parametrize("size", [(4, 4), (3, 5), (1, 1)])
@pytest.mark.parametrize("options", [{}, {"bias": False}, {"stride": 2}, {"kernel_size": 1, "padding": 0}])
def test_a_small_map_is_multiplied_to_the_same_result(
    products: list, size: tuple[int, int], options: dict[str, int]
) -> None:
    plain, other = twins(nn.Conv2d(24, 64, **({"kernel_size": 3, "padding": 1} | options)))
    maps = torch.randn(2, 24, *size, dtype=HALF)
    assert near(other(maps), plain(maps))
    assert len(products) == 1
    assert other(maps).is_contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def test_a_large_map_another_precision_and_another_kind_are_convolved_as_ever(products: list) -> None:
    plain, other = twins(nn.Conv2d(24, 64, 3, padding=1))
    large = torch.randn(2, 24, 8, 8, dtype=HALF)
    assert torch.equal(other(large), plain(large))
    single = torch.randn(1, 24, 4, 4)
    assert torch.equal(other.float()(single), plain.float()(single))
    for kind in ({"groups": 2}, {"dilation": 2, "padding": 2}, {"padding": 0}, {"padding_mode": "reflect"}):
        _, unlike = twins(nn.Conv2d(24, 64, **({"kernel_size": 3, "padding": 1} | kind)))
        assert type(unlike[0]) is nn.Conv2d
    assert products == []


@torch.no_grad()
@pytest.mark.parametrize("bias", [True, False])
def test_a_gate_is_applied_inside_the_product(bias: bool) -> None:
    plain, other = twins(GEGLU(32, 48, bias=bias))
    tokens = torch.randn(2, 10, 32, dtype=HALF)
    assert type(other[0]) is FusedGEGLU
    torch.testing.assert_close(other(tokens), plain(tokens), rtol=0.02, atol=0.01)


def test_a_gate_with_gradients_or_a_changed_projection_is_diffusers() -> None:
    plain, other = twins(GEGLU(32, 48))
    tokens = torch.randn(2, 10, 32, dtype=HALF)
    assert torch.equal(other(tokens), plain(tokens))
    other(tokens).float().sum().backward()
    assert other[0].proj.weight.grad.abs().sum() > 0

    class Doubled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    other[0].proj.__class__ = plain[0].proj.__class__ = Doubled
    with torch.no_grad():
        assert torch.equal(other(tokens), plain(tokens))


@torch.no_grad()
@pytest.mark.parametrize("flat", [True, False])
def test_a_transformer_keeps_the_layout(flat: bool) -> None:
    made = Transformer2DModel(2, 16, 32, norm_num_groups=4, cross_attention_dim=8, use_linear_projection=flat)
    plain, other = twins(made)
    maps = torch.randn(2, 32, 8, 8, dtype=HALF).to(memory_format=torch.channels_last)
    told = torch.randn(2, 5, 8, dtype=HALF)
    assert type(other[0]) is ChannelsLastTransformer2DModel
    out, wanted = (side[0](maps, encoder_hidden_states=told, return_dict=False)[0] for side in (other, plain))
    assert near(out, wanted)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert not wanted.is_contiguous(memory_format=torch.channels_last) or not flat  # else: no need for ours any more


# ---------------------------------------------------------------------- float32


def singles(plain: nn.Module) -> tuple[nn.Module, nn.Module]:
    """`plain` in float32, and with the layers installed."""
    plain = nn.Sequential(plain).to(memory_format=torch.channels_last)
    other = deepcopy(plain)
    install(other)
    return plain, other


@torch.no_grad()
@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_of_many_weights_is_multiplied_in_float32_too(
    products: list, monkeypatch: pytest.MonkeyPatch, stride: int
) -> None:
    plain, other = singles(nn.Conv2d(24, 64, 3, padding=1, stride=stride))
    maps = torch.randn(2, 24, 4, 4)
    assert torch.equal(other(maps), plain(maps))  # few weights: as ever
    assert products == []
    monkeypatch.setattr(cpu_layers, "_LARGE", plain[0].weight.numel())
    torch.testing.assert_close(other(maps), plain(maps), rtol=1e-5, atol=1e-5)
    assert len(products) == 1


@torch.no_grad()
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(2, 11, 32), (11, 32)])
def test_a_gate_over_many_tokens_is_applied_row_by_row_in_float32(
    products: list, monkeypatch: pytest.MonkeyPatch, bias: bool, shape: tuple[int, ...]
) -> None:
    plain, other = singles(GEGLU(32, 48, bias=bias))
    tokens = torch.randn(*shape)
    assert torch.equal(other(tokens), plain(tokens))  # few tokens: as ever
    assert products == []
    monkeypatch.setattr(cpu_layers, "_LONG", 11)
    monkeypatch.setattr(cpu_layers, "_AT_ONCE", 4)
    torch.testing.assert_close(other(tokens), plain(tokens), rtol=1e-5, atol=1e-5)
    assert len(products) == 2 * -(-tokens[..., 0].numel() // 4)


@torch.no_grad()
def test_a_transformer_over_a_small_map_is_diffusers_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Transformer2DModel(2, 16, 32, norm_num_groups=4, cross_attention_dim=8, use_linear_projection=True)
    plain, other = singles(made)
    maps, words = torch.randn(2, 32, 8, 8).to(memory_format=torch.channels_last), torch.randn(2, 5, 8)
    wanted, as_ever = (side[0](maps, encoder_hidden_states=words, return_dict=False)[0] for side in (plain, other))
    assert torch.equal(as_ever, wanted)
    assert as_ever.stride() == wanted.stride()
    monkeypatch.setattr(cpu_layers, "_LONG", 64)
    out = other[0](maps, encoder_hidden_states=words, return_dict=False)[0]
    torch.testing.assert_close(out, wanted, rtol=1e-5, atol=1e-5)
    assert out.is_contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def test_a_whole_unet_stays_itself() -> None:
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=4,
        norm_num_groups=8,
    ).to(HALF, memory_format=torch.channels_last)
    latents, told = torch.randn(1, 4, 8, 8, dtype=HALF), torch.randn(1, 6, 16, dtype=HALF)
    wanted, names = unet(latents, 500, told).sample, list(unet.state_dict())
    install(unet)
    made = unet(latents, 500, told).sample
    assert list(unet.state_dict()) == names
    assert (made - wanted).float().abs().max() < 0.05 * wanted.float().std()
    assert isinstance(unet.conv_in, GemmConv2d)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc lets programs choose")
def test_freed_memory_waits_inside_and_goes_back_after() -> None:
    def faults() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        # 100 MiB and less: an aligned block fits where one of its own size was only if nothing small lies behind it.
        for size in range(25, 20, -1):
            torch.ones(size * 2**20)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    outside = faults()
    with keep_freed_memory():
        torch.ones(26 * 2**20)
        inside = faults()
    assert inside < outside / 5
    assert faults() > inside
