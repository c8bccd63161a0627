"""Where results go: `-o people` a folder, `-o ann.png` one file, `-o -` standard output.

    place = destination(out, format, results=len(seeds))        # before any work; BadOption, BadOutput
    with prepared(place.folder):                                # and gone again if nothing was written into it
        paths = place.save(generation, people=who, stems=["me"])

A name with an image's suffix is a file, and the suffix is its format; anything else is a folder.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from personae.console import answering
from personae.errors import BadOption

if TYPE_CHECKING:
    from personae.provenance.marks import Marks
    from personae.types import Edit, Face, Generation, Identity

STDOUT = Path("-")
_FORMATS = {".png": "png", ".jpg": "jpg", ".jpeg": "jpg", ".webp": "webp"}
# A folder of such a name is nobody's wish.
_OTHERS = (".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jxl", ".svg", ".tif", ".tiff")


def settled_marks(*, no_watermark: bool, no_c2pa: bool) -> "Marks":
    """What the results are marked with, and who signs them, tried before a model is loaded: what cannot be signed is
    not written. Raises `BadOption` for credentials that cannot sign."""
    from personae.provenance import signer
    from personae.provenance.marks import Marks

    return signer.settled(Marks.of_environment(watermark=not no_watermark, c2pa=not no_c2pa))


@dataclass(frozen=True, kw_only=True)
class Destination:
    """folder: where files go; None: standard output. name: of the one file, else each is named after its person or
    photo and its seed."""

    folder: Path | None
    name: str | None = None
    format: str = "png"

    def paths(self, index: Sequence[int], seeds: Sequence[int], stems: Sequence[str]) -> list[Path]:
        """Where results would lie, as `writer.paths_of`."""
        from personae.provenance import writer

        if self.folder is None:
            return [STDOUT]
        if self.name is not None:
            return [self.folder / self.name]
        return writer.paths_of(self.folder, index, seeds, stems=stems, format=self.format)

    def require_room(
        self, index: Sequence[int], seeds: Sequence[int], stems: Sequence[str], force: bool, *, page: str | None = None
    ) -> None:
        """Raise `BadOutput` if a result would replace a file and `force` is not given. page: the stem of a page beside
        the results, None: there is none."""
        from personae.provenance import writer

        if self.folder is not None:
            pages = [] if page is None else [self._page(page)]
            writer.refuse_overwriting([*self.paths(index, seeds, stems), *pages], force)

    def save(
        self,
        result: "Generation",
        *,
        people: "Sequence[Face | Identity]",
        stems: Sequence[str],
        identity: bool,
        marks: "Marks",
        force: bool,
    ) -> list[Path]:
        """Write a generation's images; returns their paths, as `writer.save`."""
        from personae.provenance import writer

        if self.folder is None:
            files = writer.files_of(result, people=people, format=self.format, identity=identity, marks=marks)
            for content in files:
                to_stdout(content)
            return [STDOUT]
        return writer.save(
            result,
            self.folder,
            people=people,
            stems=stems,
            name=self.name,
            format=self.format,
            identity=identity,
            marks=marks,
            force=force,
        )

    def save_page(self, page: str, stem: str, force: bool) -> Path:
        """Write a page beside the images; returns its path."""
        from personae.provenance import writer

        return writer.write(self._page(stem), page.encode(), force=force)

    def _page(self, stem: str) -> Path:
        """Where a page lies: beside the one file by its name, or in the folder by `stem`."""
        assert self.folder is not None
        return self.folder / (f"{stem}.html" if self.name is None else Path(self.name).with_suffix(".html").name)

    def save_edit(self, done: "Edit", *, stem: str, names: bool, marks: "Marks", force: bool) -> list[Path]:
        """Write an edit's images; returns their paths, as `writer.save_edit`."""
        from personae.provenance import writer

        if self.folder is None:
            for content in writer.files_of_edit(done, format=self.format, names=names, marks=marks):
                to_stdout(content)
            return [STDOUT]
        return writer.save_edit(
            done, self.folder, stem=stem, name=self.name, format=self.format, names=names, marks=marks, force=force
        )


def destination(
    out: Path,
    format: str | None,  # noqa: A002
    *,
    results: int,
    as_json: bool = False,
    beside: bool = False,
) -> Destination:
    """What `-o` means for so many images. format: as `--format` says, None: not given; beside: a page goes there, too.
    Raises `BadOption`."""
    suffix = out.suffix.lower()
    if out == STDOUT:
        _require_one(out, results)
        require_stdout(as_json)
        if beside:
            raise BadOption("--sheet writes a page beside the images, and -o - writes none: name a folder with -o")
        return Destination(folder=None, format=format or "png")
    if out.is_dir() or suffix not in {*_FORMATS, *_OTHERS}:
        return Destination(folder=out, format=format or "png")
    if suffix in _OTHERS:
        raise BadOption(f"-o {out}: images are written as {', '.join(_FORMATS)}; name such a file, or a folder")
    if format not in (None, _FORMATS[suffix]):
        raise BadOption(f"-o {out} is a {_FORMATS[suffix]} and --format says {format}: give one of the two")
    _require_one(out, results)
    return Destination(folder=out.parent, name=out.name, format=_FORMATS[suffix])


def identity_files(out: Path, names: Sequence[str]) -> list[Path]:
    """What `-o` means for identities: the file it names (or standard output), if there is one; else a folder's files
    of these names. Raises `BadOption`."""
    from personae.gather import SUFFIX

    if out == STDOUT or (out.suffix == SUFFIX and not out.is_dir()):
        _require_one(out, len(names))
        if out == STDOUT:
            require_stdout(False)
        return [out]
    return [out / name for name in names]


def _require_one(out: Path, results: int) -> None:
    if results != 1:
        there = "standard output holds" if out == STDOUT else f"{out} names"
        raise BadOption(f"{there} one result, and {results} are asked for: name a folder with -o instead")


def require_stdout(as_json: bool) -> None:
    """Raise `BadOption` unless a file can go to standard output."""
    if as_json:
        raise BadOption("-o - writes the result to standard output, where --json would answer: give one of the two")
    if sys.stdout.isatty():
        raise BadOption("-o - would write the bytes of a file to the terminal: send them on with > or |")


def refuse_stdout(out: Path | None) -> None:
    """Raise `BadOption` for a verb whose result cannot go to standard output."""
    if out == STDOUT:
        raise BadOption("this result cannot go to standard output: name a place with -o")


def to_stdout(content: bytes) -> None:
    """Bytes on standard output. Raises `AnswerLost`."""
    with answering():
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()


@contextmanager
def prepared(folder: Path | None) -> Iterator[None]:
    """The folder, made and proven to be writable; if nothing was written into it, what had to be made for it is gone
    afterwards. None: nothing is needed. Raises `BadOutput`."""
    if folder is None:
        yield
        return
    from personae.provenance import writer

    lacking = [place for place in (folder, *folder.parents) if not os.path.lexists(place)]
    try:
        writer.prepare(folder)
        yield
    finally:
        for place in lacking:  # from the innermost out
            with suppress(OSError):  # it holds something, or was never made
                place.rmdir()


def save_identity(path: Path, person: "Identity") -> None:
    """An `.identity` file, or its bytes on standard output. Raises `BadOutput`."""
    from personae import identity

    if path == STDOUT:
        to_stdout(identity.encode(person))
    else:
        identity.save(path, person)
