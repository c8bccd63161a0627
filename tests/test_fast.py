"""LoRAs of a request, and fast sampling with them: equal to plain diffusers, and gone afterwards, bit for bit."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from adapters_by_hand import ATTENTION, FILE, adapted, euler_by_hand, plain_lcm, write_lora
from conftest import made_up, nano_parts, sd15_parts
from personae.errors import BadOption, WeightsCorrupt, WeightsMissing
from personae.models import catalog
from personae.pipeline import FacePipeline
from personae.sampling.few_steps import FewSteps
from personae.sampling.lora_weights import Lora
from personae.sampling.unet_hooks import engaged
from tolerances import assert_same

GOLDEN = Path(__file__).parent / "golden" / "fast_reference.json"
SEEDS = [3, 4, 5]


def quick(kind: str, folder: Path) -> FacePipeline:
    """A model of either family with its own `lcm/`: the published kind, and one distilled for a flow."""
    parts = {"sd15": sd15_parts, "nano": nano_parts}[kind]()
    FacePipeline(**parts, identity_space="random/test/0", identity_width=16, steps=4).save_pretrained(folder)
    write_lora(folder / "lcm", parts["unet"], kohya=kind == "sd15")
    if kind == "nano":
        (folder / "lcm" / "lcm.json").write_text('{"scheduler": "flow-euler"}')
    catalog.seal(folder)
    pipe = FacePipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def expected(pipe: FacePipeline) -> torch.Tensor:
    """What the same people and seeds give without personae's sampling."""
    made = euler_by_hand if pipe.unet.config.class_embed_type else plain_lcm
    return made(pipe, pipe.folder / "lcm" / FILE, pipe.condition(made_up(pipe))[0], SEEDS, 4)


@pytest.fixture(scope="module", params=["sd15", "nano"])
def fast(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FacePipeline:
    return quick(request.param, tmp_path_factory.mktemp("fast") / request.param)


def latents(pipe: FacePipeline, **options) -> torch.Tensor:
    return pipe(made_up(pipe), seed=SEEDS, output_type="latent", **options).images


@pytest.mark.parametrize("kohya", [False, True], ids=["diffusers", "kohya"])
@pytest.mark.parametrize("parts", [nano_parts, sd15_parts])
@torch.no_grad()
def test_merged_equals_attached_by_peft(parts, kohya: bool, tmp_path: Path) -> None:
    unet = parts()["unet"]
    attached = adapted(unet)
    lora = Lora.read(write_lora(tmp_path, unet, kohya=kohya), unet)
    inputs = torch.randn(2, 4, 8, 8), torch.tensor(500), torch.randn(2, 5, 128)
    labels = torch.randn(2, 128) if unet.config.class_embed_type else None
    for strength in (1.0, 0.3):
        attached.set_adapters(["default"], [strength])
        with engaged([lora.at(strength)], unet):
            merged = unet(*inputs, class_labels=labels).sample
        expected = attached(*inputs, class_labels=labels).sample
        assert_same(merged, expected)
    assert not torch.allclose(merged, unet(*inputs, class_labels=labels).sample, atol=1e-2)


@torch.no_grad()
def test_two_loras_add_up(tmp_path: Path) -> None:
    unet = sd15_parts()["unet"]
    one = Lora.read(write_lora(tmp_path / "one", unet, seed=1), unet)
    other = Lora.read(write_lora(tmp_path / "other", unet, seed=2, targets=ATTENTION), unet)
    name = "mid_block.attentions.0.transformer_blocks.0.attn1.to_k"
    weight = unet.get_submodule(name).weight
    expected = weight + one.changes[name].like(weight) + 0.8 * other.changes[name].like(weight)
    with engaged([one.at(1.0), other.at(0.8)], unet):
        torch.testing.assert_close(weight, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_afterwards_the_unet_is_as_before_bit_for_bit(dtype: torch.dtype, tmp_path: Path) -> None:
    unet = sd15_parts()["unet"].to(dtype, memory_format=torch.channels_last)
    lora = Lora.read(write_lora(tmp_path, unet), unet)
    before = {name: (value, value.clone()) for name, value in unet.state_dict(keep_vars=True).items()}

    def stumble() -> None:
        with engaged([lora.at(1.0), lora.at(0.5)], unet):
            assert sum(not torch.equal(*pair) for pair in before.values()) == len(lora.changes)
            raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        stumble()
    assert unet.state_dict().keys() == before.keys()
    for name, value in unet.state_dict(keep_vars=True).items():
        found, copied = before[name]
        assert value is found
        assert value.stride() == copied.stride()
        assert torch.equal(value, copied)


def test_at_strength_zero_nothing_is_touched(tmp_path: Path) -> None:
    unet = sd15_parts()["unet"]
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    with engaged([Lora.read(write_lora(tmp_path, unet), unet).at(0.0)], unet):
        assert all(torch.equal(value, before[name]) for name, value in unet.state_dict().items())


def test_a_fast_run_equals_one_without_personae_seed_by_seed(fast: FacePipeline) -> None:
    wanted, found = expected(fast), latents(fast, fast=4)
    assert (found - wanted).abs().max() < 1e-3 * wanted.std()
    golden = torch.tensor(json.loads(GOLDEN.read_text())[f"fast {fast.folder.name}"])
    assert (found.flatten(1)[:, :8] - golden).abs().max() < 1e-3 * wanted.std()


def test_the_options_of_a_fast_run_are_in_its_recipe(fast: FacePipeline) -> None:
    out = fast(made_up(fast, 1), seed=1, fast=3, measure_likeness=False)
    settings = out.recipe["settings"]
    kind = "FlowMatchEulerDiscreteScheduler" if fast.unet.config.class_embed_type else "LCMScheduler"
    assert out.recipe["sampler"] == kind
    assert (settings["fast"], settings["num_inference_steps"], settings["guidance_scale"]) == (3, 3, 1.0)
    again = fast(made_up(fast, 1), seed=1, measure_likeness=False, **settings)
    assert again.images[0].tobytes() == out.images[0].tobytes()


def test_requests_do_not_disturb_each_other(fast: FacePipeline, tmp_path: Path) -> None:
    plain, quick = latents(fast), latents(fast, fast=4)
    assert not torch.allclose(plain, quick, atol=1e-2)
    assert torch.equal(latents(fast), plain)
    assert torch.equal(latents(fast, fast=4, batch_size=16), quick)
    assert_same(latents(fast, fast=4, batch_size=1), quick, steps=4)

    def stumble(pipe, step, t, tensors) -> None:
        raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        latents(fast, fast=4, callback_on_step_end=stumble)
    assert torch.equal(latents(fast), plain)
    fast.save_pretrained(tmp_path)
    name = "unet/diffusion_pytorch_model.safetensors"
    assert (tmp_path / name).read_bytes() == (fast.folder / name).read_bytes()


@pytest.mark.parametrize("steps", [1, 9, 2.5, True, "4"])
def test_impossible_numbers_of_steps_are_refused(fast: FacePipeline, steps) -> None:
    with pytest.raises(BadOption, match="fast must be a whole number between 2 and 8"):
        latents(fast, fast=steps)


def test_guidance_and_fast_exclude_each_other(fast: FacePipeline) -> None:
    with pytest.raises(BadOption, match=r"fast=4 needs guidance_scale 1\.0, got 3\.0: leave"):
        latents(fast, fast=4, guidance_scale=3.0)
    with pytest.raises(BadOption, match="needs num_inference_steps 4, got 5"):
        latents(fast, fast=4, num_inference_steps=5)
    with pytest.raises(BadOption, match="needs scheduler"):
        latents(fast, fast=4, scheduler="dpm++")
    assert latents(fast, fast=2, guidance_scale=1.0).isfinite().all()


def test_a_model_without_the_lora_says_where_to_get_it(pipe: FacePipeline) -> None:
    with pytest.raises(WeightsMissing, match=r"no lcm/, .*latent-consistency/lcm-lora-sdv1-5"):
        latents(pipe, fast=4)


def damage(path: Path, kind: str) -> None:
    """Make of a LoRA file one that must be refused."""
    state = {name: value.clone() for name, value in load_file(path).items()}
    some = "unet.down_blocks.1.resnets.0.conv1.lora_A.weight"
    if kind == "cut short":
        path.write_bytes(path.read_bytes()[:1000])
        return
    if kind == "of another size":
        state = {name: torch.cat([value, value], 1) if "lora_A" in name else value for name, value in state.items()}
    elif kind == "of other layers":
        state = {name.replace("down_blocks.1", "down_blocks.7"): value for name, value in state.items()}
    elif kind == "of a text encoder too":
        state["text_encoder.layers.0.to_q.lora_A.weight"] = state[some].clone()
    elif kind == "DoRA":
        state[some.replace("lora_A.weight", "lora_magnitude_vector")] = torch.ones(16)
    elif kind == "half":
        del state[some]
    elif kind == "no LoRA":
        state = {"unet.conv_in.weight": torch.ones(8, 4, 3, 3)}
    save_file(state, path)


@pytest.mark.parametrize(
    "kind", ["cut short", "of another size", "of other layers", "of a text encoder too", "DoRA", "half", "no LoRA"]
)
def test_a_file_that_is_no_lora_of_this_unet_is_refused(kind: str, tmp_path: Path) -> None:
    unet = sd15_parts()["unet"]
    path = write_lora(tmp_path, unet)
    damage(path, kind)
    with pytest.raises(WeightsCorrupt, match="LoRA of this model's UNet"):
        Lora.read(path, unet)


def test_a_missing_file_and_a_wrong_scheduler_are_told(fast: FacePipeline, tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match="lacks pytorch_lora"):
        Lora.read(tmp_path / FILE, fast.unet)
    other = "flow-euler" if fast.folder.name == "sd15" else "lcm"
    for text, message in (
        (f'{{"scheduler": "{other}"}}', "not distilled from"),
        ("{}", "must read"),
        ("no", "must read"),
    ):
        (tmp_path / "lcm.json").write_text(text)
        with pytest.raises(WeightsCorrupt, match=message):
            FewSteps.read(tmp_path, fast.unet, like=fast.scheduler)


def test_weights_that_a_lora_would_not_reach_are_refused(tmp_path: Path) -> None:
    unet = sd15_parts()["unet"]
    lora = Lora.read(write_lora(tmp_path, unet), unet)
    unet.fuse_qkv_projections()
    with pytest.raises(BadOption, match="unfuse_qkv"), engaged([lora.at(1.0)], unet):
        pass
    unet.unfuse_qkv_projections()
    with pytest.raises(BadOption, match="in memory"), engaged([lora.at(1.0)], unet.to("meta")):
        pass
