"""What an output is marked with, what is off and why, and where a watermark lies in it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from personae.errors import BadOption
from personae.provenance import pixel_mark, watermark, writer
from personae.provenance.marks import C2PA, VARIABLES, WATERMARK, Marks
from personae.provenance.message import Message, message_of, recipe_sha256
from personae.provenance.recipe import checked, history, read_recipe
from personae.types import Array

RECIPE = {"task": "generate", "model": {"name": "nano", "sha256": "3f" * 32}, "settings": {}, "seed": 7}


def _brighter(pixels: Array, message: Message) -> Array:
    """A watermark that can be seen, so that a test can see where it lies."""
    assert message.model == 0x3F
    return np.minimum(pixels.astype(int) + 9, 255).astype(np.uint8)


@pytest.fixture
def with_a_watermark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixel_mark, "MARK", _brighter)


def _read(content: bytes, folder: Path, kind: str = "png") -> tuple[Array, dict[str, object]]:
    path = folder / f"image.{kind}"
    path.write_bytes(content)
    return np.asarray(Image.open(path)), read_recipe(path)


@pytest.mark.usefixtures("with_a_watermark")
def test_marks_are_on_unless_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)
    assert Marks.of_environment().recorded() == {"watermark": True, "c2pa": True}
    assert Marks.of_environment(c2pa=False).recorded() == {
        "watermark": True,
        "c2pa": False,
        "why": {"c2pa": "switched off"},
    }
    monkeypatch.setenv(VARIABLES[WATERMARK], "1")
    monkeypatch.setenv(VARIABLES[C2PA], "0")  # a switch that is not thrown
    off = Marks.of_environment()
    assert (off.watermark, off.c2pa) == (False, True)
    assert off.why == {"watermark": "switched off by PERSONAE_NO_WATERMARK"}
    assert off.without(WATERMARK, "another reason") == off, "the first reason stays"


@pytest.mark.usefixtures("with_a_watermark")
def test_the_watermark_is_in_the_pixels_and_the_recipe_says_so(tmp_path: Path) -> None:
    image = Image.new("RGB", (160, 140), (10, 20, 30))
    pixels, recipe = _read(writer.encode(image, "png", RECIPE, marks=Marks(c2pa=False)), tmp_path)
    assert (pixels == (19, 29, 39)).all()
    assert recipe["marks"]["watermark"] is True
    pixels, recipe = _read(writer.encode(image, "png", RECIPE, marks=Marks.of_environment(watermark=False)), tmp_path)
    assert (pixels == (10, 20, 30)).all()
    assert recipe["marks"]["watermark"] is False
    assert recipe["marks"]["why"]["watermark"] == "switched off"
    assert checked(recipe)["marks"] == recipe["marks"]
    assert history([recipe])[0]["marks"] == recipe["marks"], "what was off stays on record in later edits"
    assert np.asarray(image)[0, 0].tolist() == [10, 20, 30], "the caller's image is the caller's"


@pytest.mark.usefixtures("with_a_watermark")
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16"])
def test_an_edit_is_marked_where_it_changed_the_photo(mode: str) -> None:
    generator = np.random.default_rng(0)
    channels = {"L": (), "LA": (2,), "RGB": (3,), "RGBA": (4,), "I;16": ()}[mode]
    most, kind = (2**16, np.uint16) if mode == "I;16" else (256, np.uint8)
    values = generator.integers(0, most, (200, 220, *channels), dtype=kind)
    image = Image.fromarray(values)
    assert image.mode == mode
    area = np.zeros((200, 220), bool)
    area[10:150, 20:180] = True
    area[60:70, 60:70] = False  # a hole
    after = np.asarray(pixel_mark.with_mark(image, message_of(RECIPE), area))
    np.testing.assert_array_equal(after[~area], values[~area])
    colours = after[..., : len("RGB")] if mode.startswith("RGB") else after[..., 0] if mode == "LA" else after
    before = values[..., : len("RGB")] if mode.startswith("RGB") else values[..., 0] if mode == "LA" else values
    dark = area[..., None] & (before < most * 0.9) if mode.startswith("RGB") else area & (before < most * 0.9)
    assert (colours[dark] > before[dark]).all()
    if mode in ("LA", "RGBA"):
        np.testing.assert_array_equal(after[..., -1], values[..., -1])


@pytest.mark.usefixtures("with_a_watermark")
def test_modes_whose_numbers_are_no_colours_are_converted_or_refused() -> None:
    colours = Image.fromarray(np.random.default_rng(0).integers(0, 200, (160, 160, 3), dtype=np.uint8))
    palette = colours.quantize(64)
    marked = pixel_mark.mark(palette, RECIPE)
    assert marked.mode == "RGB"
    difference = np.asarray(marked).astype(int) - np.asarray(palette.convert("RGB"))
    assert (difference[20:] == 9).mean() > 0.95, "as the watermark of these tests is"
    palette.info["transparency"] = 3
    assert pixel_mark.mark(palette, RECIPE).mode == "RGBA"
    assert pixel_mark.mark(colours.convert("1"), RECIPE).mode == "L"
    for mode in ("CMYK", "YCbCr", "LAB", "HSV", "I", "F", "RGBX", "PA", "RGBa"):
        with pytest.raises(BadOption, match=f"RGB, RGBA, L, LA, I;16, 1, P, got {mode}"):
            pixel_mark.mark(Image.new(mode, (160, 160)), RECIPE)


@pytest.mark.usefixtures("with_a_watermark")
def test_a_small_change_gets_none_and_the_recipe_says_why(tmp_path: Path) -> None:
    image, area = Image.new("RGB", (300, 300)), np.zeros((300, 300), bool)
    area[100:227, 100:300] = True
    pixels, recipe = _read(writer.encode(image, "png", RECIPE, area=area), tmp_path)
    assert not pixels.any()
    assert recipe["marks"]["why"]["watermark"] == "the changed region is 200 x 127 pixels, it needs 128 a side"
    area[:] = False
    assert "0 x 0" in str(pixel_mark.why_not(image, area))


def test_a_version_without_one_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watermark, "available", lambda: False)
    _, recipe = _read(writer.encode(Image.new("RGB", (200, 200)), "png", RECIPE), tmp_path)
    assert recipe["marks"]["why"]["watermark"] == "this version has none"


def test_the_message_is_that_of_the_recipe_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Message] = []
    monkeypatch.setattr(pixel_mark, "MARK", lambda pixels, message: (heard.append(message), pixels)[1])
    for kind in writer.FORMATS:
        _, recipe = _read(writer.encode(Image.new("RGB", (200, 200)), kind, RECIPE), tmp_path, kind)
        assert heard.pop() == message_of(recipe)
        assert heard == []
    assert message_of(recipe).recipe.hex() == recipe_sha256(recipe)[:8]
    assert message_of({"seed": 1}).model == 0
    for sha256 in ("zz", "", "-1", "3f", "3f" * 31 + "3g", "3f" * 33, "\u0663" * 64, 7, None):
        assert message_of({"model": {"sha256": sha256}}).model == 0, "a stranger's recipe names its model by anything"
    with pytest.raises(BadOption, match="0-255"):
        Message(model=256, recipe=bytes(4))
