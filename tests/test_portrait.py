"""The portrait base: who is learnt from whom, what the loss holds a face to, and a run from shards to an export."""

import shutil
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from people_fixtures import WIDTH, tiny_networks
from personae.data.people_stream import PeopleStream
from personae.data.views import TRAITS, Directions
from personae.errors import BadData
from personae.reading.differentiable import AlignedLandmarks, AlignedRecogniser
from personae.reading.steady import five_points
from personae.training import captions, picture_kinds
from personae.training.face_table import FaceTable
from personae.training.frame import HEAD
from personae.training.jitter import jitter
from personae.training.loop import Schedule, to_device, train
from personae.training.methods.base import data as base_data
from personae.training.methods.base import network
from personae.training.methods.base.data import BaseFiles, LatentFaces, TrainingFaces, other_pictures
from personae.training.methods.base.frozen import FrozenNetworks, Identities
from personae.training.methods.base.prompts import PromptMix, Prompts
from personae.training.methods.portrait import data, method
from personae.training.methods.portrait.data import of_stream
from personae.training.methods.portrait.method import PortraitTask
from personae.training.picture_kinds import SHARP, SNAPSHOT, STUDIO, sharpness
from personae.types import Motion, Pose
from training_fixtures import tiny_embedder, tiny_motion, tiny_vae, write_cache, write_people

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny cache of photos, one of people in two views each, an autoencoder of heads and the readers."""
    folder = tmp_path_factory.mktemp("portrait")
    write_cache(folder / "photos", count=20)
    plain = write_cache(folder / "plain", count=24, seed=1) / "train-00.tar"
    write_people(folder / "people", plain)
    tiny_vae(folder / "vae", HEAD)
    tiny_embedder(folder / "embedder.onnx")
    tiny_motion(folder / "motion.onnx")
    return folder


def files(folder: Path, *caches: str, start: Path | None = None) -> BaseFiles:
    """What a base of heads stands on, in the fixture's folder."""
    parts = folder / "vae", folder / "embedder.onnx"
    return BaseFiles(caches=[folder / one for one in caches], vae=parts[0], embedder=parts[1], start=start, frame=HEAD)


@pytest.fixture
def networks(folder: Path) -> FrozenNetworks:
    return FrozenNetworks(folder / "vae", folder / "embedder.onnx", HEAD.template)


def of_caches(caches: list[Path], networks: FrozenNetworks) -> LatentFaces:
    return LatentFaces.of(TrainingFaces.of(caches, HEAD), networks)


@pytest.fixture
def stream(folder: Path) -> PeopleStream:
    directions = Directions(vectors=np.zeros((len(TRAITS), WIDTH), np.float32))
    landmarks = AlignedLandmarks(folder / "motion.onnx", source="ffhq")
    return PeopleStream(*tiny_networks(), directions, landmarks).eval()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The UNet of nano with a twentieth of its weights."""
    build = network.build_unet

    def build_small(channels: int, cells: int = 16) -> diffusers.UNet2DConditionModel:
        config = dict(build(channels, cells).config) | {
            "block_out_channels": (32, 32, 32),
            "attention_head_dim": (1, 1, 1),
        }
        return diffusers.UNet2DConditionModel.from_config(config)

    monkeypatch.setattr(network, "build_unet", build_small)
    monkeypatch.setattr(method, "_BANK", 16)


def test_an_identity_comes_from_another_picture_of_the_same_person(folder: Path, networks: FrozenNetworks) -> None:
    people = of_caches([folder / "people"], networks)
    others = other_pictures(people.person)
    for row, rest in enumerate(others):
        assert row not in rest
        assert set(people.person[rest]) == {people.person[row]}
    photos = of_caches([folder / "photos"], networks)
    assert all(list(rest) == [row] for row, rest in enumerate(other_pictures(photos.person)))
    both = LatentFaces.joined([people, photos])
    assert len(both) == len(people) + len(photos)
    assert not set(both.person[: len(people)]) & set(both.person[len(people) :])


def test_every_caption_of_a_photo_names_the_kind_of_picture(
    folder: Path, networks: FrozenNetworks, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = FaceTable.load(folder / "photos")
    monkeypatch.setattr(picture_kinds, "_SHARP_FROM", float(np.quantile(sharpness(table.crops), 0.9)))
    both = of_caches([folder / "people", folder / "photos"], networks)
    people = len(of_caches([folder / "people"], networks))
    assert all(STUDIO in one.phrases and not one.kind for one in both.measures[0][:people])
    photos = both.measures[0][people:]
    assert all(one.kind[0] == SNAPSHOT for one in photos)
    sharp = [one.kind[1] == SHARP for one in photos]
    assert 0 < sum(sharp) < len(sharp)
    rng, mix = np.random.default_rng(0), PromptMix()
    for prompt in (mix.draw(one, rng) for one in photos for _ in range(20)):
        assert not prompt or SNAPSHOT in prompt


def test_of_photos_the_sharpest_are_learnt_from(folder: Path, networks: FrozenNetworks) -> None:
    photos = of_caches([folder / "photos"], networks)
    table = FaceTable.load(folder / "photos")
    keep = np.argsort(sharpness(table.crops))[-len(photos) :]
    assert len(photos) == -(-len(table) // 3)
    kept = [captions.measure(table)[row].phrases for row in sorted(keep)]
    assert [one.phrases for one in photos.measures[0]] == kept


def test_a_cache_without_a_whole_face_says_so(
    folder: Path, networks: FrozenNetworks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_kinds, "COVERED", 1.5)
    with pytest.raises(BadData, match="shows a face whole"):
        of_caches([folder / "photos"], networks)


def test_a_batch_holds_people_and_photos_in_fixed_shares(folder: Path) -> None:
    task = PortraitTask(files(folder, "people", "photos"))
    rows = task.data.kinds.rows(np.random.default_rng(0), 4000)
    photos = np.array([bool(one.kind) for one in task.data.measures[0]])
    assert photos[rows].mean() == pytest.approx(0.4, abs=0.03)


def test_a_base_of_other_latents_lends_its_text_encoder_alone(tmp_path: Path) -> None:
    measures = [captions.Measures(subject="woman", phrases=("smiling",))] * 4
    tokenizer = Prompts.trained(tmp_path / "tokenizer", measures).tokenizer
    before = network.IdentityToFace(network.build_text_encoder(tokenizer), network.build_unet(8), 0)
    for name in ("unet", "text_encoder"):
        getattr(before, name).save_pretrained(tmp_path / name)
    same, other = (network.IdentityToFace.of(tokenizer, tmp_path, channels=c, cells=12) for c in (8, 4))
    for one, channels in ((same, 8), (other, 4)):
        assert one.unet.config.in_channels == one.unet.config.out_channels == channels
        assert one.unet.config.sample_size == 12
        words = one.text_encoder.state_dict()
        assert all(torch.equal(weight, words[name]) for name, weight in before.text_encoder.state_dict().items())
    weights = before.unet.state_dict()
    assert all(torch.equal(weight, weights[name]) for name, weight in same.unet.state_dict().items())
    fresh, known = (one.unet.mid_block.resnets[0].conv1.weight for one in (other, same))
    assert not torch.equal(fresh, known)


def test_a_text_encoder_keeps_what_it_knows_of_the_words_that_stay() -> None:
    measures = [captions.Measures(subject="woman", phrases=("snapshot",))] * 4
    before = Prompts.trained(None, [captions.Measures(subject="woman", phrases=())] * 4).tokenizer
    now = Prompts.trained(None, measures).tokenizer
    first = network.build_text_encoder(before)
    second = network.for_words(first, before, now)
    tokens = [tokenizer("id woman", return_tensors="pt").input_ids for tokenizer in (before, now)]
    assert len(now) != len(before)
    shared = [encoder(ids).last_hidden_state for encoder, ids in zip((first, second), tokens, strict=True)]
    torch.testing.assert_close(*shared)
    assert network.for_words(first, before, before) is first


def test_what_is_prepared_later_is_all_that_is_encoded_then(
    folder: Path, networks: FrozenNetworks, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(base_data, "_ROWS", 4)
    both_sides, encoded = networks.both_sides, list[int]()

    def counted(*args: Any, **options: Any) -> Any:
        found = both_sides(*args, **options)
        encoded.append(found[0].shape[1])
        return found

    monkeypatch.setattr(networks, "both_sides", counted)
    first = shutil.copytree(folder / "people", tmp_path / "people", ignore=shutil.ignore_patterns("*.npz"))
    before = of_caches([first], networks)
    assert sum(encoded) == len(before)
    encoded.clear()
    again = of_caches([first], networks)
    assert not encoded
    np.testing.assert_array_equal(again.latents, before.latents)
    np.testing.assert_array_equal(again.vectors, before.vectors)
    write_cache(tmp_path / "more", count=24, seed=2)
    shutil.copy(tmp_path / "more" / "train-00.tar", first / "people-00001.tar")
    more = of_caches([first], networks)
    whole = len(before) // 4 * 4
    assert sum(encoded) == len(more) - whole
    np.testing.assert_array_equal(more.latents[:, :whole], before.latents[:, :whole])


def test_heads_are_cut_where_a_reader_cuts_them(folder: Path, networks: FrozenNetworks) -> None:
    table = FaceTable.load(folder / "people")
    motion = Motion(landmarks=table.landmarks[0], pose=Pose(yaw=0, pitch=0, roll=0), blendshapes=table.blendshapes[0])
    wanted = HEAD.matrix(five_points(motion))
    np.testing.assert_allclose(table.places(HEAD)[0], wanted)
    np.testing.assert_allclose(table.framed(HEAD, folder).matrix[0], wanted)
    assert not np.allclose(HEAD.matrix(table.points[0]), wanted)


def test_another_decoder_changes_nothing_of_what_is_stored(
    folder: Path, networks: FrozenNetworks, tmp_path: Path
) -> None:
    others = folder / "embedder.onnx", HEAD.template
    vae = diffusers.AutoencoderDC.from_pretrained(folder / "vae")
    torch.nn.init.zeros_(next(vae.decoder.parameters()))
    vae.save_pretrained(tmp_path / "decoder")
    assert FrozenNetworks(tmp_path / "decoder", *others).key == networks.key
    torch.nn.init.zeros_(next(vae.encoder.parameters()))
    vae.save_pretrained(tmp_path / "encoder")
    assert FrozenNetworks(tmp_path / "encoder", *others).key != networks.key


def test_identities_are_the_same_with_a_gradient_and_without(folder: Path) -> None:
    recogniser = AlignedRecogniser(folder / "embedder.onnx", source=HEAD.template).eval()
    identities = Identities(recogniser, folder / "embedder.onnx")
    images = torch.rand(3, 3, HEAD.side, HEAD.side, generator=torch.Generator().manual_seed(0)) * 2 - 1
    moved = jitter(3, torch.Generator().manual_seed(1))
    for one in (None, moved):
        torch.testing.assert_close(identities(images, one), recogniser(images, one), rtol=1e-4, atol=1e-5)
    assert not torch.equal(identities(images), identities(images, moved))


def test_people_drawn_here_are_encoded_as_pictures_are(
    stream: PeopleStream, networks: FrozenNetworks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "_SAME", -1.0)
    drawn = of_stream(stream, networks, people=3, views=2, seed=4, crops=2)
    assert drawn.latents.shape == (2, 6, 4, HEAD.cells, HEAD.cells)
    assert drawn.vectors.shape == (2, 6, 2, 128)
    assert drawn.person.tolist() == [0, 0, 1, 1, 2, 2]
    images = stream.draw(3, 2, torch.Generator().manual_seed(4)).images.flatten(0, 1)
    with torch.no_grad():
        wanted = networks.vae.encoder(images) * networks.vae.config.scaling_factor
        mirrored = networks.vae.encoder(images.flip(3)) * networks.vae.config.scaling_factor
    np.testing.assert_allclose(drawn.latents[0], wanted.half().numpy(), atol=2e-2)
    np.testing.assert_allclose(drawn.latents[1], mirrored.half().numpy(), atol=2e-2)


def test_views_that_lost_the_person_are_left_out(
    stream: PeopleStream, networks: FrozenNetworks, monkeypatch: pytest.MonkeyPatch
) -> None:
    latents, vectors = networks.both_sides(iter([stream.draw(3, 2, torch.Generator()).images.flatten(0, 1)]), 3)
    vectors[:] = vectors[:, :1, :1]
    vectors[0, 3, 0] *= -1  # the second view of the second person
    monkeypatch.setattr(networks, "both_sides", lambda batches, crops: (latents, vectors))
    drawn = of_stream(stream, networks, people=3, views=2)
    assert drawn.person.tolist() == [0, 0, 1, 2, 2]
    np.testing.assert_array_equal(drawn.latents, np.delete(latents, 3, 1))


def test_a_face_like_its_own_person_costs_less_than_one_like_another(folder: Path) -> None:
    task = PortraitTask(files(folder, "people"))
    clean = torch.from_numpy(task.data.latents[0, :6]).float()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        own = task.embedder(task.decoded(clean))
        bank = torch.nn.functional.normalize(torch.randn(32, 128, generator=generator), dim=-1)
        nobody = torch.zeros(len(own), len(bank), dtype=torch.bool)
        right, cosine = task._recognised(clean, own, bank, nobody, generator)
        wrong, less = task._recognised(clean, -own, bank, nobody, generator)
    assert float(right) < float(wrong)
    assert float(cosine) > float(less)


def test_nobody_is_told_apart_from_themselves(folder: Path) -> None:
    task = PortraitTask(files(folder, "people"))
    batch = task.batch(np.random.default_rng(0), 4)
    assert batch["own"].shape == (4, 16)
    assert batch["own"].any()
    clean = torch.from_numpy(task.data.latents[0, :4]).float()
    costs = []
    for own in (False, True):
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            people = task.embedder(task.decoded(clean))
            bank = torch.nn.functional.normalize(torch.randn(2, 128, generator=generator), dim=-1)
            same = torch.tensor([[own, False]] * 4)
            found, _ = task._recognised(clean, people, bank, same, generator)
        costs.append(float(found))
    assert costs[1] < costs[0]


def test_some_batches_are_judged(folder: Path) -> None:
    task = PortraitTask(files(folder, "people"), identity_images=2)
    batches = [task.batch(np.random.default_rng(n), 2) for n in range(80)]
    judged = [batch["judged"] for batch in batches]
    assert 0.2 < np.mean(judged) < 0.5
    for wanted in (True, False):
        batch = to_device(batches[judged.index(wanted)], CPU)
        _, figures = task.loss(task.model, batch, torch.Generator().manual_seed(0))
        assert ("identity" in figures) == wanted


def test_no_loss_looks_beyond_a_photos_edge(folder: Path) -> None:
    task = PortraitTask(files(folder, "photos"), identity_weight=0.0)
    batch = to_device(task.batch(np.random.default_rng(0), 4), CPU)
    batch["inside"][:, :, 8:] = 0

    class Guess(torch.nn.Module):
        def __init__(self, beyond: float) -> None:
            super().__init__()
            self.beyond = beyond

        def forward(self, noisy: torch.Tensor, *others: object) -> torch.Tensor:
            return (batch["inside"] == 0).float()[:, None] * self.beyond + torch.zeros_like(noisy)

    losses = [task.loss(Guess(far), batch, torch.Generator().manual_seed(0))[0] for far in (0.0, 1e3)]
    torch.testing.assert_close(*losses)


def test_from_shards_to_an_export_that_goes_on(folder: Path, stream: PeopleStream, tmp_path: Path) -> None:
    both = files(folder, "people", "photos")
    task = PortraitTask(both, stream=stream, drawn=4, identity_images=2, identity_share=1.0)
    schedule = Schedule(steps=3, batch=4, lr=1e-3, optimizer="muon", report_every=3, compile=False)
    report = train(task, schedule, tmp_path / "run", bf16=False)
    assert {"held_out_flow", "own_likeness", "sharpness", "variety"} <= report.keys()
    assert np.isfinite(list(report.values())).all()
    export = tmp_path / "run" / "export"
    assert (export / "samples.png").is_file()
    again = PortraitTask(files(folder, "people", start=export))
    assert again.model.unet.config.in_channels == 4
    again.export(again.model, tmp_path / "later")
    configs = [path.read_text() for path in (tmp_path / "later").glob("*/config.json")]
    assert len(configs) == 2
    assert not any(str(tmp_path) in text for text in configs)  # where it was read from is nobody's business
    assert "id</w>" in again.prompts.tokenizer.get_vocab()
    network.build_unet(8).save_pretrained(export / "unet")
    other = PortraitTask(files(folder, "people", start=export))
    assert other.model.unet.config.in_channels == 4
    assert other.prompts.tokenizer.get_vocab() != again.prompts.tokenizer.get_vocab()  # of people alone, not of photos


def test_a_training_that_goes_on_over_more_pictures_keeps_its_words(folder: Path, tmp_path: Path) -> None:
    first = PortraitTask(files(folder, "people"), tokenizer=tmp_path / "tokenizer")
    other = PortraitTask(files(folder, "people", "photos"))
    later = PortraitTask(files(folder, "people", "photos"), tokenizer=tmp_path / "tokenizer")
    assert later.prompts.tokenizer.get_vocab() == first.prompts.tokenizer.get_vocab()
    assert other.prompts.tokenizer.get_vocab() != first.prompts.tokenizer.get_vocab()
