"""What the training tests feed on: a tiny labelled cache of drawn faces, no real person in it, and random networks."""

import io
import json
from pathlib import Path

import diffusers
import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn

from conftest import nano_parts, tiny_text_encoder, tiny_tokenizer
from personae.data import shards
from personae.reading import align
from personae.reading.steady import FIVE
from personae.training import captions
from personae.training.export_onnx import export_onnx
from personae.training.frame import PORTRAIT, Frame
from personae.training.methods.base.data import BaseFiles
from personae.training.methods.embedder.network import Embedder
from personae.training.networks import MotionNet
from personae.types import Array


def tiny_base(folder: Path, channels: int = 4) -> None:
    """A random text encoder, tokenizer and UNet of the same classes as nano's, as the base recipe exports them.
    channels: of the latents."""
    tokenizer = tiny_tokenizer(length=captions.MAX_TOKENS)
    tokenizer.save_pretrained(folder / "tokenizer")
    tiny_text_encoder(tokenizer).save_pretrained(folder / "text_encoder")
    unet = diffusers.UNet2DConditionModel.from_config(
        nano_parts()["unet"].config, sample_size=16, in_channels=channels, out_channels=channels
    )
    unet.save_pretrained(folder / "unet")


def tiny_vae(folder: Path, frame: Frame = PORTRAIT) -> None:
    """A random autoencoder between pictures of a frame and latents of 4 channels."""
    torch.manual_seed(2)
    stages = frame.cell.bit_length()
    diffusers.AutoencoderDC(
        latent_channels=4,
        encoder_block_types="ResBlock",
        decoder_block_types="ResBlock",
        encoder_block_out_channels=(8,) * stages,
        decoder_block_out_channels=(8,) * stages,
        encoder_layers_per_block=(0, *(1,) * (stages - 1)),
        decoder_layers_per_block=(0, *(1,) * (stages - 1)),
        encoder_qkv_multiscales=((),) * stages,
        decoder_qkv_multiscales=((),) * stages,
        downsample_block_type="pixel_unshuffle",
        upsample_block_type="pixel_shuffle",
    ).save_pretrained(folder)


def base_files(folder: Path, frame: Frame = PORTRAIT, count: int = 32) -> BaseFiles:
    """A tiny cache of `count` photos, base, autoencoder, embedder and motion reader (`motion.onnx`) in `folder`, which
    are written if they are not there."""
    files = BaseFiles(
        caches=[folder / "cache"],
        vae=folder / "vae",
        embedder=folder / "embedder.onnx",
        start=folder / "base",
        frame=frame,
    )
    if not files.cache.is_dir():
        write_cache(files.cache, count=count)
        tiny_vae(files.vae, frame)
        tiny_embedder(files.embedder)
        tiny_motion(folder / "motion.onnx")
        tiny_base(folder / "base")
    return files


def tiny_onnx(path: Path, network: nn.Module, size: int, results: list[str]) -> None:
    """`network` of crops (N, 3, size, size), exported."""
    path.parent.mkdir(parents=True, exist_ok=True)
    export_onnx(network.eval(), torch.zeros(2, 3, size, size), path, ["crop"], results)


def tiny_embedder(path: Path) -> None:
    """A random identity encoder of 128 numbers."""
    tiny_onnx(path, Embedder((8, 8, 128), (1, 1, 1), 16), 112, ["identity"])


def tiny_motion(path: Path) -> None:
    """A random motion network."""
    tiny_onnx(path, MotionNet(widths=(8, 8, 8, 8, 8)), 128, ["landmarks", "pose", "blendshapes"])


def drawn_face(rng: np.random.Generator, side: int = 224) -> tuple[Array, Array]:
    """A cartoon of a face, (side, side, 3) uint8, and its five points (5, 2)."""
    skin = tuple(int(v) for v in rng.integers(90, 230, 3))
    image = Image.new("RGB", (side, side), tuple(int(v) for v in rng.integers(0, 255, 3)))
    points = np.array([(72, 68), (152, 67), (112, 112), (80, 150), (144, 150)], np.float32)
    points += rng.normal(0, 2, points.shape).astype(np.float32)
    draw = ImageDraw.Draw(image)
    draw.ellipse((40, 0, 184, 210), fill=skin)
    for x, y in points[:3]:
        draw.ellipse((x - 8, y - 6, x + 8, y + 6), fill=(20, 20, 30))
    draw.line([tuple(points[3]), tuple(points[4])], fill=(160, 40, 40), width=6)
    return np.asarray(image), points


def write_cache(folder: Path, count: int = 24, seed: int = 0) -> Path:
    """One shard of drawn faces, with random labels in the shapes of the real ones; some keys are held out."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)

    def records():
        for index in range(count):
            image, points = drawn_face(rng)
            matrix = align.similarity(points, "portrait")
            parts = {}
            for name, pixels, kind in (
                ("crop.webp", align.crop(image, matrix, 128), "WEBP"),
                ("photo.jpg", image, "JPEG"),
            ):
                buffer = io.BytesIO()
                Image.fromarray(pixels).save(buffer, kind)
                parts[name] = buffer.getvalue()
            vectors = rng.normal(size=(2, 128))
            landmarks = rng.uniform(40, 180, (478, 3)).astype(np.float32)
            landmarks[list(FIVE), :2] = points + rng.normal(0, 1, points.shape)
            parts["labels.npz"] = shards.pack_arrays(
                {
                    "box": np.array([40, 0, 184, 210], np.float32),
                    "points": points,
                    "landmarks": landmarks,
                    "blendshapes": rng.random(52).astype(np.float32),
                    "pose": rng.normal(0, 10, 3).astype(np.float32),
                    "identity": (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32),
                    "matrix": matrix,
                }
            )
            facts = {"key": f"{index:06d}", "coverage": 1.0, "faces": 1, "score": 0.9}
            parts["json"] = shards.pack_json(facts | {"age": "20-29", "gender": "Male", "race": "Black"})
            yield f"{index:06d}", parts

    shards.write(folder / "train-00.tar", records())
    return folder


def write_people(folder: Path, photos: Path) -> Path:
    """One shard of people who were drawn, two views of each: the records of `photos`, a shard of `write_cache`."""
    folder.mkdir(parents=True, exist_ok=True)

    def views():
        for number, (_, record) in enumerate(shards.read(photos)):
            facts = json.loads(record["json"]) | {"view": {"yaw": 0.0}}
            yield f"p{number // 2:06d}-{number % 2}", {**record, "json": shards.pack_json(facts)}

    shards.write(folder / "people-00000.tar", views())
    return folder
