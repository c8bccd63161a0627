"""The marks of a video: a watermark in every frame, and a signature around the file.

label = label_of(Path("out.mp4"), face, Marks.of_environment())      # before the work: what can be had, who signs
label.in_pixels(frames, text), label.sign(path, text)                # text: what the file says of how it was made
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from personae.errors import BadVideo
from personae.io import regular
from personae.provenance import pixel_mark, signing
from personae.provenance.credentials import Credentials
from personae.provenance.marks import WATERMARK, Marks
from personae.provenance.message import message_of
from personae.provenance.recipe import parsed
from personae.reading.metadata import may_be_signed, mime_of
from personae.reading.photo import MAX_BYTES
from personae.shapes import UInt8
from personae.types import Array, Face, Ingredient


@dataclass(frozen=True, kw_only=True)
class Label:
    """What a video is marked with. format: its suffix without the dot. credentials: who signs it, None: nobody.
    ingredients: what it was made of."""

    marks: Marks
    format: str
    credentials: Credentials | None
    ingredients: Sequence[Ingredient]

    def fitting(self, frame: Array) -> "Label":
        """The same, without a watermark where frames like this one (H, W, 3) have no room for it."""
        reason = pixel_mark.why_not(Image.fromarray(frame), None)
        return self if reason is None else replace(self, marks=self.marks.without(WATERMARK, reason))

    def in_pixels(self, frames: Iterable[UInt8[Array, "H W 3"]], text: str) -> Iterator[UInt8[Array, "H W 3"]]:
        """The frames (H, W, 3) RGB uint8, each with the same watermark: that of `text`, the video's own."""
        if not self.marks.watermark:
            yield from frames
            return
        message = message_of(parsed(text))
        for frame in frames:
            yield np.asarray(pixel_mark.with_mark(Image.fromarray(frame), message, None))

    def sign(self, path: Path, text: str) -> None:
        """Sign the file that is written, with what its metadata says. Raises `BadOutput`."""
        if self.credentials is not None:
            signing.sign_file(path, self.format, parsed(text), self.ingredients, self.credentials)


def label_of(target: Path, face: Face, marks: Marks, driver: object = None) -> Label:
    """The marks that a video of a face's photo can have. All of each frame is watermarked, since a video's encoder
    leaves no pixel as it was. driver: whose motion and sound it has; of a file of at most 64 MiB that is signed, the
    signature goes on in the video's."""
    assert face.photo is not None  # `inputs.read_input` has seen to it
    kind = target.suffix.lower().removeprefix(".")
    marks, credentials = signing.ready(marks, kind)
    files = {"source": face.photo.encoded, "driver": _signed_file(driver)}
    ingredients = [
        Ingredient(role=role, canvas=role == "source", mime=None if file is None else mime_of(file), encoded=file)
        for role, file in files.items()
    ]
    return Label(marks=marks, format=kind, credentials=credentials, ingredients=ingredients)


def _signed_file(driver: object) -> bytes | None:
    """The bytes of a driver that seems to carry a signature; of one that is too large, none."""
    if not isinstance(driver, str | Path):
        return None
    with regular.opened(driver, None, BadVideo) as file:
        content = file.read(MAX_BYTES + 1)
    return content if len(content) <= MAX_BYTES and may_be_signed(content) else None
