"""Colours of a face matched by its skin, whatever lies on it; photos of one colour that stay so."""

from dataclasses import replace

import numpy as np
import pytest

from facex_fixtures import made_up_face
from personae.editing.paste import RECOLOURS, Patch
from personae.editing.recolour import Change, skin_to_skin
from personae.editing.tone import tone_of, toned
from personae.pipeline import FacePipeline
from personae.reading import align
from personae.reading.aligned import Aligned

LIGHT, DARK = np.array((222, 178, 156)), np.array((112, 72, 54))
SIDE = 128


def lit(skin: np.ndarray, *, seed: int = 0, across: float = 0.0, down: float = 0.0) -> np.ndarray:
    """(S, S, 3): uneven skin with white and black spots (eyes), under a light that falls off by log odds per side."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE - 0.5
    share = skin / 255
    odds = np.log(share / (1 - share)) + rng.normal(0, 0.15, (SIDE, SIDE, 1)) + (across * x + down * y)[..., None]
    pixels = 255 / (1 + np.exp(-odds))
    pixels[30:34, 40:50] = pixels[30:34, 80:90] = 230
    pixels[34:38, 40:50] = pixels[34:38, 80:90] = 12
    return pixels.round().astype(np.uint8)


EVERYWHERE = np.ones((SIDE, SIDE), bool)
SKIN = EVERYWHERE.copy()
SKIN[28:40, 38:92] = False


def off(made: np.ndarray, shown: np.ndarray, where: np.ndarray = SKIN) -> np.ndarray:
    """(3,) grey levels between the means."""
    return np.abs(made[where].mean(0) - shown[where].mean(0))


@pytest.mark.parametrize(("own", "other"), [(LIGHT, DARK), (DARK, LIGHT)])
def test_skin_becomes_the_others_and_what_has_no_colour_gets_none(own: np.ndarray, other: np.ndarray) -> None:
    made, shown = lit(own), lit(other, seed=1)
    done = skin_to_skin(made, shown, EVERYWHERE).on(made)
    assert off(done, shown).max() < 3
    eyes = done[30:38, 40:50].astype(int)
    assert np.ptp(eyes, axis=-1).max() <= 2  # neither bluish nor brown
    assert eyes[:4].mean() > other.mean()  # white stays lighter than skin
    assert eyes[4:].mean() < other.mean() / 2  # black stays black


def test_sunglasses_do_not_darken_the_face() -> None:
    made, shown = lit(LIGHT), lit(LIGHT - 20, seed=1)
    bare = skin_to_skin(made, shown, EVERYWHERE).on(made)
    glasses = shown.copy()
    glasses[24:52, 8:120] = (14, 16, 20)  # a fifth of all that counts as skin
    done = skin_to_skin(made, glasses, EVERYWHERE).on(made)
    assert np.abs(done.astype(int) - bare)[SKIN].mean() < 2.5
    gain, shift = align.colour_change(made, glasses, EVERYWHERE.astype(np.float32))  # by mean and deviation
    assert off(align.recoloured(made, gain, shift), shown).min() > 20


@pytest.mark.parametrize("others", [2.0, -2.0])
def test_light_comes_from_the_side_that_it_comes_from_in_the_photo(others: float) -> None:
    made, shown = lit(LIGHT, across=0.5, down=0.4), lit(LIGHT - 30, seed=1, across=others)
    done = skin_to_skin(made, shown, EVERYWHERE).on(made)
    for half in (np.s_[:, :40], np.s_[:, 88:], np.s_[:40], np.s_[88:]):
        where = np.zeros_like(SKIN)
        where[half] = SKIN[half]
        assert off(done, shown, where).max() < 4
        before = off(align.match_colour(made, shown, EVERYWHERE.astype(np.float32)), shown, where)
        assert off(done, shown, where).max() < max(4, before.max())


def test_a_tint_is_matched_and_little_skin_says_nothing() -> None:
    made = lit(LIGHT)
    tint = np.round(made * (0.7, 0.9, 1.0)).astype(np.uint8)
    done = skin_to_skin(made, tint, SKIN).on(made)
    assert off(done, tint).max() < 2
    few = np.zeros_like(SKIN)
    few[:2, :8] = True
    np.testing.assert_array_equal(skin_to_skin(made, tint, few).on(made), made)
    np.testing.assert_array_equal(Change(size=SIDE).on(made), made)


def test_the_skin_of_the_free_region_counts_if_there_is_any() -> None:
    face = made_up_face()
    made, shown = lit(LIGHT), lit(DARK, seed=1)
    skin, lips = face.region("skin"), face.region("mouth")
    shown[~skin] = 128
    done = RECOLOURS["region"](made, shown, Patch(place=face, edit_mask=face.region("face"), cells=skin)).on(made)
    assert off(done, shown, skin & SKIN).max() < 4
    mouth = RECOLOURS["region"](made, shown, Patch(place=face, edit_mask=lips, cells=skin)).on(made)
    assert off(mouth, shown, lips).max() < 8


# ---------------------------------------------------------------------- photos of one colour


def greyed(pixels: np.ndarray) -> np.ndarray:
    return np.round(pixels @ (0.299, 0.587, 0.114)).astype(np.uint8)[..., None].repeat(3, -1)


def sepia(pixels: np.ndarray) -> np.ndarray:
    grey = greyed(pixels).astype(float)
    return (grey + (1 - np.abs(grey / 127.5 - 1)) * (20, -4, -32)).round().clip(0, 255).astype(np.uint8)


def chroma(pixels: np.ndarray) -> int:
    channels = pixels.astype(int)
    return int(np.abs(channels - np.roll(channels, 1, -1)).max())


def test_what_is_of_one_colour_stays_so() -> None:
    place = replace(made_up_face(), crop=lit(LIGHT, across=3))
    place.crop[90:110, 40:90] = lit(np.array((190, 60, 70)))[90:110, 40:90]  # lips
    assert tone_of(place) is None
    rng = np.random.default_rng(0)
    for change in (greyed, sepia):
        toned_place: Aligned = replace(place, crop=change(rng.integers(0, 255, (SIDE, SIDE, 3), np.uint8)))
        tone = tone_of(toned_place)
        photo, edited = toned_place.crop, toned_place.crop.copy()
        edited[:40] = lit(LIGHT)[:40]
        done = toned(edited, photo, tone)
        np.testing.assert_array_equal(done[40:], photo[40:])
        assert np.abs(done[:40].astype(int) - change(edited)[:40]).max() <= 3
    assert tone_of(replace(place, coverage=~EVERYWHERE)) is None
    grey = replace(place, crop=greyed(place.crop))
    assert not tone_of(grey).any()
    np.testing.assert_array_equal(toned(place.crop, grey.crop, None), place.crop)


@pytest.mark.parametrize("task", ["swap", "head", "reenact", "inpaint", "attribute", "style", "mix"])
def test_a_grey_photo_comes_back_grey(nano: FacePipeline, two_photos: list[np.ndarray], task: str) -> None:
    other, grey = two_photos[0], greyed(two_photos[1])
    given = {
        "swap": {"source": other, "target": grey},
        "head": {"source": other, "target": grey},
        "reenact": {"source": grey, "target": other},
        "inpaint": {"target": grey, "region": "face"},
        "attribute": {"target": grey, "expression": {"jawOpen": 0.8}, "shift": {"age": 1}},
        "style": {"target": grey, "prompt": "photo of a {person}"},
        "mix": {"target": grey, "tokens": {"light": other, "mouth": other}},
    }[task]
    done = nano.edit(task, **given, seed=0, num_inference_steps=2, likeness_guidance=0, motion_guidance=0)
    made = np.asarray(done.images[0])
    assert (made != grey).any()
    assert chroma(made) <= 2
