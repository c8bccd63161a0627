"""The whole road on tiny models of both families: the same for one and for many, on disk and back, every bad input."""

import copy
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import personae
from conftest import made_up, nano_parts
from personae.errors import (
    BadIdentity,
    BadOption,
    BadOutput,
    NoFaceFound,
    SpaceMismatch,
    WeightsCorrupt,
    WeightsMissing,
)
from personae.pipeline import FacePipeline
from personae.sampling import codec
from personae.types import Face, Identity
from reading_fixtures import white_face
from tolerances import assert_same

SDE = "dpm++-sde"  # draws noise at every step, for either family


def pixels(pipe: FacePipeline, people: object, **options: object) -> torch.Tensor:
    return pipe(people, output_type="pt", measure_likeness=False, **options).images


# ---------------------------------------------------------------------- sameness


@pytest.mark.parametrize("scheduler", [None, SDE])
def test_four_at_once_are_four_singles(pipe: FacePipeline, scheduler: str | None) -> None:
    person = made_up(pipe)[0]
    options = {"scheduler": scheduler, "guidance_scale": 2.0}
    four = pixels(pipe, person, num_images_per_prompt=4, seed=7, **options)
    singles = torch.cat([pixels(pipe, person, seed=seed, **options) for seed in (7, 8, 9, 10)])
    assert_same(four, singles, steps=4)
    assert (four[0] - four[1]).abs().max() > 0.01


@pytest.mark.parametrize("scheduler", [None, SDE])
def test_batch_size_changes_nothing(pipe: FacePipeline, scheduler: str | None) -> None:
    people = made_up(pipe)
    whole = pixels(pipe, people, num_images_per_prompt=2, seed=0, scheduler=scheduler)
    for batch_size in (1, 4):
        parts = pixels(pipe, people, num_images_per_prompt=2, seed=0, scheduler=scheduler, batch_size=batch_size)
        assert_same(parts, whole, steps=4)


def test_three_people_are_three_single_calls_with_seeds_running_on(pipe: FacePipeline) -> None:
    people = made_up(pipe)
    together = pipe(people, num_images_per_prompt=2, seed=5, output_type="pt")
    assert together.seeds == [5, 6, 7, 8, 9, 10]
    assert together.people == [0, 0, 1, 1, 2, 2]
    alone = [pixels(pipe, person, num_images_per_prompt=2, seed=5 + 2 * i) for i, person in enumerate(people)]
    assert_same(together.images, torch.cat(alone), steps=4)


def test_bf16_batches_agree_within_its_own_precision() -> None:
    pipe = FacePipeline(**nano_parts(), identity_width=16).to(torch.bfloat16)
    pipe.set_progress_bar_config(disable=True)
    people = np.random.default_rng(0).standard_normal((4, 16))
    together = pixels(pipe, people, seed=0, num_inference_steps=4)
    alone = torch.cat([pixels(pipe, people[i : i + 1], seed=i, num_inference_steps=4) for i in range(4)])
    # bfloat16 keeps 8 bits: one grey level in 255 is less than one of its steps near white.
    assert (together - alone).abs().max() < 0.05
    assert (together - alone).abs().mean() < 0.005


def test_the_same_seed_gives_the_same_image_and_the_person_matters(pipe: FacePipeline) -> None:
    one, two, _ = made_up(pipe)
    first = pipe(one, seed=3).images[0]
    assert np.array_equal(first, pipe(one, seed=3).images[0])
    assert (pixels(pipe, one, seed=3) - pixels(pipe, two, seed=3)).abs().max() > 1e-4


def test_seeds_may_be_listed_drawn_or_given_as_generators(pipe: FacePipeline) -> None:
    person = made_up(pipe)[0]
    listed = pixels(pipe, person, num_images_per_prompt=2, seed=[40, 4])
    assert_same(listed[1:], pixels(pipe, person, seed=4), steps=4)
    generators = [torch.Generator().manual_seed(s) for s in (40, 4)]
    torch.testing.assert_close(
        listed, pixels(pipe, person, num_images_per_prompt=2, generator=generators), rtol=0, atol=0
    )
    drawn = pipe(person, output_type="pt")
    torch.testing.assert_close(drawn.images, pixels(pipe, person, seed=drawn.seeds[0]), rtol=0, atol=0)
    assert pipe(person).seeds != drawn.seeds


def test_a_recipe_names_a_generators_seed_only_if_it_says_what_was_drawn(pipe: FacePipeline) -> None:
    person, generator = made_up(pipe)[0], torch.Generator().manual_seed(3)
    assert [pipe(person, generator=generator).recipe["noise"] for _ in range(2)] == ["seed", "given"]
    twice = [torch.Generator().manual_seed(3)] * 2
    assert pipe(person, num_images_per_prompt=2, generator=twice).recipe["noise"] == "given"
    beyond = torch.Generator().manual_seed(-1)  # of 2^64 - 1, which no call takes
    assert pipe(person, generator=beyond).recipe["noise"] == "given"


def test_given_latents_are_used(pipe: FacePipeline) -> None:
    person = made_up(pipe)[0]
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(6))
    assert_same(pixels(pipe, person, latents=noise), pixels(pipe, person, seed=6), steps=4)
    with pytest.raises(BadOption, match=r"latents must be \(1, 4, 8, 8\)"):
        pipe(person, latents=noise[:, :2])


def test_a_call_leaves_the_scheduler_alone(pipe: FacePipeline) -> None:
    person, own = made_up(pipe)[0], pipe.scheduler
    before = dict(own.config)
    plain = pixels(pipe, person, seed=0)
    pixels(pipe, person, seed=0, scheduler="unipc", num_inference_steps=7)
    assert pipe.scheduler is own
    assert dict(own.config) == before
    torch.testing.assert_close(pixels(pipe, person, seed=0), plain, rtol=0, atol=0)


# ---------------------------------------------------------------------- people


def test_faces_identities_and_bare_embeddings_are_the_same_people(nano_like: FacePipeline) -> None:
    picture = white_face(np.full((120, 160, 3), 60, np.uint8), 20, 20, 70, 90)
    faces = nano_like.read(picture)
    assert len(faces) == 1
    vector = faces[0].identity.vector
    expected = pixels(nano_like, faces[0], seed=0)
    for people in (faces, faces[0].identity, vector[None], torch.from_numpy(vector)[None], [vector.tolist()]):
        assert_same(pixels(nano_like, people, seed=0), expected, steps=4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows * np.nan, "finite"),
        (lambda rows: rows * 0, "not zero"),
        (lambda rows: rows[:, :-1], "this model reads identities of"),
        (lambda rows: rows[0], "embeddings come as"),
        (lambda rows: "me.jpg", r"with pipe\.read"),
        (lambda rows: ["me.jpg"], r"with pipe\.read"),
    ],
)
def test_what_is_no_identity_is_refused(pipe: FacePipeline, change: object, message: str) -> None:
    rows = np.stack([person.vector for person in made_up(pipe)])
    with pytest.raises(BadIdentity, match=message):
        pipe(change(rows))


def test_nobody_another_space_and_unread_faces_are_refused(nano_like: FacePipeline) -> None:
    with pytest.raises(NoFaceFound, match="list of faces is empty"):
        nano_like([])
    with pytest.raises(SpaceMismatch, match="'elsewhere'"):
        nano_like([*made_up(nano_like, 1), Identity(vector=np.ones(128), space="elsewhere")])
    face = nano_like.reader.read(white_face(np.zeros((99, 99, 3), np.uint8), 20, 20, 40, 50), identity=False)[0]
    with pytest.raises(BadIdentity, match="without its identity"):
        nano_like([face, *made_up(nano_like, 1)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scheduler": "unpic"}, "did you mean 'unipc'"),
        ({"num_inference_steps": 0}, "num_inference_steps must be a whole number between 1 and 1000, got 0"),
        ({"num_inference_steps": True}, "num_inference_steps must be a whole number"),
        ({"guidance_scale": -1}, "guidance"),
        ({"num_images_per_prompt": 0}, "num_images_per_prompt"),
        ({"batch_size": 0}, "batch_size"),
        ({"output_type": "jpg"}, "output_type"),
        ({"seed": -1}, "seed must be a whole number between 0 and"),
        ({"seed": [-1]}, "seed must be a whole number between 0 and"),
        ({"seed": 2**63 - 1, "num_images_per_prompt": 2}, "seeds lie between"),
        ({"seed": [1, 2]}, "1 images need one seed each"),
        ({"seed": 1, "generator": torch.Generator()}, "not both"),
        ({"num_images_per_prompt": 2, "generator": torch.Generator()}, "one generator each"),
        ({"prompt": "a smiling man"}, "names its person once"),
        ({"prompt": "{person} " + "smiling " * 20}, "at most 16 tokens"),
    ],
)
def test_impossible_options_are_refused(pipe: FacePipeline, options: dict[str, object], message: str) -> None:
    with pytest.raises(BadOption, match=message):
        pipe(made_up(pipe)[0], **options)


def test_words_and_guidance_have_an_effect(pipe: FacePipeline) -> None:
    person = made_up(pipe)[0]
    plain = pixels(pipe, person, seed=0)
    torch.testing.assert_close(pixels(pipe, person, seed=0, prompt="photo of a {person}"), plain, rtol=0, atol=0)
    for other in ({"prompt": "a smiling {person}"}, {"negative_prompt": "smiling"}, {"guidance_scale": 1.0}):
        assert (pixels(pipe, person, seed=0, **other) - plain).abs().max() > 1e-5


# ---------------------------------------------------------------------- what comes out


def test_the_output_types_show_the_same_pictures(pipe: FacePipeline) -> None:
    person = made_up(pipe)[0]
    images = {kind: pipe(person, seed=0, output_type=kind).images for kind in ("pil", "np", "pt", "latent")}
    assert images["pil"][0].size == (32, 32)
    assert images["np"].shape == (1, 32, 32, 3)
    np.testing.assert_allclose(np.asarray(images["pil"][0]) / 255, images["np"][0], atol=0.003)
    np.testing.assert_array_equal(images["np"][0], images["pt"][0].permute(1, 2, 0).numpy())
    decoded = codec.decode(pipe.vae, images["latent"])
    assert_same(decoded.detach() / 2 + 0.5, images["pt"], steps=4)


def test_likeness_is_the_cosine_of_what_is_read_back(nano_like: FacePipeline) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 99, (2, 96, 96, 3), dtype=np.uint8)
    shown = white_face(noise[0], 20, 20, 60, 80)
    wanted = [*made_up(nano_like, 1), nano_like.read(shown)[0].identity]
    images = codec.to_tensor(np.stack([shown, shown, noise[1]]))
    found = nano_like.likeness(images, [*wanted, wanted[0]])
    assert found[0] == pytest.approx(float(wanted[0].vector @ wanted[1].vector), abs=1e-5)
    assert found[1] == pytest.approx(1, abs=1e-5)
    assert np.isnan(found[2])


def test_likeness_is_measured_for_every_image_or_not_at_all(nano_like: FacePipeline, sd15_like: FacePipeline) -> None:
    assert len(nano_like(made_up(nano_like), seed=0).likeness) == 3
    assert nano_like(made_up(nano_like), seed=0, measure_likeness=False).likeness is None
    assert sd15_like(made_up(sd15_like), seed=0).likeness is None


def test_the_recipe_makes_it_again(pipe: FacePipeline) -> None:
    people = made_up(pipe)
    out = pipe(people, seed=2, prompt="a smiling {person}", scheduler="dpm++", num_inference_steps=3)
    recipe = json.loads(json.dumps(out.recipe))
    assert recipe["versions"]["personae"] == personae.__version__
    assert recipe["dtype"] == "float32"
    assert len({one["identity_sha256"] for one in recipe["inputs"]}) == 3
    again = pipe(people[1], seed=out.seeds[1], **recipe["settings"])
    assert np.abs(np.asarray(again.images[0], int) - np.asarray(out.images[1], int)).max() <= 1


def test_callbacks_see_steer_and_stop_the_loop(pipe: FacePipeline) -> None:
    person, seen = made_up(pipe)[0], []

    def watch(owner: FacePipeline, step: int, t: torch.Tensor, tensors: dict[str, torch.Tensor]) -> None:
        assert owner is pipe
        seen.append((step, tuple(tensors["latents"].shape)))
        owner.interrupt = step == 1

    pipe(person, seed=0, num_images_per_prompt=2, callback_on_step_end=watch)
    assert seen == [(0, (2, 4, 8, 8)), (1, (2, 4, 8, 8))]
    steered = pixels(
        pipe, person, seed=0, callback_on_step_end=lambda p, s, t, k: {"latents": torch.zeros_like(k["latents"])}
    )
    assert (steered - pixels(pipe, person, seed=0)).abs().max() > 1e-3
    assert not pipe.interrupt


# ---------------------------------------------------------------------- on disk


def test_a_saved_pipeline_comes_back_whole(nano_like: FacePipeline, nano_folder: Path) -> None:
    again = FacePipeline.from_pretrained(nano_folder)
    again.set_progress_bar_config(disable=True)
    for name in ("crop_template", "identity_space", "identity_width", "steps", "guidance_scale"):
        assert again.config[name] == nano_like.config[name]
    assert again.reader.space == nano_like.reader.space
    person = made_up(nano_like)[0]
    assert_same(pixels(again, person, seed=0), pixels(nano_like, person, seed=0), steps=4)
    assert again(person).recipe["model"]["sha256"] == again.sha256
    assert len(again.sha256) == 64
    assert str(nano_folder.parent) not in (nano_folder / "model_index.json").read_text()


def test_a_pipeline_without_reader_comes_back_and_says_what_it_lacks(sd15_like: FacePipeline, tmp_path: Path) -> None:
    sd15_like.save_pretrained(tmp_path / "model")
    again = FacePipeline.from_pretrained(tmp_path / "model")
    assert again.config.identity_space == "random/test/0"
    assert again.reader is None
    with pytest.raises(WeightsMissing, match="no reader"):
        again.read(Image.new("RGB", (64, 64)))


def test_a_model_with_a_part_that_is_not_of_its_files_has_no_hash(nano_folder: Path) -> None:
    pipe = FacePipeline.from_pretrained(nano_folder)
    own, other = pipe.unet, copy.deepcopy(pipe.unet)
    assert FacePipeline.from_pretrained(nano_folder, unet=other).sha256 is None
    assert FacePipeline.from_pipe(pipe, unet=other).sha256 is None
    assert pipe.sha256 == FacePipeline.from_pipe(pipe).sha256 is not None
    pipe.unet = other
    assert pipe(made_up(pipe)[0], seed=0).recipe["model"]["sha256"] is None
    around = torch.nn.Identity()
    around._orig_mod = own  # as torch.compile returns the same network
    pipe.unet = around
    assert pipe.sha256 is not None
    pipe.exp_adapter = torch.nn.Identity()
    assert pipe.sha256 is None


def test_load_picks_precision_and_keeps_the_asked_for_one(nano_folder: Path) -> None:
    pipe = personae.load(nano_folder, device="cpu", torch_dtype=torch.float32)
    assert pipe.unet.dtype == pipe.vae.dtype == torch.float32
    assert pipe.name == str(nano_folder)
    quick = personae.load(nano_folder, device="cpu")
    assert quick.text_encoder.dtype == torch.float32
    assert len(quick(made_up(quick), seed=0).images) == 3


def test_a_scheduler_of_the_other_kind_is_refused(nano_like: FacePipeline, sd15_like: FacePipeline) -> None:
    with pytest.raises(BadOption, match="trained on a flow"):
        nano_like(made_up(nano_like), scheduler="ddim")
    with pytest.raises(BadOption, match="trained on a noise schedule"):
        sd15_like(made_up(sd15_like), scheduler="flow-euler")


@pytest.fixture
def broken(nano_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(nano_folder, tmp_path / "broken")


def test_a_flipped_bit_is_found(broken: Path) -> None:
    path = broken / "unet" / "diffusion_pytorch_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsCorrupt, match="is not the file"):
        personae.load(broken)


@pytest.mark.parametrize(
    "path",
    [
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
        "unet/config.json",
        "model_index.json",
        "tokenizer/tokenizer.json",
    ],
)
@pytest.mark.parametrize("content", [b"", b"not what it was"])
def test_a_damaged_file_is_found_without_a_list_of_hashes_too(broken: Path, path: str, content: bytes) -> None:
    (broken / "sha256.json").unlink()
    (broken / path).write_bytes(content)
    with pytest.raises(WeightsCorrupt, match="fetch the model again"):
        personae.load(broken)


NETWORKS = ["unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors"]
NETWORKS += ["text_encoder/model.safetensors"]


@pytest.mark.parametrize("path", NETWORKS)
def test_a_missing_file_or_weight_is_found(broken: Path, path: str) -> None:
    (broken / "sha256.json").unlink()
    tensors = load_file(broken / path)
    tensors.pop(sorted(tensors)[3])
    save_file(tensors, broken / path, {"format": "pt"})
    with pytest.raises(WeightsCorrupt, match="lacks its weight"):
        personae.load(broken)
    (broken / path).unlink()
    with pytest.raises(WeightsMissing, match="no file named"):
        personae.load(broken)


def test_a_pickle_is_never_opened(broken: Path) -> None:
    (broken / "sha256.json").unlink()
    (broken / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    torch.save({"conv_in.weight": torch.zeros(1)}, broken / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(WeightsMissing, match=r"diffusion_pytorch_model\.safetensors"):
        personae.load(broken)


def test_a_missing_part_and_unknown_names_are_named(broken: Path) -> None:
    (broken / "sha256.json").unlink()
    shutil.rmtree(broken / "vae")
    with pytest.raises(WeightsMissing, match="lacks its part vae/"):
        personae.load(broken)
    with pytest.raises(BadOption, match="did you mean 'nano'"):
        personae.load("nanno")
    with pytest.raises(WeightsMissing, match="not a model folder"):
        personae.load(broken / "unet")


def test_a_folder_that_cannot_be_written_is_named(nano_like: FacePipeline, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(BadOutput, match="cannot be saved"):
        nano_like.save_pretrained(tmp_path / "taken" / "model")


def test_a_reader_of_another_space_is_refused(nano_like: FacePipeline) -> None:
    with pytest.raises(WeightsCorrupt, match="use the reader that belongs to it"):
        FacePipeline(**nano_parts(), reader=nano_like.reader, identity_space="another")


def test_a_face_record_keeps_its_photo_in_the_recipe(nano_like: FacePipeline, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(white_face(np.zeros((99, 99, 3), np.uint8), 20, 20, 60, 80)).save(path)
    face = nano_like.read(path)[0]
    assert isinstance(face, Face)
    assert nano_like(face, seed=0).recipe["inputs"][0]["photo_sha256"] == face.photo.sha256
