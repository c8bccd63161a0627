"""Photos from outside: every accepted form becomes upright RGB, everything else one clear `BadImage`."""

import hashlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from personae.errors import BadImage
from personae.reading.photo import MIN_SIDE, load_photo
from personae.types import Photo


def picture(height: int = 40, width: int = 60) -> np.ndarray:
    """A smooth colour ramp (H, W, 3), so that JPEG keeps it."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 4, y * 6, (x + y) * 2], -1).astype(np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_of_size(width: int, height: int) -> bytes:
    """A valid PNG header that promises a picture of this size, and hardly any data."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_every_source_gives_the_same_photo(kind: str, tmp_path: Path) -> None:
    pixels = picture()
    content = encoded(Image.fromarray(pixels), kind, quality=95)
    path = tmp_path / f"me.{kind.lower()}"
    path.write_bytes(content)
    photos = [load_photo(source) for source in (path, str(path), content, memoryview(content))]
    for photo in photos:
        assert photo.pixels.shape == (40, 60, 3)
        assert photo.pixels.dtype == np.uint8
        assert photo.pixels.flags["C_CONTIGUOUS"]
        assert np.abs(photo.pixels.astype(int) - pixels).mean() < 4
        assert photo.sha256 == hashlib.sha256(content).hexdigest()
    assert [photo.source for photo in photos] == [str(path), str(path), None, None]


def test_pixels_in_memory_are_taken_as_they_are() -> None:
    pixels = picture()
    photo = load_photo(pixels)
    assert np.array_equal(photo.pixels, pixels)
    assert photo.sha256 is None
    assert load_photo(photo) is photo
    assert isinstance(photo, Photo)
    assert np.array_equal(load_photo(Image.fromarray(pixels)).pixels, pixels)
    assert np.array_equal(load_photo(pixels[:, ::-1]).pixels, pixels[:, ::-1])
    assert np.array_equal(load_photo(pixels[:, :, 0]).pixels, pixels[:, :, :1].repeat(3, 2))


def test_exif_turns_the_picture_upright() -> None:
    upright = picture()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held so that the picture must be turned clockwise
    content = encoded(Image.fromarray(np.rot90(upright)), exif=exif)
    assert np.array_equal(load_photo(content).pixels, upright)


def test_transparent_parts_become_white() -> None:
    rgba = np.dstack([picture(), np.full((40, 60), 255, np.uint8)])
    rgba[:20, :, 3] = 0
    for source in (rgba, encoded(Image.fromarray(rgba)), Image.fromarray(rgba)):
        pixels = load_photo(source).pixels
        assert (pixels[:20] == 255).all()
        assert np.array_equal(pixels[20:], picture()[20:])


def test_a_palette_with_transparency_becomes_white() -> None:
    image = Image.new("P", (30, 30), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.paste(1, (0, 0, 30, 10))
    pixels = load_photo(encoded(image, transparency=0)).pixels
    assert (pixels[0, 0] == (200, 100, 50)).all()
    assert (pixels[20, 20] == 255).all()


def test_other_modes_become_rgb() -> None:
    grey = picture()[:, :, 1]
    assert np.array_equal(load_photo(encoded(Image.fromarray(grey))).pixels, grey[:, :, None].repeat(3, 2))
    deep = grey.astype(np.uint16) * 257  # 16 bits per pixel
    assert np.array_equal(load_photo(encoded(Image.fromarray(deep))).pixels, grey[:, :, None].repeat(3, 2))
    cmyk = load_photo(encoded(Image.fromarray(picture()).convert("CMYK"), "JPEG", quality=95)).pixels
    assert np.abs(cmyk.astype(int) - picture()).mean() < 6
    assert load_photo(encoded(Image.fromarray(grey > 100))).pixels.shape == (40, 60, 3)


JPEG = encoded(Image.fromarray(picture(200, 200)), "JPEG")


@pytest.mark.untyped
@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere.jpg", "nowhere.jpg: no such file"),
        ("nul\0.jpg", "cannot be opened"),
        (".", "cannot be opened"),
        (b"", "not a JPEG, PNG, WebP or AVIF picture"),
        (b"hello, I am a text", "not a JPEG, PNG, WebP or AVIF picture"),
        (encoded(Image.fromarray(picture()), "GIF"), "not a JPEG, PNG, WebP or AVIF picture"),
        (encoded(Image.fromarray(picture()), "TIFF"), "not a JPEG, PNG, WebP or AVIF picture"),
        (JPEG[: len(JPEG) // 2], "damaged or cut short"),
        (encoded(Image.fromarray(picture()))[:-40], "damaged or cut short"),
        (png_of_size(60, 40), "damaged or cut short"),
        (encoded(Image.new("RGB", (1, 1))), "1 x 1 pixels"),
        (np.zeros((1, 1, 3), np.uint8), "1 x 1 pixels"),
        (Image.new("RGB", (100, MIN_SIDE - 1)), "100 x 15 pixels"),
        (png_of_size(9_000, 9_000), "more than 80 million"),
        (png_of_size(9_700, 9_700), "more than 80 million"),  # Pillow warns
        (png_of_size(60_000, 60_000), "more than 80 million"),  # Pillow refuses
        (np.zeros((20, 20, 3), np.float32), "RGB uint8"),
        (np.zeros((20, 20, 2), np.uint8), "RGB uint8"),
        (np.zeros((2, 20, 20, 3), np.uint8), "RGB uint8"),
        (Image.new("F", (20, 20)), "mode F"),
        (None, "a photo is a path"),
    ],
    ids=str.split(
        "missing nul folder empty text gif tiff cut_jpeg cut_png empty_png one_pixel one_pixel_array thin large "
        "bomb_warned bomb_refused float two_channels four_dimensions mode_f none"
    ),
)
def test_bad_input_is_one_clear_error(source: object, message: str) -> None:
    with pytest.raises(BadImage) as caught:
        load_photo(source)  # type: ignore[arg-type]
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_large_file_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    content = encoded(Image.fromarray(picture()))
    path = tmp_path / "me.png"
    path.write_bytes(content)
    assert load_photo(path, max_bytes=len(content)).pixels.shape == (40, 60, 3)
    for source in (path, content):
        with pytest.raises(BadImage, match="is larger than"):
            load_photo(source, max_bytes=len(content) - 1)


def loads_or_refuses(content: bytes) -> None:
    try:
        pixels = load_photo(content, max_pixels=10**6).pixels
    except BadImage:
        return
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3


@given(st.binary(max_size=400))
def test_random_bytes_never_raise_anything_else(content: bytes) -> None:
    loads_or_refuses(content)


SMALL = [encoded(Image.fromarray(picture()), kind) for kind in ("JPEG", "PNG", "WEBP")]


@settings(deadline=None)
@given(
    st.sampled_from(SMALL),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6),
    st.floats(0, 1),
)
def test_damaged_pictures_never_raise_anything_else(content: bytes, changes: list, length: float) -> None:
    damaged = bytearray(content)
    for place, value in changes:
        damaged[int(place * len(damaged))] = value
    loads_or_refuses(bytes(damaged[: round(length * len(damaged))]))
