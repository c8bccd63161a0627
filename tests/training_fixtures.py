"""A tiny labelled cache of drawn faces: what the training tests feed on. No real person in it."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from personae.data import shards
from personae.reading import align
from personae.types import Array


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
            parts["labels.npz"] = shards.pack_arrays(
                {
                    "box": np.array([40, 0, 184, 210], np.float32),
                    "points": points,
                    "landmarks": rng.uniform(40, 180, (478, 3)).astype(np.float32),
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
