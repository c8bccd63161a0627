"""Colour profiles, alpha and the layout of values: read as sRGB, and written as they were."""

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from colour_fixtures import ADOBE, P3, grey_profile, rgb_profile
from personae.pipeline import FacePipeline
from personae.provenance import writer
from personae.reading.colours import for_format, in_own_layout
from personae.reading.photo import load_photo
from personae.replay import replay
from personae.types import Edit
from reading_fixtures import white_face
from test_photo import picture, png_of_size

RECIPE = {"task": "edit"}


def coloured(mode: str, alpha: bool = True) -> Image.Image:
    """A picture (160, 160) of smooth colours with a "face", in a mode."""
    pixels = white_face(np.tile(picture(40, 40), (4, 4, 1)), 40, 40, 100, 120)
    if mode == "I;16":
        grey = np.asarray(Image.fromarray(pixels).convert("L")).astype(np.uint16)
        return Image.fromarray(grey * 257 - grey // 3)
    image = Image.fromarray(pixels).convert(mode)
    if mode in ("LA", "RGBA") and alpha:
        image.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, 160).astype(np.uint8), (160, 1))[:, ::-1].copy()))
    return image


def as_png(image: Image.Image, profile: bytes | None = None, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", icc_profile=profile, **options)
    return buffer.getvalue()


def edited(pipe: FacePipeline, photo: object, **options: object) -> Edit:
    asked = {"seed": 0, "num_inference_steps": 2, "likeness_guidance": 0, "region": "nose"}
    return pipe.edit("inpaint", target=photo, **asked | options)


# ---------------------------------------------------------------------- what networks see


def test_networks_see_srgb() -> None:
    plain = picture()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    same = load_photo(as_png(Image.fromarray(plain), srgb))
    np.testing.assert_array_equal(same.pixels, plain)
    assert same.original.profile == srgb
    assert same.original.values is same.pixels  # no second copy of a photo that is what networks want
    wide = load_photo(as_png(Image.new("RGB", (20, 20), (60, 200, 60)), rgb_profile(ADOBE)))
    assert tuple(wide.pixels[0, 0]) == pytest.approx((0, 201, 37), abs=1)  # beyond sRGB's green
    np.testing.assert_array_equal(wide.original.values[0, 0], (60, 200, 60))
    grey = load_photo(as_png(Image.new("L", (20, 20), 100), grey_profile(1.0)))  # linear light
    assert grey.pixels[0, 0] == pytest.approx([168] * 3, abs=1)
    assert load_photo(plain).original is None
    assert load_photo(as_png(Image.fromarray(plain))).original is None


def test_greys_and_alpha_are_kept_beside_the_pixels() -> None:
    for mode in ("L", "LA", "RGBA", "I;16"):
        image = coloured(mode)
        for source in (as_png(image), image):
            photo = load_photo(source)
            assert photo.original.mode == mode
            np.testing.assert_array_equal(photo.original.values, np.asarray(image))
            assert photo.original.loss is None
    rgba = np.asarray(coloured("RGBA"))
    np.testing.assert_array_equal(load_photo(rgba).original.values, rgba)


def deep_png() -> bytes:
    """16 bits a channel, 20 x 20 of one colour; Pillow writes none."""
    head, end = png_of_size(20, 20)[:8], as_png(Image.new("L", (1, 1)))[-12:]

    def chunk(name: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4, "big") + name + content + zlib.crc32(name + content).to_bytes(4, "big")

    rows = (b"\0" + bytes.fromhex("123456789abc") * 20) * 20
    header = (20).to_bytes(4, "big") * 2 + bytes((16, 2, 0, 0, 0))
    return head + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + end


def test_what_cannot_be_kept_is_said() -> None:
    palette, cmyk = Image.fromarray(picture()).convert("P"), io.BytesIO()
    Image.fromarray(picture()).convert("CMYK").save(cmyk, "JPEG")
    cases = {
        "palette became full colours": as_png(palette),
        "black and white became grey": as_png(coloured("L").convert("1")),
        "CMYK became RGB": cmyk.getvalue(),
        "16 bits a channel became 8": deep_png(),
        "colour profile cannot be used": as_png(coloured("RGB"), b"no profile"),
        "profile cannot be used": as_png(coloured("RGB"), grey_profile()),
        "profile cannot be": as_png(coloured("L"), rgb_profile()[:300]),
    }
    for message, content in cases.items():
        original = load_photo(content).original
        assert message in original.loss
        assert original.profile is None


# ---------------------------------------------------------------------- what edits write


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "I;16"])
@pytest.mark.parametrize("with_profile", [True, False])
def test_a_png_keeps_profile_alpha_and_layout(nano_like: FacePipeline, tmp_path: Path, mode: str, with_profile) -> None:
    image = coloured(mode)
    profile = None if not with_profile else rgb_profile(P3) if mode.startswith("RGB") else grey_profile()
    photo = tmp_path / "photo.png"
    photo.write_bytes(as_png(image, profile))
    done = edited(nano_like, photo)
    (path,) = writer.save_edit(done, tmp_path / "out")
    with Image.open(path) as saved:
        values = np.asarray(saved)
        assert saved.mode == mode
        assert saved.info.get("icc_profile") == profile
    given = np.asarray(image)
    assert values.dtype == given.dtype
    np.testing.assert_array_equal(values[~done.mask], given[~done.mask])
    assert (values[done.mask] != given[done.mask]).any()
    if mode in ("LA", "RGBA"):
        np.testing.assert_array_equal(values[..., -1], given[..., -1])
    assert replay(path, pipe=nano_like, inputs={"target": photo})[1].max <= 1
    then = edited(nano_like, done, region="mouth", seed=1)  # one after the other, in memory as by file
    np.testing.assert_array_equal(
        np.asarray(then.images[0]), np.asarray(edited(nano_like, path, region="mouth", seed=1).images[0])
    )


def test_what_an_edit_makes_is_seen_as_it_was_made() -> None:
    """In whatever colours the file holds it: read again, changed pixels are the edit's."""
    mask = np.zeros((160, 160), bool)
    mask[50:90, 30:70] = True
    for mode, profile in (("RGB", rgb_profile(P3)), ("RGBA", rgb_profile(ADOBE)), ("RGBA", None), ("RGB", None)):
        photo = load_photo(as_png(coloured(mode), profile))
        made = photo.pixels.copy()
        made[mask] = (200, 150, 120)
        again = load_photo(in_own_layout(photo, made, mask)).pixels.astype(int)
        half = mode == "RGBA" and profile is not None  # half transparent, white shines through in two colour spaces
        assert np.abs(again[mask] - made[mask]).max() <= (8 if half else 3)
        np.testing.assert_array_equal(again[~mask], made[~mask])
    grey = load_photo(as_png(coloured("I;16")))
    made = np.where(mask[..., None], np.uint8(99), grey.pixels)
    again = in_own_layout(grey, made, mask)
    assert np.abs(np.asarray(again, int)[mask] / 257 - 99).max() <= 1
    clear = load_photo(np.dstack([picture(), np.zeros((40, 60), np.uint8)]))  # all of it transparent: so it stays
    same = in_own_layout(clear, np.zeros_like(clear.pixels), np.ones((40, 60), bool))
    np.testing.assert_array_equal(np.asarray(same), clear.original.values)


@pytest.mark.parametrize("kind", ["jpg", "webp"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "I;16"])
def test_other_formats_keep_what_they_can(kind: str, mode: str) -> None:
    image, profile = coloured(mode), rgb_profile(ADOBE) if mode.startswith("RGB") else grey_profile()
    image.info["icc_profile"] = profile
    shown = load_photo(image).pixels.astype(int)
    content = writer.encode(image, kind, RECIPE)
    with Image.open(io.BytesIO(content)) as saved:
        assert saved.mode == {"jpg": {"RGB": "RGB", "RGBA": "RGB"}.get(mode, "L")}.get(
            kind, "RGBA" if "A" in mode else "RGB"
        )
        assert saved.info.get("icc_profile") == (None if kind == "webp" and not mode.startswith("RGB") else profile)
        if kind == "webp" and "A" in mode:
            np.testing.assert_array_equal(np.asarray(saved)[..., -1], np.asarray(image)[..., -1])
    assert np.abs(load_photo(content).pixels - shown)[:, 100:].mean() < 4
    assert for_format(image, "png") is image


def test_what_is_generated_stays_without_a_profile() -> None:
    content = writer.encode(Image.fromarray(picture()), "png", {"task": "generate"})
    assert "icc_profile" not in Image.open(io.BytesIO(content)).info


def test_an_edit_says_what_it_could_not_keep(nano_like: FacePipeline) -> None:
    with pytest.warns(UserWarning, match="the photo is not kept as it was filed: its palette became full colours"):
        done = edited(nano_like, as_png(coloured("P")))
    assert done.images[0].mode == "RGB"
