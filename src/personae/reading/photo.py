"""load_photo("me.jpg").pixels -> (H, W, 3) RGB uint8, upright.

The one place that decodes pictures from outside. Limits are checked before anything is decoded, and whatever a
decoder raises becomes one `BadImage` that names the source.
"""

import hashlib
import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, features

from personae.errors import BadImage
from personae.io import regular
from personae.io.boundary import errors_as
from personae.reading import blocks, colours
from personae.reading.metadata import may_be_signed
from personae.shapes import UInt8
from personae.threads import WhileAny
from personae.types import Array, Original, Photo

PhotoSource = Photo | str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image | Array

FORMATS = ("JPEG", "PNG", "WEBP", *(["AVIF"] if features.check("avif") else []))
MAX_BYTES = 64 * 2**20
MAX_PIXELS = 80_000_000  # below Pillow's own alarm (89 million), so that our message is the one seen
MIN_SIDE = 16
# A decoder of these holds the whole picture several times over: so many pixels take up to 1 GiB.
_FEWER_PIXELS = {"WEBP": 40_000_000, "AVIF": 40_000_000, "HEIF": 40_000_000}
_EXIF = ("exif", "Raw profile type exif")
_MOST_EXIF = 2**16  # bytes: what a JPEG's segment holds
# The brands of ISO media files (ISO/IEC 23008-12, annex B) that hold a picture.
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
_AVIF = (b"avif", b"avis")
_MOST_BRANDS = 256  # bytes of a file's beginning that may name them


def load_photo(source: PhotoSource, *, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS) -> Photo:
    """A photo from outside, decoded.

    Arguments:
        source: a path or encoded bytes: JPEG, PNG, WebP or AVIF, with the extra `heic` HEIC too, of which the EXIF turn
            is applied and the first frame of an animation is taken; a Pillow image; an array (H, W, 3) RGB, (H, W, 4)
            RGBA or (H, W) grey, uint8; a `Photo`, which is returned as it is.
        max_bytes: of a file.
        max_pixels: of a picture.

    Returns a `Photo` in sRGB, whose transparent parts are white; `original` is what the file held. Raises `BadImage`.
    """
    if isinstance(source, Photo):
        return source
    if isinstance(source, np.ndarray):
        name = f"the array {source.shape} {source.dtype}"
        return _of_array(source, name, max_pixels)
    if isinstance(source, Image.Image):
        name = f"the {source.mode} image"
        _check_size(source.size, name, max_pixels)
        return _decode(source, name)
    if isinstance(source, (str, os.PathLike)):
        name = os.fspath(source)
        encoded = regular.read(name, max_bytes, BadImage)
    elif isinstance(source, (bytes, bytearray, memoryview)):
        encoded = bytes(source)
        name = f"the given {len(encoded)} bytes"
    else:
        raise BadImage(f"a photo is a path, bytes, a Pillow image or an array, got {type(source).__name__}")
    photo = _decode_bytes(encoded, name, max_bytes, max_pixels)
    path = name if isinstance(source, (str, os.PathLike)) else None
    credentials = encoded if may_be_signed(encoded) else None
    return replace(photo, source=path, sha256=hashlib.sha256(encoded).hexdigest(), encoded=credentials)


def check_photo(path: str | os.PathLike[str]) -> None:
    """A look at a file, without decoding it: raises `BadImage` as `load_photo` would for what is missing, too large, or
    no picture by its first bytes. Damage further in it does not see."""
    name = os.fspath(path)
    with _opened(regular.read(name, MAX_BYTES, BadImage), name, MAX_BYTES, MAX_PIXELS):
        pass


def size_of(source: str | os.PathLike[str] | Photo) -> tuple[int, int] | None:
    """Width and height of a picture's file by its header, None if there are none: `load_photo` says why."""
    if isinstance(source, Photo):
        height, width = source.pixels.shape[:2]
        return width, height
    try:
        with warnings.catch_warnings(action="ignore"), regular.opened(source, None, BadImage) as file:
            # The decoder of HEIC reads the whole file for its header.
            head = file.read(_MOST_BRANDS) if os.fstat(file.fileno()).st_size <= MAX_BYTES else b""
            file.seek(0)
            with Image.open(file, formats=(*FORMATS, *_heic(head, os.fspath(source)))) as image:
                return image.size
    except Exception:  # as in `_decode_bytes`
        return None


def record_of(photo: Photo) -> dict[str, str]:
    """What a recipe says of a photo: the `sha256` of its file, or of its pixels if it came without one; and the file's
    `name`, never its folder."""
    name = {} if photo.source is None else {"name": Path(photo.source).name}
    return {"sha256": photo.sha256 or pixels_sha256(photo)} | name


def pixels_sha256(photo: Photo) -> str:
    """The hash of a decoded photo, for one that came without a file."""
    return hashlib.sha256(np.ascontiguousarray(photo.pixels).data).hexdigest()


@contextmanager
def _strict() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


_bombs_are_errors = WhileAny(_strict)  # filters of warnings are the whole process's


def _decode_bytes(encoded: bytes, name: str, max_bytes: int, max_pixels: int) -> Photo:
    with _opened(encoded, name, max_bytes, max_pixels) as image:
        return _decode(image, name, in_place=True)


def _opened(encoded: bytes, name: str, max_bytes: int, max_pixels: int) -> Image.Image:
    """An image whose format and size have been checked, and nothing else."""
    if len(encoded) > max_bytes:
        raise BadImage(f"{name} is larger than {max_bytes / 2**20:.0f} MiB: give a smaller file")
    try:
        with _bombs_are_errors:
            image = Image.open(io.BytesIO(encoded), formats=(*FORMATS, *_heic(encoded, name)))
    except BadImage:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise BadImage(f"{name} would unpack to more than {max_pixels / 1e6:.0f} million pixels: refused") from error
    except Exception as error:  # Pillow's parsers let through whatever a broken header makes them raise
        raise BadImage(f"{name} is not a JPEG, PNG, WebP or AVIF picture") from error
    _check_size(image.size, name, min(max_pixels, _FEWER_PIXELS.get(image.format or "", max_pixels)))
    return image


def _heic(encoded: bytes, name: str) -> tuple[str, ...]:
    """The name of the decoder that a HEIC picture needs besides Pillow's. Raises `BadImage`, naming what lacks."""
    if encoded[4:8] != b"ftyp":
        return ()
    length = min(max(int.from_bytes(encoded[:4], "big"), 12), _MOST_BRANDS)
    brands = {encoded[at : at + 4] for at in (8, *range(16, length, 4))}
    if brands & set(_AVIF):
        if "AVIF" not in FORMATS:
            raise BadImage(f"{name} is an AVIF picture, which this Pillow was built without: convert it to JPEG first")
        return ()
    if not brands & set(_HEIC):
        return ()
    try:
        import pi_heif
    except ImportError as error:
        raise BadImage(
            f"{name} is a HEIC picture: pip install 'personae[heic]', or convert it to JPEG first"
        ) from error
    pi_heif.register_heif_opener(thumbnails=False)
    return ("HEIF",)


def _decode(image: Image.Image, name: str, *, in_place: bool = False) -> Photo:
    """Upright and in sRGB, of an image whose size has been checked. in_place: it is ours, and may be turned itself."""
    with errors_as(BadImage, f"{name} is damaged or cut short"):  # what may be raised is Pillow's business, as above
        loss = colours.loss_of(image)
        image = _of_small_exif(image)
        if in_place:
            ImageOps.exif_transpose(image, in_place=True)
        upright = image if in_place else ImageOps.exif_transpose(image)
        if upright.mode in ("I", "F"):
            raise BadImage(f"{name} has mode {upright.mode}, whose range is unknown: convert it to RGB first")
        found = colours.decoded(upright, loss)
        pixels = blocks.array_of(found.srgb, _rgb)
        return Photo(pixels=pixels, original=found.original(pixels))


def _of_small_exif(image: Image.Image) -> Image.Image:
    """The image, without an EXIF block that is longer than a camera's: Pillow copies what each of its tags points to,
    and thousands of them may point to all of it."""
    image.load()  # a PNG may have one behind its pixels
    large = [name for name in _EXIF if len(image.info.get(name, "")) > _MOST_EXIF]
    if not large:
        return image
    bare = image.copy()
    for name in large:
        del bare.info[name]
    return bare


def _rgb(image: Image.Image) -> UInt8[Array, "h w 3"]:
    """(h, w, 3) uint8 of an image of mode L, RGB or RGBA, whose transparent parts become white."""
    if image.mode == "RGBA":
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image)
        image = white
    return np.asarray(image.convert("RGB"))


def _of_array(array: Array, name: str, max_pixels: int) -> Photo:
    pixels = _checked(_from_array(array, name), name, max_pixels)
    if array.ndim == 3 and array.shape[2] == 3:
        return Photo(pixels=pixels)
    return Photo(pixels=pixels, original=Original(mode="L" if array.ndim == 2 else "RGBA", values=array.copy()))


def _from_array(array: Array, name: str) -> UInt8[Array, "H W 3"]:
    """(H, W, 3) uint8, contiguous, of grey, RGB or RGBA uint8."""
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or array.shape[2:] not in ((), (3,), (4,)):
        raise BadImage(f"{name} is not a photo: give (H, W, 3) RGB uint8")
    if array.ndim == 2:
        array = np.repeat(array[:, :, None], 3, axis=2)
    if array.shape[2] == 4:
        white = np.empty((*array.shape[:2], 3), np.uint8)
        for rows in blocks.rows_of(*array.shape[:2]):
            white[rows] = _rgb(Image.fromarray(array[rows]))
        array = white
    return np.ascontiguousarray(array)


def _checked(pixels: UInt8[Array, "H W 3"], name: str, max_pixels: int) -> UInt8[Array, "H W 3"]:
    _check_size((pixels.shape[1], pixels.shape[0]), name, max_pixels)
    return pixels


def _check_size(size: tuple[int, int], name: str, max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise BadImage(
            f"{name} has {width} x {height} pixels, more than {max_pixels / 1e6:.0f} million: give a smaller picture"
        )
    if min(width, height) < MIN_SIDE:
        raise BadImage(f"{name} has {width} x {height} pixels: a side needs at least {MIN_SIDE}")
