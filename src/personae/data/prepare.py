"""personae prepare ../shared/faces -o cache/faces --teachers ../shared/teachers

Label a folder of photo tars once: detect, align, measure, embed, and cache crops and labels as shards.
A finished shard is kept; a stopped run continues with the same command.
"""

import csv
import io
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from personae.data import shards
from personae.data.teachers import Teachers
from personae.errors import BadData, BadImage
from personae.reading import align
from personae.reading.photo import load_photo

CROP = "portrait"


def _labels(folder: Path) -> dict[str, dict[str, str]]:
    path = folder / "labels.csv"
    if not path.is_file():
        return {}
    with path.open(newline="") as file:
        return {row["key"]: row for row in csv.DictReader(file)}


def label(key: str, encoded: bytes, facts: Mapping[str, Any], teachers: Teachers) -> shards.Record | None:
    """The record of one picture, `facts` among its JSON, or None if it cannot be read, or a teacher finds no face."""
    try:
        photo = load_photo(encoded).pixels
    except BadImage:
        return None
    faces, motion = teachers.detect(photo), teachers.motion(photo)
    if not faces or motion is None:
        return None
    face = faces[0]
    matrix = align.similarity(face.points, CROP)
    size = align.template(CROP).size
    crop = Image.fromarray(align.crop(photo, matrix, size))
    buffer = io.BytesIO()
    crop.save(buffer, "WEBP", quality=95, method=4)
    arcface = align.crop(photo, align.similarity(face.points, "arcface"), 112)
    arrays = {
        "box": face.box,
        "points": face.points,
        "landmarks": motion.landmarks,
        "blendshapes": motion.blendshapes,
        "pose": np.array([motion.pose.yaw, motion.pose.pitch, motion.pose.roll], np.float32),
        "identity": np.stack([teachers.embed_crop(arcface), teachers.embed_crop(arcface[:, ::-1])]),
        "matrix": matrix,
    }
    inside = float(align.coverage(matrix, size, photo.shape).mean())
    measured = {"key": key, "coverage": round(inside, 4), "faces": len(faces), "score": round(face.score, 4)}
    return {
        "crop.webp": buffer.getvalue(),
        "photo.jpg": encoded,
        "labels.npz": shards.pack_arrays(arrays),
        "json": shards.pack_json({**measured, **facts}),
    }


def _records(source: Path, teachers: Teachers) -> Iterator[tuple[str, shards.Record]]:
    groups = _labels(source.parent)
    for key, parts in shards.read(source):
        row = groups.get(key, {})
        facts: dict[str, str] = {name: row[name] for name in ("age", "gender", "race") if name in row}
        if "jpg" in parts and (record := label(key, parts["jpg"], facts, teachers)):
            yield key, record


def _shard(source: Path, target: Path, teachers_folder: Path) -> int:
    return shards.write(target, _records(source, Teachers(teachers_folder)))


def prepare(source: str | Path, out: str | Path, teachers: str | Path, workers: int = 2) -> dict[str, int]:
    """Label every tar of `source` into `out`; returns the photos kept per shard written now."""
    folder, target = Path(source), Path(out)
    tars = sorted(folder.glob("*.tar"))
    if not tars:
        raise BadData(f"{folder} holds no .tar of photos: name the folder of a WebDataset")
    Teachers(teachers)  # says at once what is missing
    target.mkdir(parents=True, exist_ok=True)
    todo = [tar for tar in tars if not (target / tar.name).is_file()]
    # Not forked: this process has opened the labellers, and a child would wait for their threads.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = {tar.name: pool.submit(_shard, tar, target / tar.name, Path(teachers)) for tar in todo}
        return {name: job.result() for name, job in jobs.items()}
