"""Guidance away from an earlier state of the UNet: what it computes, when it acts, and what is refused."""

from pathlib import Path
from types import SimpleNamespace

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file

from component_fixtures import complete
from conftest import made_up, nano_parts
from personae.errors import WeightsCorrupt, WeightsMissing
from personae.pipeline import FacePipeline
from personae.sampling.guidance import call, guided
from personae.sampling.unet_hooks import engaged, stacked
from personae.training.assemble import _early
from test_sampling import drawn
from tolerances import assert_same
from training_fixtures import tiny_base


class Counted:
    """A hook that counts the rows that it was asked for."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def engaged(self, unet):
        return engaged([], unet)

    def arguments(self, latents, t, conditioning, rows):
        self.rows.append(len(rows.images))
        return {}


def weaker_unet() -> diffusers.UNet2DConditionModel:
    torch.manual_seed(5)
    return diffusers.UNet2DConditionModel.from_config(nano_parts()["unet"].config).eval()


@torch.no_grad()
def test_the_unconditional_half_is_the_weaker_network_s_alone() -> None:
    unet, weaker = nano_parts()["unet"], weaker_unet()
    x, t, positive, negative = torch.randn(3, 4, 8, 8), torch.tensor(500.0), drawn(3, 0), drawn(1, 1)
    index = torch.arange(3)
    conditional = call(unet, x, t, positive, stacked(index, [0]))
    away = call(weaker, x, t, negative.rows(torch.zeros_like(index)), stacked(index, [None]))
    for scale in (0.0, 1.0, 2.5):
        for batch_size in (1, 2, 16):
            hook = Counted()
            found = guided(unet, positive, negative, scale, hooks=[hook], batch_size=batch_size, weaker=weaker)(x, t)
            assert_same(found, away + scale * (conditional - away), guidance=max(1.0, scale))
            assert sum(hook.rows) == 3  # which hang on the network that is led, and on nothing else


@torch.no_grad()
def test_the_same_network_guides_as_usual() -> None:
    unet = nano_parts()["unet"]
    x, t, positive, negative = torch.randn(2, 4, 8, 8), torch.tensor(500.0), drawn(2, 0), drawn(1, 1)
    assert_same(guided(unet, positive, negative, 3.0, weaker=unet)(x, t), guided(unet, positive, negative, 3.0)(x, t))


@torch.no_grad()
def test_outside_of_guidances_times_it_is_not_computed() -> None:
    unet = nano_parts()["unet"]
    x, t, positive, negative = torch.randn(1, 4, 8, 8), torch.tensor(500.0), drawn(1, 0), drawn(1, 1)
    never = guided(unet, positive, negative, 3.0, interval=(0, 100), weaker=None)
    nobody = guided(unet, positive, negative, 3.0, interval=(0, 100), weaker=SimpleNamespace(dtype=torch.float32))
    assert_same(nobody(x, t), never(x, t))


def test_a_model_that_has_one_is_guided_by_it(tmp_path: Path) -> None:
    folder = complete(tmp_path)
    pipe = FacePipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)

    def pixels(scale: float) -> torch.Tensor:
        options = {"seed": 0, "output_type": "pt", "measure_likeness": False, "num_inference_steps": 3}
        return pipe(made_up(pipe, 1), guidance_scale=scale, **options).images

    alone = pixels(1.0)
    assert pipe.autoguidance is None  # at scale 1 there is nothing to lead away from
    led = pixels(3.0)
    assert pipe.autoguidance is not None
    pipe.autoguidance = pipe.unet
    assert (pixels(3.0) - led).abs().max() > 1e-3
    assert_same(pixels(1.0), alone)


def test_a_network_of_another_model_is_refused(tmp_path: Path) -> None:
    folder = complete(tmp_path)
    other = diffusers.UNet2DConditionModel.from_config(nano_parts()["unet"].config, in_channels=5)
    other.save_pretrained(folder / "autoguidance")
    pipe = FacePipeline.from_pretrained(folder)
    with pytest.raises(WeightsCorrupt, match="its in_channels is 5, that of the model's UNet 4"):
        pipe.component("autoguidance")
    (folder / "autoguidance" / "config.json").write_text('{"_class_name": "UNet2DConditionModel", "in_channels": "x"}')
    with pytest.raises(WeightsCorrupt, match="autoguidance cannot be loaded"):
        pipe.component("autoguidance")


def test_hooks_and_words_beside_a_face_are_guided_by_one_network(tmp_path: Path) -> None:
    pipe = FacePipeline.from_pretrained(complete(tmp_path))
    pipe.set_progress_bar_config(disable=True)
    options = {"seed": 0, "output_type": "pt", "measure_likeness": False, "num_inference_steps": 2}
    for asked in ({"pose": (10, 0, 0)}, {"expression": {"jawOpen": 0.5}}, {"prompt": "man smiling"}):
        pipe(made_up(pipe, 1), **options, **asked)
        assert pipe.autoguidance is None, asked
    pipe(made_up(pipe, 1), **options)
    assert pipe.autoguidance is not None


def test_an_earlier_export_is_taken_into_a_model(tmp_path: Path) -> None:
    tiny_base(tmp_path / "early")
    folder = tmp_path / "early" / "unet"
    unet = diffusers.UNet2DConditionModel.from_pretrained(folder, torch_dtype=torch.float16)
    copy = _early(folder, unet)
    copy.save_pretrained(tmp_path / "made")
    assert str(tmp_path) not in (tmp_path / "made" / "config.json").read_text()
    assert all(torch.equal(one, other) for one, other in zip(copy.parameters(), unet.parameters(), strict=True))
    with pytest.raises(WeightsMissing, match="takes an export of"):
        _early(tmp_path / "nowhere", unet)
    tiny_base(tmp_path / "other", channels=5)
    with pytest.raises(WeightsCorrupt, match="of another model"):
        _early(tmp_path / "other" / "unet", unet)


def test_a_file_that_lacks_a_weight_is_refused(tmp_path: Path) -> None:
    folder = complete(tmp_path)
    file = next((folder / "autoguidance").glob("*.safetensors"))
    weights = load_file(file)
    save_file({name: weight for name, weight in weights.items() if name != "conv_out.weight"}, file)
    with pytest.raises(WeightsCorrupt, match=r"conv_out\.weight"):
        FacePipeline.from_pretrained(folder).component("autoguidance")
