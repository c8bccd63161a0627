"""Photos with captions, for text and face together: `personae train face0-sd15 --data photos/` reads these.

    faces = CaptionedFaces(find("photos/"), reader)               # a folder, a .tar, or a folder of .tar
    for one in faces.epoch(0, worker=0, workers=2):
        one.photo, one.caption, one.face                          # (H, W, 3), str, (160, 160, 3)
    batch = faces.draw(np.random.default_rng(step), 8)            # or at random: depends on the generator alone

Two layouts are known. A **folder** of pictures, at any depth, each with its caption in a `.txt` of the same name, or
in a line of a `metadata.jsonl` above it: `{"file_name": "a.jpg", "text": "..."}`, as Hugging Face's `imagefolder` has
it. **Shards** of WebDataset: uncompressed tars of `KEY.jpg` (png, webp) with `KEY.txt` or `KEY.json`. In JSON the
caption is called `caption` or `text`.

Whether a record can be used turns out when it is first read: as Face0 did it, a record needs a face larger
than 20 px, and the largest face is taken. What cannot be used is left out and counted by reason in `skipped`.
"""

import json
import os
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Protocol

import numpy as np

from personae.errors import BadData, BadImage, BadOption
from personae.io import regular
from personae.io.boundary import errors_as
from personae.reading.box_crop import FACE0, BoxCrop
from personae.reading.photo import MAX_BYTES, load_photo
from personae.types import Array, Detection

PICTURES = ("jpg", "jpeg", "png", "webp")
CAPTIONS = ("caption", "text")  # how JSON calls it, in this order
SMALLEST = 20  # pixels: both sides of a face's box must be longer
_METADATA = "metadata.jsonl"
_MOST_CAPTION = 1 << 20  # bytes
_MOST_METADATA = 256 << 20
_EVERY = 100  # of so many records one is kept from training
_IN_VAIN = 1000  # records looked at in a row before a source is given up as having no faces


class _CutShort(BadData):
    """A tar ends, or breaks, before its end."""


class Unusable(Exception):
    """Why a record is left out, in two or three words that are counted."""


class Detects(Protocol):
    """Where faces are: a reader, or a detector by itself."""

    def detect(self, pixels: Array) -> list[Detection]:
        """The faces of (H, W, 3) RGB uint8, largest first."""
        ...


class Records(Protocol):
    """Captioned pictures by number. `skipped`: what turned out to be none when the source was opened."""

    skipped: Counter[str]

    def __len__(self) -> int: ...

    def read(self, number: int) -> tuple[str, bytes, str]:
        """A record's name for messages, its encoded picture, its caption. Raises `Unusable`."""
        ...


@dataclass(frozen=True, kw_only=True)
class CaptionedFace:
    """One example. `photo` (H, W, 3) and `face` (S, S, 3) RGB uint8; `found`: the face in the photo."""

    name: str
    photo: Array
    caption: str
    found: Detection
    face: Array

    @property
    def box(self) -> Array:
        """(4,) float32, of the face in the photo."""
        return self.found.box


class CaptionedFaces:
    """The usable records of a source, in an order or at random. What a look found is remembered, not looked for again;
    each process looks and counts for itself."""

    def __init__(
        self, records: Records, detector: Detects, *, crop: BoxCrop = FACE0, smallest: float = SMALLEST, seed: int = 0
    ) -> None:
        """crop: how the face is cut for its encoder. smallest: pixels that both sides of its box must exceed.
        seed: of the order."""
        self.crop, self._records, self._detector, self._smallest, self._seed = crop, records, detector, smallest, seed
        self._found: dict[int, Array] = {}  # (15,) each, for there may be millions: box, points, score
        self._unusable: dict[int, str] = {}

    def __len__(self) -> int:
        """Records, usable or not."""
        return len(self._records)

    @property
    def skipped(self) -> Counter[str]:
        """How many records were left out so far, by reason."""
        return self._records.skipped + Counter(self._unusable.values())

    def epoch(self, number: int = 0, *, worker: int = 0, workers: int = 1) -> Iterator[CaptionedFace]:
        """Every usable record once, in the order of epoch `number`; of `workers`, each has every so manieth.

        Raises `BadData` at the end if none of a worker's was usable.
        """
        if not 0 <= worker < workers:
            raise BadOption(f"worker must lie between 0 and {workers - 1}, got {worker}")
        order = np.random.default_rng([self._seed, number]).permutation(len(self))[worker::workers]
        any_usable = False
        for index in order:
            if found := self._look(int(index)):
                any_usable = True
                yield found
        if len(order) and not any_usable:
            raise self._useless()

    def draw(self, rng: np.random.Generator, count: int) -> list[CaptionedFace]:
        """`count` usable records, drawn with replacement; depends on `rng` alone. Raises `BadData` if none turns up."""
        drawn: list[CaptionedFace] = []
        in_vain = 0
        while len(drawn) < count:
            if found := self._look(int(rng.integers(len(self)))):
                drawn.append(found)
                in_vain = 0
            elif (in_vain := in_vain + 1) >= _IN_VAIN:
                raise self._useless()
        return drawn

    def _look(self, index: int) -> CaptionedFace | None:
        """One record with its face, or None, its reason noted."""
        if index in self._unusable:
            return None
        try:
            name, encoded, caption = self._records.read(index)
            try:
                photo = load_photo(encoded).pixels
            except BadImage as error:
                raise Unusable("picture cannot be read") from error
            row = self._found.get(index)
            if row is None:
                row = self._found[index] = self._largest(photo)
        except Unusable as reason:
            self._unusable[index] = str(reason)
            return None
        found = Detection(box=row[:4], points=row[4:14].reshape(5, 2), score=float(row[14]))
        return CaptionedFace(name=name, photo=photo, caption=caption, found=found, face=self.crop.cut(photo, found.box))

    def _largest(self, photo: Array) -> Array:
        found = self._detector.detect(photo)
        if not found:
            raise Unusable("no face")
        box = found[0].box
        if (box[2:] - box[:2]).min() <= self._smallest:
            raise Unusable("face too small")
        return np.concatenate([box, found[0].points.ravel(), [found[0].score]], dtype=np.float32)

    def _useless(self) -> BadData:
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.skipped.most_common())
        return BadData(f"none of the records looked at can be trained on ({reasons}): give photos that show faces")


class Part:
    """The records of a source to train on; or, `held_out`, those to judge by: every hundredth."""

    def __init__(self, records: Records, *, held_out: bool) -> None:
        self.skipped = Counter[str]() if held_out else records.skipped
        self._records, self._held_out = records, held_out

    def __len__(self) -> int:
        held_out_count = -(-len(self._records) // _EVERY)
        return held_out_count if self._held_out else len(self._records) - held_out_count

    def read(self, number: int) -> tuple[str, bytes, str]:
        """See `Records`."""
        between = number // (_EVERY - 1) + 1  # of those held out, as many lie before it
        return self._records.read(number * _EVERY if self._held_out else number + between)


def find(source: str | Path, *, captioned: bool = True) -> Records:
    """The captioned pictures of a folder, a tar, or a folder of tars; or, not `captioned`, all pictures of it, whose
    captions are then empty. Raises `BadData` if there are none."""
    place = Path(source)
    if not regular.exists(place):
        raise BadData(f"there is no {place}: name a folder of captioned pictures, or of WebDataset tars")
    tars = [place] if not place.is_dir() else sorted(place.glob("*.tar"))
    records: Records = Shards(tars, captioned=captioned) if tars else Folder(place, captioned=captioned)
    if not len(records):
        counted = ", ".join(f"{count} with {reason}" for reason, count in records.skipped.items())
        what = "captioned pictures" if captioned else "pictures"
        needs = f"a.jpg with a.txt, a {_METADATA}, or tars of the former" if captioned else "jpg, png or webp, or tars"
        raise BadData(f"{place} holds no {what} ({counted or 'nothing that looks like one'}): it needs {needs}")
    return records


class Folder:
    """Pictures below a folder; captions beside them, or in the nearest `metadata.jsonl` above that names them."""

    def __init__(self, folder: Path, *, captioned: bool = True) -> None:
        self._captioned = captioned
        self.skipped: Counter[str] = Counter()
        described = {
            picture: caption
            for path in sorted(folder.rglob(_METADATA), key=lambda path: len(path.parts))
            for picture, caption in _described(path)
        }
        pictures = {path for path in folder.rglob("*") if path.suffix.lower().lstrip(".") in PICTURES}
        self._entries: list[tuple[Path, str | None]] = []
        for path in sorted(pictures | described.keys()):
            if not captioned or path in described or regular.is_file(path.with_suffix(".txt")):
                self._entries.append((path, described.get(path)))
            else:
                self.skipped["no caption"] += 1

    def __len__(self) -> int:
        return len(self._entries)

    def read(self, number: int) -> tuple[str, bytes, str]:
        """See `Records`."""
        path, caption = self._entries[number]
        try:
            encoded = regular.read(path, MAX_BYTES, BadData)
            if not self._captioned:
                return str(path), encoded, ""
            beside = path.with_suffix(".txt")
            written = regular.read(beside, _MOST_CAPTION, BadData) if caption is None else _encoded(caption)
        except BadData as error:
            raise Unusable("file cannot be opened") from error
        return str(path), encoded, _plain(written)


class Shards:
    """Records of uncompressed tars, found once by their headers and then read by their place."""

    def __init__(self, tars: Sequence[Path], *, captioned: bool = True) -> None:
        self._captioned = captioned
        self.skipped: Counter[str] = Counter()
        self._tars = list(tars)
        # Per record: tar, start and length of the picture, start and length of the caption, whether that is JSON.
        # Numbers in one array, because there may be millions.
        rows = (row for number, tar in enumerate(self._tars) for row in self._indexed(number, tar))
        self._rows = np.fromiter(rows, dtype=np.dtype((np.int64, 6)))

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, number: int) -> tuple[str, bytes, str]:
        """See `Records`."""
        tar, *places, is_json = (int(value) for value in self._rows[number])
        path = self._tars[tar]
        try:
            with regular.opened(path, None, BadData) as file:
                picture, caption = (_at(file, *places[i : i + 2]) for i in (0, 2))
        except (BadData, OSError) as error:
            raise Unusable("file cannot be opened") from error
        name = f"{path}@{places[0]}"
        if not self._captioned:
            return name, picture, ""
        return name, picture, _of_json(caption) if is_json else _plain(caption)

    def _indexed(self, number: int, path: Path) -> Iterator[tuple[int, ...]]:
        """The rows of one tar. Parts of a record lie side by side and share their path up to its first dot."""
        key, parts = "", dict[str, tuple[int, int]]()
        regular.require(path, None, BadData)
        try:
            with errors_as(_CutShort, ""), tarfile.open(path, "r:") as tar:
                for member in tar:
                    if not member.isfile() or member.issparse():
                        continue
                    stem, part = _split(member.name)
                    if stem != key:
                        yield from self._row(number, parts)
                        key, parts = stem, {}
                    parts[part.lower()] = (member.offset_data, member.size)
        except _CutShort as error:  # whatever a broken header makes `tarfile` raise
            if not key:
                raise BadData(f"{path} is no uncompressed tar{error}: unpack it, or leave it out") from error
            self.skipped["tar cut short"] += 1
        yield from self._row(number, parts)

    def _row(self, number: int, parts: dict[str, tuple[int, int]]) -> Iterator[tuple[int, ...]]:
        picture = next((parts[kind] for kind in PICTURES if kind in parts), None)
        caption = parts.get("txt", parts.get("json")) if self._captioned else (0, 0)
        if picture and caption and (picture[1] > MAX_BYTES or caption[1] > _MOST_CAPTION):
            self.skipped["too large"] += 1
        elif picture and caption:
            yield number, *picture, *caption, int("txt" not in parts)
        elif parts:
            self.skipped["no caption" if picture else "no picture"] += 1


def _described(path: Path) -> Iterator[tuple[Path, str]]:
    """The pictures that a `metadata.jsonl` names, with their captions."""
    for number, line in enumerate(regular.read_text(path, _MOST_METADATA, BadData).splitlines(), 1):
        if not line.strip():
            continue
        with errors_as(BadData, f'{path}, line {number}: not {{"file_name": ..., "text": ...}}'):
            row = json.loads(line)
            below, caption = PurePath(os.path.normpath(row["file_name"])), _caption_in(row)
        if below.is_absolute() or ".." in below.parts:
            raise BadData(f"{path}, line {number}: {below} lies outside the folder")
        if caption is None:
            raise BadData(f"{path}, line {number}: no {' or '.join(map(repr, CAPTIONS))}, got {sorted(row)}")
        yield path.parent / below, caption


def _caption_in(row: Any) -> str | None:
    """The caption of a decoded JSON object."""
    known = row if isinstance(row, dict) else {}
    return next((known[name] for name in CAPTIONS if isinstance(known.get(name), str)), None)


def _of_json(content: bytes) -> str:
    try:
        caption = _caption_in(json.loads(content))
    except (ValueError, RecursionError) as error:
        raise Unusable("caption cannot be read") from error
    return _plain(_encoded(caption or ""))


def _encoded(caption: str) -> bytes:
    """JSON may hold half a character, which no text can: it shows as a question mark."""
    return caption.encode("utf-8", "replace")


def _plain(content: bytes) -> str:
    """A caption in one line."""
    try:
        caption = " ".join(content.decode("utf-8").split())
    except UnicodeDecodeError as error:
        raise Unusable("caption cannot be read") from error
    if not caption:
        raise Unusable("empty caption")
    return caption


def _split(name: str) -> tuple[str, str]:
    """A member's path before and after the first dot of its last part: WebDataset's key and extension."""
    folder, slash, file = name.rpartition("/")
    stem, _, part = file.partition(".")
    return folder + slash + stem, part


def _at(file: Any, start: int, length: int) -> bytes:
    file.seek(start)
    content = bytes(file.read(length))
    if len(content) < length:
        raise Unusable("tar cut short")
    return content
