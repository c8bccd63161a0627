"""Frames that are done, in a folder beside the video they are for: what makes a stopped animation go on.

    with FrameStore.beside(Path("out.mp4"), plan) as store:
        store.put(7, pixels)
        7 in store, store.get(7)

A frame is a PNG, written whole or not at all, so whatever stops the work, what lies there is right. The folder's name
holds the plan's hash, so frames of two plans never lie in one.
"""

import hashlib
import io
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from personae.errors import BadOutput, NoFaceFound
from personae.io import atomic
from personae.provenance import writer
from personae.shapes import UInt8
from personae.types import Array

PLAN = "plan.json"


def folder_of(video: Path, plan: Mapping[str, Any]) -> Path:
    """Where the frames of a video are kept until it is written."""
    return video.with_name(f"{_beginning(video)}-{digest(_text(plan).encode())[:12]}")


def folders_of(video: Path) -> list[Path]:
    """All that hold frames of a video, of whatever plan; before plans were in their names, there was one."""
    start = _beginning(video)
    try:
        beside = sorted(video.parent.iterdir())
    except OSError:
        return []
    return [path for path in beside if path.name == start or path.name.startswith(f"{start}-")]


def holds_report(video: Path, report: Path) -> bool:
    """Whether a stopped run has written this report, to the byte: then it is not someone else's file."""
    try:
        there = report.read_bytes()
    except OSError:
        return False
    return any((folder / _mark(there)).exists() for folder in folders_of(video))


def _mark(report: bytes) -> str:
    return f"report-{digest(report)[:16]}"


def _beginning(video: Path) -> str:
    return f".{video.name}.frames"


class FrameStore:
    """The frames of one plan: whatever decides what they look like, plain JSON."""

    def __init__(self, folder: Path, plan: Mapping[str, Any], *, force: bool = False) -> None:
        """force: throw away the frames of another plan instead of raising `BadOutput`."""
        self.folder = folder
        text = _text(plan).encode()
        before = _read(folder / PLAN)
        if before is not None and before != text:
            if not force and self._has_frames():
                raise BadOutput(
                    f"{folder} holds the frames of a stopped run with other settings ({_difference(before, plan)}): "
                    "ask for the same again, or pass --force to begin anew"
                )
            self.remove()
        writer.prepare(folder)
        writer.write(folder / PLAN, text, force=True)

    @classmethod
    def beside(cls, video: Path, plan: Mapping[str, Any], *, force: bool = False) -> "FrameStore":
        """The frames of a video. Only for who owns the video (`lock.own`). force: those of other plans go."""
        folder, text = folder_of(video, plan), _text(plan).encode()
        for other in folders_of(video):
            if other == folder:
                continue
            if _read(other / PLAN) == text and not folder.exists():
                atomic.move(other, folder)  # of a version that knew one folder for all plans
            elif force:
                shutil.rmtree(other, ignore_errors=True)
        return cls(folder, plan, force=force)

    def __enter__(self) -> "FrameStore":
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        """A run that failed before its first frame leaves nothing behind but the driver's reading, for the next try; if
        that lacks the face, not even that: the next try has other settings, and so another folder."""
        if kind is None or self._has_frames():
            return
        if issubclass(kind, NoFaceFound) or not self.reading.is_file():
            self.remove()

    def __contains__(self, number: int) -> bool:
        return self._path(number).is_file()

    @property
    def reading(self) -> Path:
        """The file of the driver's motion, as it was read off a video."""
        return self.folder / "driver.json"

    def put(self, number: int, pixels: UInt8[Array, "H W 3"]) -> None:
        """Keep a frame (H, W, 3) RGB uint8. Raises `BadOutput`."""
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
        writer.write(self._path(number), buffer.getvalue(), force=True)

    def get(self, number: int) -> UInt8[Array, "H W 3"]:
        """A frame that was put."""
        with Image.open(self._path(number)) as image:
            return np.array(image.convert("RGB"))

    def keep_report(self, content: bytes) -> None:
        """Say what the report beside the video will be, before it is written: see `holds_report`."""
        writer.write(self.folder / _mark(content), b"", force=True)

    def remove(self) -> None:
        """The folder and all that is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _has_frames(self) -> bool:
        return any(self.folder.glob("[0-9]*.png"))

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.png"


def digest(content: bytes) -> str:
    """What a plan says of a file: its sha256."""
    return hashlib.sha256(content).hexdigest()


def _text(plan: Mapping[str, Any]) -> str:
    return json.dumps(plan, sort_keys=True, indent=1)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _difference(before: bytes, plan: Mapping[str, Any]) -> str:
    try:
        old = json.loads(before)
        names = [name for name in sorted({*old, *plan}) if old.get(name) != plan.get(name)]
    except (ValueError, AttributeError):
        names = []
    return ", ".join(names) or "its plan is damaged"
