"""How a photo's file holds its colours: read as sRGB for the networks, written back as it was.

    found = decoded(image, loss_of(image))             # found.srgb: what networks see
    original = found.original(pixels)                  # None: the file holds just these pixels
    image = in_own_layout(photo, edited, mask)         # a Pillow image of the photo's mode, profile and alpha
    image = for_format(image, "webp")                  # what of that the format can hold

What an edit has not changed keeps its very values, also where sRGB cannot show them: only the difference that it made
is taken to the photo's own layout.
"""

import io
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from personae.reading import blocks
from personae.shapes import Bool, Num, UInt, UInt8
from personae.types import Array, Original, Photo

GREY, ALPHA = ("L", "LA", "I;16"), ("LA", "RGBA")
_MOST_PROFILE = 1 << 20  # bytes; a display's or a camera's has less than a hundredth of it
_SPACES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # ICC's names for what Pillow calls modes
_LUMA = np.array((0.299, 0.587, 0.114))  # ITU-R BT.601, as Pillow's own mode L
_PAINTED = 16  # grey levels of change from which on nothing is seen of what was there
_SAME = 1  # grey levels by which a profile may differ from sRGB and still count as it


class Transforms(NamedTuple):
    """Of a profile: to sRGB and back, for `ImageCms.applyTransform`; None: the profile is sRGB, or as good as."""

    forth: Any
    back: Any


class Decoded(NamedTuple):
    """An upright image: `srgb` in mode L, RGB or RGBA, for the networks; `own`, in the mode that an edit of it is
    written in; `profile` and `loss` as of `Original`."""

    srgb: Image.Image
    own: Image.Image
    profile: bytes | None
    loss: str | None

    def original(self, pixels: UInt8[Array, "H W 3"]) -> Original | None:
        """How the file holds the colours that were made the pixels (H, W, 3); shares their memory where it can."""
        if self.own.mode == "RGB" and self.own is self.srgb and self.profile is None and self.loss is None:
            return None
        shared = {"RGB": pixels, "L": pixels[..., 0]} if self.own is self.srgb else {}
        values = shared[self.own.mode] if self.own.mode in shared else blocks.array_of(self.own)
        return Original(mode=self.own.mode, values=values, profile=self.profile, loss=self.loss)


def decoded(image: Image.Image, loss: str | None) -> Decoded:
    """Of an upright, loaded image; loss: of `loss_of`, asked before."""
    own, lost = _plain(image)
    profile = _profile(own)
    if profile is None and own.info.get("icc_profile"):
        lost = lost or "its colour profile cannot be used and was left out"
    found = None if profile is None else transforms(profile)
    if found is not None:
        srgb = _applied(own, found.forth)
    elif own.mode == "I;16":
        srgb = blocks.image_of(own, "L", _eight_bits)
    elif own.mode in ("LA", "CMYK"):
        srgb = own.convert("RGBA" if own.mode == "LA" else "RGB")
    else:
        srgb = own
    if own.mode == "CMYK":  # no edit is written in it: from here on the colours are sRGB
        own, profile = srgb, None
    return Decoded(srgb, own, profile, loss or lost)


def loss_of(image: Image.Image) -> str | None:
    """What decoding an image will lose, None: nothing. Asked before it is loaded: afterwards nothing says so."""
    deep = any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))
    return "its 16 bits a channel became 8" if deep and not image.mode.startswith("I") else None


def in_own_layout(photo: Photo, edited: UInt8[Array, "H W 3"], mask: Bool[Array, "H W"]) -> Image.Image:
    """`edited` (H, W, 3), the photo's pixels changed where `mask` (H, W) bool says, in the photo's own mode and
    profile. What has not changed keeps its very values; alpha stays as it is, so that what was transparent is still."""
    own = photo.original
    if own is None:
        return Image.fromarray(edited)
    result = own.values.copy()
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if len(rows):
        window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        result[window] = _changed(own, result[window], photo.pixels[window], edited[window])
    image = Image.fromarray(result)
    assert image.mode == own.mode
    if own.profile is not None:
        image.info["icc_profile"] = own.profile
    return image


def for_format(image: Image.Image, kind: str) -> Image.Image:
    """An image as a PNG, JPEG or WebP can hold it, with the profile of that in its `info`: a JPEG has no alpha, what is
    transparent becomes white; a WebP is RGB or RGBA."""
    if kind == "png":
        return image
    profile, mode = image.info.get("icc_profile"), image.mode
    if mode == "I;16":
        image, mode = Image.fromarray(_of_16_bits(np.asarray(image))), "L"
    if kind == "webp" and mode in GREY and profile:
        found = transforms(profile)  # of greys, which a picture of three channels cannot have
        image = image if found is None else _applied(image, found.forth)
        profile = None
    if kind == "webp":
        image = image.convert("RGBA" if image.mode in ALPHA else "RGB")
    elif mode in ALPHA:
        ground = Image.new("RGBA", image.size, "white")
        ground.alpha_composite(image.convert("RGBA"))
        image = ground.convert("L" if mode == "LA" else "RGB")
    elif mode not in ("L", "RGB"):
        image = image.convert("RGB")
    else:
        image = image.copy()
    image.info["icc_profile"] = profile
    return image


@lru_cache(maxsize=8)
def transforms(profile: bytes) -> Transforms | None:
    """Of a profile that `_profile` has taken. A profile's way back is asked for by the way there."""
    from PIL import ImageCms  # late: few photos need it

    own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    mode, srgb = _SPACES[own.profile.xcolor_space], ImageCms.createProfile("sRGB")
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    forth = ImageCms.buildTransform(own, srgb, mode, "RGB", renderingIntent=intent)
    if mode == "CMYK":
        return Transforms(forth, None)
    probe = _probe(mode)
    probe_in_srgb = np.asarray(ImageCms.applyTransform(probe, forth), int)
    if np.abs(probe_in_srgb - np.asarray(probe.convert("RGB"), int)).max() <= _SAME:
        return None
    return Transforms(forth, ImageCms.buildTransform(srgb, own, "RGB", mode, renderingIntent=intent))


# ---------------------------------------------------------------------- its parts


def _plain(image: Image.Image) -> tuple[Image.Image, str | None]:
    """An image in a mode that it can be written in again, or in CMYK; and what was lost on the way."""
    mode, lost = image.mode, {"P": "its palette became full colours", "1": "its black and white became grey"}
    if mode.startswith("I;16"):
        clear = "its transparent grey became opaque" if "transparency" in image.info else None
        return _deep(image), clear
    if mode == "CMYK":
        return image, "its CMYK became RGB"
    if mode in ("LA", "RGBA") or (mode in ("L", "RGB") and not image.has_transparency_data):
        return image, None
    if mode in ("L", "1"):
        goal = "LA" if image.has_transparency_data else "L"
    else:
        goal = "RGBA" if image.has_transparency_data else "RGB"
    return image.convert(goal), None if mode in ("L", "RGB") else lost.get(mode, f"its {mode} became {goal}")


def _deep(image: Image.Image) -> Image.Image:
    """Of any byte order."""
    if image.mode == "I;16":
        return image
    converted = Image.fromarray(np.asarray(image).astype(np.uint16))
    converted.info = image.info
    return converted


def _profile(image: Image.Image) -> bytes | None:
    """The ICC profile of an image, None if it has none, or none that fits: broken ones, too large ones, those of other
    kinds of pictures."""
    profile = image.info.get("icc_profile")
    if not profile or not isinstance(profile, bytes) or len(profile) > _MOST_PROFILE:
        return None
    from PIL import ImageCms  # as above

    try:
        space = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space
        wanted = "L" if image.mode in GREY else image.mode.removesuffix("A")
        if _SPACES.get(space) != wanted:
            return None
        transforms(profile)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, KeyError):
        return None
    return profile


def _applied(image: Image.Image, transform: Any) -> Image.Image:
    """The colours of an image through a transform from its mode, less alpha, to RGB; alpha comes along."""
    from PIL import ImageCms  # as above

    def applied(part: Image.Image) -> Image.Image:
        if part.mode == "I;16":
            part = _eight_bits(part)
        colour = part.convert(part.mode.removesuffix("A")) if part.mode in ALPHA else part
        converted = ImageCms.applyTransform(colour, transform)
        assert converted is not None  # it is, unless in place
        if part.mode in ALPHA:
            converted.putalpha(part.getchannel("A"))
        return converted

    return blocks.image_of(image, "RGBA" if image.mode in ALPHA else "RGB", applied)


def _changed(
    own: Original, values: UInt[Array, "h w *C"], before: UInt8[Array, "h w 3"], after: UInt8[Array, "h w 3"]
) -> UInt[Array, "h w *C"]:
    """The file's values of a window (h, w) or (h, w, C), with the difference between its pixels before and after,
    (h, w, 3) both."""
    was, now = (_in_profile(own, pixels) for pixels in (before, after))
    difference = now.astype(np.float32) - was
    result = (values[..., None] if values.ndim == 2 else values).copy()
    colour = result[..., : difference.shape[2]]
    most = np.iinfo(values.dtype).max
    alpha = result[..., -1:].astype(np.float32) / 255 if own.mode in ALPHA else np.ones((1, 1, 1), np.float32)
    # What sRGB could not show of the photo goes where the photo goes: it is no part of what was painted over it.
    beyond = colour * (255 / most) * alpha + 255 * (1 - alpha) - was  # pixels were seen before a white ground
    painted = np.abs(after.astype(np.float32) - before).max(-1, keepdims=True) / _PAINTED
    difference -= painted.clip(0, 1) * beyond
    difference = np.divide(difference, alpha, out=np.zeros_like(difference), where=alpha > 0)
    colour[:] = np.round(colour + difference * (most // 255)).clip(0, most)
    return result.reshape(values.shape)


def _in_profile(own: Original, pixels: UInt8[Array, "h w 3"]) -> Num[Array, "h w C"]:
    """sRGB pixels (h, w, 3) in the colours of the file: (h, w, 1) or (h, w, 3), whole numbers of 0-255."""
    grey, found = own.mode in GREY, None if own.profile is None else transforms(own.profile)
    if found is not None:
        from PIL import ImageCms  # as above

        converted = np.asarray(ImageCms.applyTransform(Image.fromarray(pixels), found.back))
        return converted[..., None] if grey else converted
    return np.round(pixels @ _LUMA)[..., None] if grey else pixels


def _eight_bits(image: Image.Image) -> Image.Image:
    """Mode L of I;16."""
    return Image.fromarray(_of_16_bits(np.asarray(image)))


def _of_16_bits(values: Array) -> Array:
    """uint8 of uint16: `convert` would clip them, not scale them."""
    return np.round(values.astype(np.float32) / 257).astype(np.uint8)


def _probe(mode: str) -> Image.Image:
    """All greys, or colours from everywhere, as a picture of a mode."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    return Image.fromarray(np.stack(np.meshgrid(levels, levels, levels), -1).reshape(1, -1, 3))
