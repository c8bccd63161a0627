"""Tiny models of both families, random but real: diffusers and transformers classes, the same code path.

`nano_like`: AutoencoderDC, a UNet with a class embedding, rectified flow. `sd15_like`: AutoencoderKL, no class
embedding, an epsilon schedule, identities narrower than its text. Both make 32-px images in a blink.
"""

import inspect
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("PERSONAE_DTYPE", "float32")  # what a test finds does not hang on how busy the machine is

import diffusers
import numpy as np
import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

import personae
from cli_fixtures import Done, Run
from personae import cli
from personae.models import catalog
from personae.pipeline import FacePipeline
from personae.reading.reader import FaceReader
from personae.types import Identity
from reading_fixtures import tiny_reader_folder

WIDTH = 128  # of the text encoders, and of the tiny reader's identities
WORDS = ["photo", "of", "a", "id", "person", "smiling", "black", "and", "white", "man", "woman", ",", ".", "at", "the"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What compares two float computations of the same thing is run again with other kernels (.ci/run)."""
    for item in items:
        if isinstance(item, pytest.Function) and "assert_same" in inspect.unwrap(item.function).__code__.co_names:
            item.add_marker("kernels")


@pytest.fixture(scope="session", autouse=True)
def _threads() -> None:
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))


@pytest.fixture(scope="session", autouse=True)
def _unlike_the_shell(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A job in a shell's background is born deaf to SIGINT, and so would be its children. And compiled code is this
    run's own: what a killed run left half-written in the usual place would be loaded."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(tmp_path_factory.mktemp("inductor"))
    os.environ["XDG_CONFIG_HOME"] = str(
        tmp_path_factory.mktemp("config")
    )  # where the key lies that pictures are signed by


@pytest.fixture
def unsigned(monkeypatch: pytest.MonkeyPatch) -> None:
    """No C2PA: where a test compares files byte by byte, since a signature is drawn at random; and where it looks for
    words in a file that a manifest says, too."""
    monkeypatch.setenv("PERSONAE_NO_C2PA", "1")


@pytest.fixture(autouse=True)
def _independent() -> Iterator[None]:
    """A test does not depend on those before it: fresh weights are the same each time, and accelerate, which keeps its
    precision for the whole process, forgets it."""
    torch.manual_seed(0)
    yield
    if "accelerate" in sys.modules:
        sys.modules["accelerate"].state.AcceleratorState._reset_state(reset_partial_state=True)


def tiny_tokenizer(words: list[str] = WORDS, length: int = 16) -> CLIPTokenizer:
    """CLIP's own tokenizer class with `words` as single tokens and every ASCII letter beside them."""
    letters = [chr(c) for c in range(33, 127)]
    merges, pieces = [], [*letters, *(f"{letter}</w>" for letter in letters)]
    for word in words:
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            pair = (parts[0], parts[1])
            if pair not in merges:
                merges.append(pair)
                pieces.append("".join(pair))
            parts = ["".join(pair), *parts[2:]]
    names = dict.fromkeys([*pieces, "<|startoftext|>", "<|endoftext|>"])
    vocabulary = {piece: index for index, piece in enumerate(names)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=length)


def tiny_text_encoder(tokenizer: CLIPTokenizer, width: int = WIDTH) -> CLIPTextModel:
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config).eval()


def _unet(**options: object) -> diffusers.UNet2DConditionModel:
    torch.manual_seed(1)
    return diffusers.UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=4,
        cross_attention_dim=WIDTH,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        **options,
    ).eval()


def nano_parts() -> dict[str, object]:
    tokenizer = tiny_tokenizer()
    torch.manual_seed(2)
    vae = diffusers.AutoencoderDC(
        latent_channels=4,
        encoder_block_types="ResBlock",
        decoder_block_types="ResBlock",
        encoder_block_out_channels=(8, 8, 16),
        decoder_block_out_channels=(8, 8, 16),
        encoder_layers_per_block=(0, 1, 1),
        decoder_layers_per_block=(0, 1, 1),
        encoder_qkv_multiscales=((), (), ()),
        decoder_qkv_multiscales=((), (), ()),
        downsample_block_type="pixel_unshuffle",
        upsample_block_type="pixel_shuffle",
        scaling_factor=0.7,
    ).eval()
    return {
        "vae": vae,
        "text_encoder": tiny_text_encoder(tokenizer),
        "tokenizer": tokenizer,
        "unet": _unet(class_embed_type="projection", projection_class_embeddings_input_dim=WIDTH),
        "scheduler": diffusers.FlowMatchEulerDiscreteScheduler(shift=2.0),
    }


def sd15_parts() -> dict[str, object]:
    tokenizer = tiny_tokenizer()
    torch.manual_seed(2)
    vae = diffusers.AutoencoderKL(
        latent_channels=4,
        block_out_channels=(8, 8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        sample_size=32,
    ).eval()
    return {
        "vae": vae,
        "text_encoder": tiny_text_encoder(tokenizer),
        "tokenizer": tokenizer,
        "unet": _unet(),
        "scheduler": diffusers.DPMSolverMultistepScheduler(beta_schedule="scaled_linear"),
    }


@pytest.fixture(scope="session")
def nano_like(tmp_path_factory: pytest.TempPathFactory) -> FacePipeline:
    """With a reader whose faces are white rectangles; identities (128,) of the reader's space."""
    folder = tmp_path_factory.mktemp("reader")
    tiny_reader_folder(folder)
    pipe = FacePipeline(**nano_parts(), reader=FaceReader.from_folder(folder / "reader", threads=1), steps=4)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="session")
def sd15_like() -> FacePipeline:
    """Without a reader; identities (16,) of a space with a name."""
    pipe = FacePipeline(**sd15_parts(), identity_space="random/test/0", identity_width=16, steps=4)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="session")
def nano() -> FacePipeline:
    """The bundled model, with all it brings."""
    pipe = personae.load("nano", device="cpu")
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="session")
def two_photos(nano: FacePipeline) -> list[np.ndarray]:
    """Photos (128, 128, 3) of two people that the bundled model has made up; do not write to them."""
    sampler = personae.identity.IdentitySampler.load(nano.folder / personae.identity.PEOPLE)
    out = nano(sampler.sample(2, seed=4), seed=0, num_inference_steps=8, measure_likeness=False)
    return [np.asarray(image) for image in out.images]


@pytest.fixture(params=["nano_like", "sd15_like"])
def pipe(request: pytest.FixtureRequest) -> FacePipeline:
    """Each of the two families in turn: what holds for one holds for both."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def nano_folder(nano_like: FacePipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model folder with its reader; never written to: copy it to damage it."""
    folder = tmp_path_factory.mktemp("models") / "nano-like"
    nano_like.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def moving_folder(nano_like: FacePipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that can be moved."""
    from controlnet_fixtures import random_controlnet  # late: it imports this file

    folder = tmp_path_factory.mktemp("moving") / "tiny"
    nano_like.save_pretrained(folder)
    random_controlnet(nano_like.unet).save_pretrained(folder / "controlnet")
    catalog.seal(folder)
    return folder


@pytest.fixture(scope="session")
def moving(moving_folder: Path) -> FacePipeline:
    """The same, loaded."""
    pipe = personae.load(moving_folder, device="cpu")
    pipe.set_progress_bar_config(disable=True)
    return pipe


def made_up(pipe: FacePipeline, count: int = 3) -> list[Identity]:
    """Different people of a pipeline's space."""
    rows = np.random.default_rng(0).standard_normal((count, pipe.config.identity_width))
    return [Identity(vector=row, space=pipe.config.identity_space) for row in rows]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """`run("generate", photo, ...)` in a folder of its own, through the program's own entry."""
    monkeypatch.chdir(tmp_path)

    def command(*words: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["personae", *map(str, words)])
        capsys.readouterr()  # what making the model printed is not the command's
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        printed = capsys.readouterr()
        return Done(code=stopped.value.code or 0, out=printed.out, err=printed.err)

    return command
