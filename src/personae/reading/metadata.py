"""The text that an image's file carries beside its pixels, read without decoding anything.

    text_of("me-seed7.png")         # the recipe's JSON, or None

PNG: the chunk `personae` (iTXt, or what other programs make of it); JPEG and WebP: EXIF's UserComment, which cameras
and other programs write as well: what is not like a recipe is theirs (`like_a_recipe`). The file is a stranger's: only
regular files are opened, only headers are walked, at most `MAX_TEXT` bytes are kept.
"""

import os
import zlib
from typing import BinaryIO

from personae.errors import BadImage, BadRecipe
from personae.io import regular
from personae.io.boundary import errors_as

KEYWORD = b"personae"
MATROSKA = "video/x-matroska"
_MIMES = (  # by the first bytes: how they begin, and what stands at the eighth
    (b"\x89PNG\r\n\x1a\n", b"", "image/png"),
    (b"\xff\xd8", b"", "image/jpeg"),
    (b"RIFF", b"WEBP", "image/webp"),
    (b"", b"avif", "image/avif"),
    (b"", b"avis", "image/avif"),
    (b"", b"hei", "image/heic"),
    (b"", b"mif1", "image/heif"),
    (b"", b"qt  ", "video/quicktime"),
)
USER_COMMENT, EXIF_IFD = 0x9286, 0x8769
ASCII = b"ASCII\0\0\0"  # EXIF's name for the character set of a UserComment
MAX_TEXT = 2**20
RECIPES, FIRST_KEYS = "personae.recipe/", ("seed", "model", "settings")  # the format of all; what the first ones had
_MOST_PARTS = 100_000  # chunks or segments of a file; a PNG of 240 MB in libpng's usual chunks has 30,000
_PNG = b"\x89PNG\r\n\x1a\n"
_TEXTS = (b"iTXt", b"tEXt", b"zTXt")
_EXIF = b"Exif\0\0"  # how the block begins in a JPEG, and in some WebP files
_SCAN, _APP1, _ALONE = 0xDA, 0xE1, (0x01, *range(0xD0, 0xD8))  # JPEG's markers; some have no length


def text_of(path: str | os.PathLike[str]) -> str | None:
    """What personae wrote into an image's file, None if there is nothing. Raises `BadImage` for what is no PNG, JPEG or
    WebP file, `BadRecipe` for a text that is too long or cannot be read."""
    with regular.opened(path, None, BadImage) as file:
        return text_in(file, os.fspath(path))


def text_in(file: BinaryIO, name: str) -> str | None:
    """The same of an open file, of any `name`."""
    try:
        with errors_as(BadImage, "it cannot be read"):
            found = _found(file)
    except BadRecipe as error:
        raise BadRecipe(f"the recipe in {name} is damaged: {error}") from error
    except BadImage as error:
        raise BadImage(f"{name} is not an image that can be read: {error}") from error
    if found is not None and len(found) > MAX_TEXT:
        raise BadRecipe(f"the recipe in {name} is damaged: it has more than {MAX_TEXT} bytes")
    try:
        return None if found is None else found.decode()
    except UnicodeDecodeError as error:
        raise BadRecipe(f"the recipe in {name} is damaged: it is not text ({error.reason})") from error


def mime_of(head: bytes) -> str | None:
    """The kind of a picture's or a video's file by its first bytes, as the web names it; None: none that is known."""
    for start, brand, name in _MIMES:
        boxed = start or head[4:8] == b"ftyp"
        if boxed and head.startswith(start) and head[8:].startswith(brand):
            return name
    if head.startswith(b"\x1aE\xdf\xa3"):
        return MATROSKA
    return "video/mp4" if head[4:8] == b"ftyp" else None


def like_a_recipe(text: bytes) -> bool:
    """Whether a text that anybody may have written seems to be a recipe, whole or damaged: it has the name of the
    format, or the keys of the first version, which had no name."""
    return RECIPES.encode() in text or all(f'"{key}"'.encode() in text for key in FIRST_KEYS)


def may_be_signed(encoded: bytes) -> bool:
    """Whether a file seems to carry a signed manifest (C2PA): one lies in a box that is called so."""
    return b"jumb" in encoded and b"c2pa" in encoded


def _found(file: BinaryIO) -> bytes | None:
    head = file.read(12)
    if head.startswith(_PNG):
        return _of_png(file)
    if head.startswith(b"\xff\xd8"):
        return _of_jpeg(file)
    if head[:4] == b"RIFF" and head[8:] == b"WEBP":
        return _of_webp(file)
    raise BadImage("it is no PNG, JPEG or WebP file")


def _of_png(file: BinaryIO) -> bytes | None:
    file.seek(len(_PNG))
    for _ in range(_MOST_PARTS):
        head = file.read(8)
        kind, size = head[4:], int.from_bytes(head[:4], "big")
        if len(head) < 8 or kind == b"IEND":
            return None
        if not kind.isalpha():
            raise BadImage("a chunk of a PNG has no name")
        start = file.tell()
        if kind in _TEXTS and size > len(KEYWORD) and file.read(len(KEYWORD) + 1) == KEYWORD + b"\0":
            return _of_chunk(kind, file.read(min(size - len(KEYWORD) - 1, MAX_TEXT + 300)))
        file.seek(start + size + 4)
    raise BadImage(f"it has more than {_MOST_PARTS} chunks")


def _of_chunk(kind: bytes, content: bytes) -> bytes:
    """The text of a PNG's chunk, after its keyword."""
    if kind == b"tEXt":
        return content
    if kind == b"zTXt":
        return _unpacked(content[1:])
    packed = content[:1] == b"\1"
    text = content[2:].split(b"\0", 2)[-1]  # after its language and its keyword in that language
    return _unpacked(text) if packed else text


def _unpacked(content: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(content, MAX_TEXT + 1)
    except zlib.error as error:
        raise BadRecipe(f"it cannot be unpacked ({error})") from error


def _of_jpeg(file: BinaryIO) -> bytes | None:
    file.seek(2)
    for _ in range(_MOST_PARTS):
        byte = file.read(1)
        if byte != b"\xff":
            return None
        while byte == b"\xff":  # any number of them may stand before a marker
            byte = file.read(1)
        if not byte or byte[0] == _SCAN:
            return None
        if byte[0] in _ALONE:
            continue
        size = int.from_bytes(file.read(2), "big") - 2
        if size < 0:
            return None
        start = file.tell()
        if byte[0] == _APP1 and size >= len(_EXIF) and file.read(len(_EXIF)) == _EXIF:
            return _of_exif(file.read(size - len(_EXIF)))  # of 64 KiB at most, by its two bytes of length
        file.seek(start + size)
    return None


def _of_webp(file: BinaryIO) -> bytes | None:
    file.seek(12)
    for _ in range(_MOST_PARTS):
        head = file.read(8)
        if len(head) < 8:
            return None
        kind, size = head[:4], int.from_bytes(head[4:], "little")
        if kind == b"EXIF":
            return _of_exif(file.read(min(size, MAX_TEXT + 2**16)).removeprefix(_EXIF))
        file.seek(size + size % 2, os.SEEK_CUR)
    return None


def _of_exif(tiff: bytes) -> bytes | None:
    """The UserComment of an EXIF block, if it is of ASCII. A block that is damaged has none: a camera's own faults are
    nobody's recipe."""
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(tiff[:4])
    if order is None:
        return None

    def number(at: int, size: int) -> int:
        return int.from_bytes(tiff[at : at + size], order)  # type: ignore[arg-type]  # one of the two words above

    def entry(directory: int, tag: int) -> int | None:
        """Where the entry of a tag lies: two bytes of tag, two of type, four of count, four of value or place."""
        places = range(directory + 2, min(directory + 2 + 12 * number(directory, 2), len(tiff) - 11), 12)
        return next((at for at in places if number(at, 2) == tag), None)

    inner = entry(number(4, 4), EXIF_IFD)
    comment = None if inner is None else entry(number(inner + 8, 4), USER_COMMENT)
    if comment is None:
        return None
    count, place = number(comment + 4, 4), number(comment + 8, 4)
    content = tiff[place : place + count]
    return content[len(ASCII) :] if content.startswith(ASCII) and like_a_recipe(content) else None
