"""Weights as they are used, in memory once: the same numbers as diffusers', and no more memory than they take."""

import gc
from pathlib import Path

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file

import personae
from conftest import sd15_parts
from personae.models import network_weights
from personae.pipeline import FacePipeline
from personae.sampling.fast.allocator import release_freed_memory


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vae")
    sd15_parts()["vae"].save_pretrained(folder)
    return folder


@pytest.mark.parametrize("stored", [torch.float32, torch.float16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.preserve_format, torch.channels_last])
def test_a_network_is_the_one_that_diffusers_reads(
    vae: Path, tmp_path: Path, stored: torch.dtype, dtype: torch.dtype, layout: torch.memory_format
) -> None:
    diffusers.AutoencoderKL.from_pretrained(vae).to(stored).save_pretrained(tmp_path)
    wanted = diffusers.AutoencoderKL.from_pretrained(tmp_path, torch_dtype=dtype).state_dict()
    found = network_weights.load(diffusers.AutoencoderKL, tmp_path, dtype=dtype, layout=layout).state_dict()
    assert found.keys() == wanted.keys()
    for name, weight in found.items():
        assert weight.dtype == dtype
        assert torch.equal(weight, wanted[name]), name
        if weight.dim() == 4 and layout == torch.channels_last:
            assert weight.is_contiguous(memory_format=layout)


def test_names_of_before_are_understood(vae: Path, tmp_path: Path) -> None:
    """The autoencoder of Stable Diffusion 1.5 is published with them."""
    wanted = diffusers.AutoencoderKL.from_pretrained(vae)
    wanted.save_pretrained(tmp_path)
    path = tmp_path / network_weights.FILE
    before = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = load_file(path)
    for new, old in before.items():
        state = {name.replace(f".{new}.", f".{old}."): weight.clone() for name, weight in state.items()}
    assert any(".query." in name for name in state)
    save_file(state, path, {"format": "pt"})
    found = network_weights.load(
        diffusers.AutoencoderKL, tmp_path, dtype=torch.bfloat16, layout=torch.channels_last
    ).state_dict()
    for name, weight in wanted.state_dict().items():
        assert torch.equal(found[name], weight.to(torch.bfloat16)), name


def in_mib(line: str) -> float:
    return int(Path("/proc/self/status").read_text().split(f"{line}:")[1].split()[0]) / 1024


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read as Linux tells it")
@pytest.mark.parametrize(("dtype", "share"), [(torch.float32, 1.0), (torch.bfloat16, 0.5)])
def test_loading_takes_the_memory_of_the_weights_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, share: float
) -> None:
    with torch.device("meta"):
        network = diffusers.UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(256, 512),
            layers_per_block=2,
            cross_attention_dim=64,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        )
    network.to_empty(device="cpu").save_pretrained(tmp_path)
    stored = (tmp_path / network_weights.FILE).stat().st_size / 2**20
    assert stored > 150
    del network
    gc.collect()
    release_freed_memory()
    monkeypatch.setattr(network_weights, "_READ_AT_ONCE", 4 << 20)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew (proc(5))
    resting = in_mib("VmRSS")
    network = network_weights.load(diffusers.UNet2DConditionModel, tmp_path, dtype=dtype, layout=torch.channels_last)
    for weight in network.parameters():
        weight.detach().sum()  # whatever is mapped is read now
    assert in_mib("VmHWM") - resting < share * stored + 40  # diffusers' own: 1.76 and 1.50 times what is stored
    assert in_mib("VmRSS") - resting > share * stored - 40


def test_a_pipeline_loads_its_networks_so(sd15_like: FacePipeline, tmp_path: Path) -> None:
    sd15_like.save_pretrained(tmp_path / "model")
    pipe = personae.load(tmp_path / "model", device="cpu", torch_dtype=torch.bfloat16)
    wanted = FacePipeline.from_pretrained(tmp_path / "model")
    for name in ("unet", "vae"):
        for weight, own in zip(getattr(pipe, name).parameters(), getattr(wanted, name).parameters(), strict=True):
            assert torch.equal(weight, own.to(torch.bfloat16))
            assert weight.dim() != 4 or weight.is_contiguous(memory_format=torch.channels_last)
    own = sd15_like.unet
    assert FacePipeline.from_pretrained(tmp_path / "model", unet=own).unet is own


def test_what_diffusers_must_load_is_left_to_it(sd15_like: FacePipeline, tmp_path: Path) -> None:
    """A variant has another file name, which `load` would not look at."""
    sd15_like.save_pretrained(tmp_path / "model")
    for name in ("unet", "vae"):
        place = tmp_path / "model" / name / network_weights.FILE
        place.rename(place.with_suffix(f".fp16{place.suffix}"))
    (tmp_path / "model" / "sha256.json").unlink()
    pipe = FacePipeline.from_pretrained(tmp_path / "model", variant="fp16")
    for weight, own in zip(pipe.unet.parameters(), sd15_like.unet.parameters(), strict=True):
        assert torch.equal(weight, own)
