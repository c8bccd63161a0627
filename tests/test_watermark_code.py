"""The mark in the pixels without its networks: what it says, the waves that say it, and where they are found."""

from dataclasses import replace

import numpy as np
import pytest

from personae.provenance import carriers, payload, search
from personae.provenance.message import Message
from personae.types import Array

MESSAGE = Message(model=0x3F, recipe=bytes.fromhex("9107d24c"))


def test_any_two_words_differ_in_six_chips_or_more() -> None:
    words = payload.words().astype(int)
    apart = (payload.WORD - words @ words.T) // 2
    counts = dict(zip(*(one.tolist() for one in np.unique(apart, return_counts=True)), strict=True))
    # The weights of the Nordstrom-Robinson code, from every one of its words.
    assert counts == {0: 256, 6: 256 * 112, 8: 256 * 30, 10: 256 * 112, 16: 256}


def test_a_message_is_eight_bytes_that_agree() -> None:
    content = payload.to_bytes(MESSAGE)
    assert len(content) == payload.BYTES
    assert content[0] == payload.SCHEMES[0]
    assert payload.from_bytes(content) == MESSAGE
    part = replace(MESSAGE, part=True)
    assert payload.from_bytes(payload.to_bytes(part)) == part
    for place in range(payload.BYTES):
        broken = bytearray(content)
        broken[place] ^= 1
        assert payload.from_bytes(bytes(broken)) is None
    assert payload.from_bytes(content[:-1]) is None


def test_a_message_survives_a_sixth_of_wrong_chips() -> None:
    rng = np.random.default_rng(0)
    chips, wrong, right = payload.encode(MESSAGE), [], 0
    for _ in range(20):
        soft = 0.2 * (chips + rng.normal(size=chips.shape))  # 0 dB, of any scale
        wrong.append(np.mean(np.sign(soft) != chips))
        right += payload.decode(soft) == MESSAGE
    assert np.mean(wrong) > 0.14
    assert right >= 16


def test_what_is_beyond_mending_is_found_among_the_likeliest() -> None:
    """At 1 dB of noise over the chips half of the messages have more wrong bytes than the code mends."""
    rng, chips = np.random.default_rng(3), payload.encode(MESSAGE)
    noisy = [chips + 10 ** (1 / 20) * rng.normal(size=chips.shape) for _ in range(30)]
    assert sum(payload.decode(one) == MESSAGE for one in noisy) >= 22
    assert {payload.decode(one) for one in noisy} <= {MESSAGE, None}


def test_a_choice_of_eight_bytes_is_a_message_if_its_check_agrees() -> None:
    content = payload.to_bytes(MESSAGE)
    coded = payload._codec().encode(content)
    for places in ((0, 1, 2, 3, 4, 5, 6, 7), (0, 3, 5, 8, 9, 11, 14, 15)):
        choices = {place: (coded[place], coded[place] ^ 0x55) for place in places}
        assert content in list(payload._agreeing(choices))
    choices[15] = (coded[15] ^ 1,)
    assert content not in list(payload._agreeing(choices))


def test_chance_says_nothing() -> None:
    rng = np.random.default_rng(1)
    assert all(payload.decode(rng.normal(size=payload.CHIPS)) is None for _ in range(50))
    assert payload.decode(np.zeros(payload.CHIPS)) is None


def test_signatures_are_orthogonal_and_the_pattern_has_unit_variance() -> None:
    sync, chips = carriers.signatures()
    every = np.concatenate([sync[None], chips])
    products = (every @ every.conj().T).real
    assert np.allclose(products, np.eye(len(every)), atol=1e-5)
    pattern = carriers.tile_wave(payload.encode(MESSAGE), carriers.axis(64), carriers.axis(96))
    assert pattern.std() == pytest.approx(1, abs=1e-3)
    assert np.allclose(pattern[:32, :32], pattern[32:, 64:], atol=1e-4), "a tile is repeated"


def _evidence(sides: tuple[int, int], scale: float, first: tuple[float, float], noise: float) -> Array:
    rng = np.random.default_rng(2)
    positions = (carriers.axis(side, scale, begin) for side, begin in zip(sides, first, strict=True))
    pattern = carriers.tile_wave(payload.encode(MESSAGE), *positions)
    found: Array = pattern + np.float32(noise) * rng.normal(size=sides).astype(np.float32)
    return found


@pytest.mark.parametrize(
    ("sides", "scale", "first"),
    [((128, 128), 1.0, (0.0, 0.0)), ((128, 172), 1.25, (0.51, 0.13)), ((170, 128), 1.43, (0.9, 0.2))],
)
def test_the_pattern_is_found_in_a_crop(sides: tuple[int, int], scale: float, first: tuple[float, float]) -> None:
    evidence = _evidence(sides, scale, first, noise=4.0)
    best = search.search(evidence)[0]
    assert best.score > 8
    assert best.scale == pytest.approx(scale, rel=0.006)
    apart = (np.array(best.first) - first + 0.5) % 1 - 0.5
    assert np.abs(apart).max() < 0.03
    assert payload.decode(search.chips_at(evidence, best)) == MESSAGE


def test_a_peak_is_the_best_place_of_the_grid() -> None:
    """Its score and place, by the sum over all waves at each place."""
    rng, (down, across) = np.random.default_rng(4), carriers.wave_numbers()
    waves = (rng.normal(size=(3, len(down))) + 1j * rng.normal(size=(3, len(down)))).astype(np.complex64)
    scores, firsts = search.peaks(waves)
    places = np.arange(search._GRID) / search._GRID
    turns = np.exp(2j * np.pi * (down[:, None, None] * places[:, None] + across[:, None, None] * places))
    sums = np.tensordot(search._whitened(waves).conj() * carriers.signatures()[0], turns, 1).real
    expected = sums * search._to_deviations(search._whitened(waves))[:, None, None]
    assert scores == pytest.approx(expected.reshape(3, -1).max(1), rel=1e-4)
    for one, first in zip(expected, firsts, strict=True):
        assert np.unravel_index(one.argmax(), one.shape) == tuple(np.rint(first * search._GRID))


def test_noise_has_no_pattern() -> None:
    rng = np.random.default_rng(3)
    scores = [search.search(rng.normal(size=(128, 128)).astype(np.float32))[0].score for _ in range(10)]
    assert max(scores) < 5.6
