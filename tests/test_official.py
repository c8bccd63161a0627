"""Arc2Face's published files: read from any place they may lie in, computed as the official code does, or refused."""

import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import personae
from official_fixtures import published
from official_reference import GOLDEN, SEEDS, Official, people, thinned
from personae import cli, identity
from personae.errors import (
    BadIdentity,
    BadOption,
    BadOutput,
    SpaceMismatch,
    WeightsCorrupt,
    WeightsMissing,
)
from personae.models.official import layout, parts
from personae.pipeline import FacePipeline
from personae.types import Identity
from tolerances import assert_same


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """`models/`, `stable-diffusion/`; never written to: copy them to damage them."""
    return published(tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def pipe(files: tuple[Path, Path]) -> FacePipeline:
    return loaded(*files)


@pytest.fixture(scope="module")
def reference(files: tuple[Path, Path]) -> Official:
    return Official(*files)


@pytest.fixture(scope="module")
def made(pipe: FacePipeline) -> torch.Tensor:
    """(3, 4, 8, 8): each person once, together."""
    return pipe(people(), seed=SEEDS, output_type="latent").images


def loaded(models: Path, base: Path | None = None, **options: object) -> FacePipeline:
    pipe = personae.load(models, base=base, device="cpu", torch_dtype=torch.float32, **options)
    pipe.set_progress_bar_config(disable=True)
    return pipe


# ---------------------------------------------------------------------- the same numbers


def test_prompts_equal_the_official_computation(pipe: FacePipeline, reference: Official) -> None:
    told, untold = pipe.condition(pipe.identities(people()))
    official_rows = torch.cat([reference.prompt(person) for person in people()])
    assert told.tokens.shape == official_rows.shape == (3, 77, 528)
    assert (told.tokens - official_rows).abs().max() < 1e-4
    assert (untold.tokens - reference.prompt(None)).abs().max() < 1e-4


def test_latents_equal_the_official_pipeline_seed_by_seed(made: torch.Tensor, reference: Official) -> None:
    for row, (person, seed) in enumerate(zip(people(), SEEDS, strict=True)):
        wanted = reference.latents(person, seed)[0]
        assert (made[row] - wanted).abs().max() < 1e-3 * wanted.std()


def test_both_equal_the_golden_numbers(pipe: FacePipeline, made: torch.Tensor) -> None:
    golden = {name: torch.from_numpy(numbers) for name, numbers in np.load(GOLDEN).items()}
    told, untold = pipe.condition(pipe.identities(people()))
    assert (thinned(told.tokens) - golden["prompts"]).abs().max() < 1e-4
    assert (thinned(untold.tokens) - golden["empty"]).abs().max() < 1e-4
    assert (made - golden["latents"]).abs().max() < 1e-3 * golden["latents"].std()


SHORT = {"num_inference_steps": 5, "output_type": "latent"}


def test_three_people_at_once_are_three_times_one(pipe: FacePipeline) -> None:
    together = pipe(people(), seed=SEEDS, **SHORT).images
    for row, (person, seed) in enumerate(zip(people(), SEEDS, strict=True)):
        assert_same(pipe(person[None], seed=seed, **SHORT).images[0], together[row], steps=5)


def test_four_seeds_at_once_are_four_single_runs(pipe: FacePipeline) -> None:
    together = pipe(people(1), num_images_per_prompt=4, seed=20, **SHORT).images
    for n in range(4):
        assert_same(pipe(people(1), seed=20 + n, **SHORT).images[0], together[n], steps=5)


# ---------------------------------------------------------------------- from wherever it lies


def test_what_the_authors_use_is_the_default(pipe: FacePipeline) -> None:
    config = pipe.config
    assert (config.steps, config.guidance_scale, config.crop_template, config.identity_width) == (25, 3.0, "ffhq", 512)
    assert type(pipe.scheduler).__name__ == "DPMSolverMultistepScheduler"
    assert pipe.scheduler.config.timestep_spacing == "linspace"  # DPM-Solver's own, not PNDM's
    assert pipe.reader is None
    assert pipe(people(1), seed=0, num_inference_steps=2).likeness is None


@pytest.mark.parametrize("prefix", ["", "text_model."])
def test_names_of_either_version_of_transformers(prefix: str, tmp_path: Path, pipe: FacePipeline) -> None:
    models, _ = published(tmp_path, prefix=prefix)
    ours = parts.text_encoder(models / "encoder").state_dict()
    for name, tensor in pipe.text_encoder.state_dict().items():
        torch.testing.assert_close(ours[name], tensor, rtol=0, atol=0)


def test_the_base_beside_the_model_and_in_a_folder_of_its_own_name(files: tuple[Path, Path], tmp_path: Path) -> None:
    beside = shutil.copytree(files[0], tmp_path / "one" / "models")
    shutil.copytree(files[1], beside, dirs_exist_ok=True)
    assert layout.find(beside).base == beside
    sibling = shutil.copytree(files[0], tmp_path / "two" / "models")
    shutil.copytree(files[1], tmp_path / "two" / "stable-diffusion-v1-5")
    assert layout.find(sibling).base.resolve() == (tmp_path / "two" / "stable-diffusion-v1-5").resolve()


def test_conversion_writes_the_same_weights_once_and_the_pickle_is_done_with(
    tmp_path: Path, pipe: FacePipeline
) -> None:
    models, base = published(tmp_path)
    file = parts.convert(models)
    assert set(load_file(file)) == set(pipe.text_encoder.state_dict())
    (models / "encoder" / "pytorch_model.bin").write_bytes(b"never opened again")
    again = loaded(models, base)
    wanted = pipe(people(1), seed=0, **SHORT).images
    torch.testing.assert_close(again(people(1), seed=0, **SHORT).images, wanted, rtol=0, atol=0)
    stamp = file.stat().st_mtime_ns
    assert parts.convert(models) == file
    assert file.stat().st_mtime_ns == stamp


def test_saved_in_our_layout_it_comes_back_with_its_optional_parts(files: tuple[Path, Path], tmp_path: Path) -> None:
    models = shutil.copytree(files[0], tmp_path / "models")
    (models / "exp_adapter").mkdir()
    (models / "exp_adapter" / "exp_adapter.bin").write_bytes(b"weights")
    pipe = loaded(models, files[1])
    assert pipe.has_component("exp_adapter")
    assert not pipe.has_component("controlnet")
    pipe.save_pretrained(tmp_path / "ours")
    assert not list(tmp_path.glob(".ours*"))
    again = loaded(tmp_path / "ours")
    for name in ("steps", "guidance_scale", "crop_template", "identity_space", "identity_width"):
        assert again.config[name] == pipe.config[name]
    wanted = pipe(people(1), seed=0, **SHORT).images
    assert_same(again(people(1), seed=0, **SHORT).images, wanted, steps=5)
    assert (tmp_path / "ours" / "exp_adapter" / "exp_adapter.bin").read_bytes() == b"weights"
    (tmp_path / "ours" / "exp_adapter" / "exp_adapter.bin").write_bytes(b"others")
    with pytest.raises(WeightsCorrupt, match=r"exp_adapter\.bin is not the file"):
        personae.load(tmp_path / "ours")


def test_the_fingerprint_does_not_depend_on_where_it_lies(files: tuple[Path, Path], tmp_path: Path) -> None:
    moved = shutil.copytree(files[0], tmp_path / "elsewhere")
    shutil.copytree(files[1], moved, dirs_exist_ok=True)
    first, second = loaded(*files).sha256, loaded(moved).sha256
    assert first == second
    (moved / "arc2face" / "config.json").write_text((moved / "arc2face" / "config.json").read_text() + "\n")
    assert loaded(moved).sha256 != first


def test_the_space_is_named_after_the_recogniser(files: tuple[Path, Path], tmp_path: Path) -> None:
    models = with_recogniser(files, tmp_path)
    pipe = loaded(models, files[1], reader=False)
    space = pipe.config.identity_space
    assert space.startswith("arc2face/arcface/")
    (models / "antelopev2" / "arcface.onnx").write_bytes(b"another recogniser")
    other = loaded(models, files[1], reader=False)
    assert other.config.identity_space != space
    with pytest.raises(SpaceMismatch, match="measured in space"):
        other(Identity(vector=people(1)[0].numpy(), space=space))


def with_recogniser(files: tuple[Path, Path], folder: Path) -> Path:
    """A copy of the model with files of the names that reading needs, as the authors' readme lays them."""
    models = shutil.copytree(files[0], folder / "models")
    (models / "antelopev2").mkdir()
    for name in ("arcface.onnx", "scrfd_10g_bnkps.onnx"):
        (models / "antelopev2" / name).write_bytes(b"a network")
    return models


# ---------------------------------------------------------------------- bad input


def test_everything_that_lacks_is_named_in_one_error(tmp_path: Path) -> None:
    (tmp_path / "arc2face").mkdir()
    (tmp_path / "arcface.onnx").write_bytes(b"a network")
    with pytest.raises(WeightsMissing) as raised:
        personae.load(tmp_path)
    message = str(raised.value)
    for file in (
        "arc2face/config.json",
        "arc2face/diffusion_pytorch_model.safetensors",
        "encoder/config.json",
        "encoder/pytorch_model.bin",
        "scheduler/scheduler_config.json",
        "tokenizer/vocab.json",
        "vae/diffusion_pytorch_model.safetensors",
        "scrfd_10g_bnkps.onnx",
        "huggingface.co/FoivosPar/Arc2Face",
        "huggingface.co/stable-diffusion-v1-5/stable-diffusion-v1-5",
        "base=",
    ):
        assert file in message, file
    assert "\n" not in message


class Malice:
    """What a pickle may do to whoever opens it."""

    def __reduce__(self) -> tuple:
        return (Path.touch, (Path(self.target),))

    def __init__(self, target: Path) -> None:
        self.target = str(target)


def hostile(path: Path) -> None:
    torch.save({"text_model.embeddings.token_embedding.weight": Malice(path.parent / "ran")}, path)


def without_a_weight(path: Path) -> None:
    state = torch.load(path, weights_only=True)
    del state["text_model.final_layer_norm.weight"]
    torch.save(state, path)


def with_another_size(path: Path) -> None:
    state = torch.load(path, weights_only=True)
    state["text_model.final_layer_norm.weight"] = torch.zeros(3)
    torch.save(state, path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:999])


def replaced(content: bytes):
    return lambda path: path.write_bytes(content)


def pickled_plainly(path: Path) -> None:
    path.write_bytes(pickle.dumps(Malice(path.parent / "ran"), protocol=2))


PICKLE, UNET = "encoder/pytorch_model.bin", "arc2face/diffusion_pytorch_model.safetensors"
VAE, SCHEDULER = "vae/diffusion_pytorch_model.safetensors", "scheduler/scheduler_config.json"
DAMAGE = {
    "a pickle that runs code": (PICKLE, hostile, "could run code"),
    "a pickle of another kind": (PICKLE, pickled_plainly, "could run code"),
    "a truncated pickle": (PICKLE, cut, "cannot be read"),
    "an empty pickle": (PICKLE, replaced(b""), "cannot be read"),
    "a pickled number": (PICKLE, lambda path: torch.save(3, path), "expected tensors by name"),
    "a lacking weight": (PICKLE, without_a_weight, "lacks its weight final_layer_norm"),
    "a weight of another size": (PICKLE, with_another_size, "sizes in its config"),
    "a config that is none": ("encoder/config.json", replaced(b"{"), "cannot be read"),
    "a truncated unet": (UNET, cut, "unet.* cannot be read"),
    "an empty unet config": ("arc2face/config.json", replaced(b""), "arc2face.* cannot be read"),
    "a broken vae": (VAE, replaced(b"no"), "vae.* cannot be read"),
    "a broken scheduler": (SCHEDULER, replaced(b"["), "scheduler.* cannot be read"),
    "a broken vocabulary": ("tokenizer/vocab.json", replaced(b"["), "tokenizer.* cannot be read"),
}


@pytest.fixture
def copied(files: tuple[Path, Path], tmp_path: Path) -> Path:
    """Model and base in one folder."""
    models = shutil.copytree(files[0], tmp_path / "models")
    return shutil.copytree(files[1], models, dirs_exist_ok=True)


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_file_is_one_clear_error(kind: str, copied: Path) -> None:
    name, damage, message = DAMAGE[kind]
    damage(copied / name)
    with pytest.raises(WeightsCorrupt, match=message) as raised:
        personae.load(copied)
    assert "\n" not in str(raised.value)
    assert not (copied / "encoder" / "ran").exists()  # nothing ran


def test_a_conversion_of_a_damaged_pickle_writes_nothing(copied: Path) -> None:
    hostile(copied / "encoder" / "pytorch_model.bin")
    before = sorted(path.name for path in (copied / "encoder").iterdir())
    with pytest.raises(WeightsCorrupt, match="could run code"):
        parts.convert(copied)
    assert sorted(path.name for path in (copied / "encoder").iterdir()) == before
    with pytest.raises(WeightsMissing, match="to convert"):
        parts.convert(copied / "vae")


def test_an_embedding_of_another_width_and_a_reader_of_another_model(
    pipe: FacePipeline, files: tuple[Path, Path], nano_like: FacePipeline
) -> None:
    with pytest.raises(BadIdentity, match="identities of 512 numbers, got 128"):
        pipe(np.ones((1, 128), np.float32))
    with pytest.raises(SpaceMismatch, match="identities of 512 numbers, this reader measures 128"):
        loaded(*files, reader=nano_like.reader)


def test_an_unknown_scheduler_and_an_unknown_option(pipe: FacePipeline, files: tuple[Path, Path]) -> None:
    with pytest.raises(BadOption, match="did you mean 'dpm\\+\\+'"):
        pipe(people(1), scheduler="dpm+")
    with pytest.raises(BadOption, match="without the option variant"):
        FacePipeline.from_pretrained(files[0], base=files[1], variant="fp16")


def test_a_base_that_is_none(files: tuple[Path, Path]) -> None:
    with pytest.raises(WeightsMissing, match="neither a folder nor a Hub id"):
        personae.load(files[0], base="/nowhere")


def test_glintr100_under_the_recognisers_name_is_refused(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = with_recogniser(files, tmp_path)
    digest = layout.find(models, base=files[1]).space().rpartition("/")[2]
    monkeypatch.setattr(layout, "GLINTR100_SHA256", layout._recogniser_sha256(models / "antelopev2" / "arcface.onnx"))
    assert layout.GLINTR100_SHA256.startswith(digest)
    with pytest.raises(WeightsCorrupt, match="under another name"):
        loaded(models, files[1], reader=False)


def test_a_failed_save_leaves_nothing(pipe: FacePipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("personae.models.catalog.seal", full)
    with pytest.raises(BadOutput, match="No space left"):
        pipe.save_pretrained(tmp_path / "ours")
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------- on the command line


@pytest.fixture
def generate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, files: tuple[Path, Path]
):
    """`personae generate` of someone's identity in the model's space: exit code, and what stderr says."""
    monkeypatch.chdir(tmp_path)
    identity.save(tmp_path / "ann.identity", Identity(vector=people(1)[0].numpy(), space="unnamed"))

    def run(model: Path, *words: str) -> tuple[int, str]:
        command = ["generate", "ann.identity", "--model", str(model), "--steps", "2", "-o", "made", *words]
        monkeypatch.setattr(sys, "argv", ["personae", *command])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return stopped.value.code or 0, capsys.readouterr().err

    return run


def test_the_command_line_generates_from_published_files(copied: Path, generate, tmp_path: Path) -> None:
    assert generate(copied) == (0, "")
    assert len(list((tmp_path / "made").glob("ann-*.png"))) == 1


@pytest.mark.parametrize(
    ("damage", "words", "message"),
    [
        (lambda folder: (folder / "encoder" / "config.json").unlink(), (), "lacks encoder/config.json from"),
        (lambda folder: hostile(folder / "encoder" / "pytorch_model.bin"), (), "could run code"),
        (lambda folder: (folder / "arc2face" / "config.json").write_text("{"), (), "cannot be read"),
        (lambda folder: None, ("--scheduler", "dpm+"), "unknown --scheduler 'dpm+'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(
    damage, words, message, copied: Path, generate, tmp_path: Path
) -> None:
    damage(copied)
    code, printed = generate(copied, *words)
    assert code == 2
    assert message in printed
    assert printed.count("\n") == 1
    assert not list((tmp_path / "made").glob("*.png"))


def test_identities_of_another_space_or_width_are_exit_code_two(copied: Path, generate, tmp_path: Path) -> None:
    identity.save(tmp_path / "bob.identity", Identity(vector=np.ones(128), space="unnamed"))
    code, printed = generate(copied, "bob.identity")
    assert (code, "identities of 512 numbers, got 128" in printed) == (2, True)
    identity.save(tmp_path / "eve.identity", Identity(vector=np.ones(512), space="other/arcface/0123456789ab"))
    code, printed = generate(copied, "eve.identity")
    assert (code, "measured in space 'other/arcface/0123456789ab'" in printed) == (2, True)
