"""The small decoder through which trainings look: it learns to show the person, and belongs to its latents."""

from pathlib import Path

import numpy as np
import pytest
import torch

from personae.errors import BadData
from personae.training import recipes
from personae.training.frame import HEAD
from personae.training.loop import Schedule, train
from personae.training.methods.base.data import BaseFiles
from personae.training.methods.base.frozen import FrozenNetworks
from personae.training.methods.portrait.method import PortraitTask
from personae.training.methods.small_decoder.method import SmallDecoderTask
from personae.training.small_decoder import SmallDecoder
from tolerances import assert_same
from training_fixtures import base_files, tiny_vae


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> BaseFiles:
    return base_files(tmp_path_factory.mktemp("heads"), HEAD)


def test_it_learns_and_ships(files: BaseFiles, tmp_path: Path) -> None:
    task = SmallDecoderTask(files, identity_images=2)
    before = task.report(task.model)
    schedule = Schedule(steps=40, batch=8, lr=3e-3, warmup=1, decay=0.1, ema=0.5, report_every=40, compile=False)
    after = train(task, schedule, tmp_path, bf16=False)
    assert after["held_out_psnr"] > before["held_out_psnr"] + 0.2
    assert np.isfinite(after["held_out_alike"])
    shipped = SmallDecoder.load(tmp_path / "export" / "decoder")
    assert not any(weight.requires_grad for weight in shipped.parameters())
    assert (tmp_path / "export" / "samples.png").is_file()
    networks = FrozenNetworks(files.vae, files.embedder, HEAD.template, tmp_path / "export" / "decoder")
    latents = torch.randn(2, 4, 12, 12, requires_grad=True)
    images = networks.for_judges(latents)
    assert images.shape == (2, 3, 192, 192)
    assert_same(images, shipped(latents))
    (gradient,) = torch.autograd.grad(images.sum(), latents)
    assert gradient.norm() > 0


def test_without_one_judges_see_what_the_autoencoder_draws(files: BaseFiles) -> None:
    networks, latents = FrozenNetworks(files.vae, files.embedder, HEAD.template), torch.randn(1, 4, 12, 12)
    assert_same(networks.for_judges(latents), networks.decode(latents))


def test_one_of_other_latents_is_refused(files: BaseFiles, tmp_path: Path) -> None:
    SmallDecoder(4, "another").save(tmp_path / "decoder")
    with pytest.raises(BadData, match="another encoder's latents"):
        FrozenNetworks(files.vae, files.embedder, HEAD.template, tmp_path / "decoder")


def test_trainings_of_heads_find_it_where_its_recipe_leaves_it(files: BaseFiles, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    vae = runs / "portrait-autoencoder" / "export" / "vae"
    tiny_vae(vae, HEAD)
    (runs / "nano-embedder-longer" / "export").mkdir(parents=True)
    (runs / "nano-embedder-longer" / "export" / "embedder.onnx").write_bytes(files.embedder.read_bytes())
    inputs = recipes.Inputs(cache=files.cache, teachers=tmp_path, runs=runs)
    assert inputs.heads_files().small is None
    folder = runs / "portrait-small-decoder" / "export" / "decoder"
    key = FrozenNetworks(vae, files.embedder, HEAD.template).encoder_key
    SmallDecoder(4, key).save(folder)
    assert inputs.heads_files().small == folder
    task = recipes.recipe("portrait").build(inputs)
    assert isinstance(task, PortraitTask)
    latents = torch.randn(1, 4, 12, 12)
    assert_same(task.networks.for_judges(latents), SmallDecoder.load(folder)(latents))
