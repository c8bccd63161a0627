"""The 64 bits that the pixel mark says, and the code that mends them.

    chips = encode(message_of(recipe))            # (256,) of -1 and +1
    message = decode(0.3 * chips + noise)         # Message, or None if it cannot be mended

Eight bytes - scheme, model, recipe hash (4), check (2) - become sixteen by Reed-Solomon, and each of these one of 256
words of 16 chips that differ in six or more (the Nordstrom-Robinson code). Soft chips decide each byte and how sure it
is; the least sure ones are erased until the sixteen are mended and scheme and check agree.
"""

import itertools
import zlib
from functools import cache

import numpy as np
from reedsolo import ReedSolomonError, RSCodec

from personae.provenance.message import Message
from personae.shapes import Float
from personae.types import Array

SCHEMES = (0xA1, 0xA2)  # of this mark: in all of a picture, in a part; another payload or pattern takes other numbers
BYTES = 8  # of a message
CODED = 16  # bytes, so that up to four wrong ones, or eight unsure ones, are mended
WORD = 16  # chips of a byte
CHIPS = CODED * WORD


def to_bytes(message: Message) -> bytes:
    """Eight bytes: scheme, model, recipe hash, check."""
    body = bytes([SCHEMES[message.part], message.model]) + message.recipe
    return body + _check(body)


def from_bytes(content: bytes) -> Message | None:
    """The message in eight bytes; None if the scheme is another or the check does not agree."""
    body, check = content[:-2], content[-2:]
    if len(content) != BYTES or body[0] not in SCHEMES or _check(body) != check:
        return None
    return Message(model=body[1], recipe=body[2:], part=bool(SCHEMES.index(body[0])))


def _check(body: bytes) -> bytes:
    return (zlib.crc32(body) & 0xFFFF).to_bytes(2, "big")


# ---------------------------------------------------------------------- bytes and chips


@cache
def words() -> Array:
    """(256, 16) int8 of -1 and +1: the Nordstrom-Robinson code, byte by byte; any two differ in 6, 8, 10 or 16.

    Built as eight cosets of the first-order Reed-Muller code RM(1, 4): its 32 affine functions of four bits, each plus
    one of eight quadratic forms whose pairwise sums are of full rank (a Kerdock set).
    """
    points = np.array(list(itertools.product((0, 1), repeat=4)))
    affine = [
        (points @ np.array(slope) + offset) % 2 for offset in (0, 1) for slope in itertools.product((0, 1), repeat=4)
    ]
    pairs = list(itertools.combinations(range(4), 2))
    forms = [np.array(form) for form in itertools.product((0, 1), repeat=len(pairs))]
    chosen = [forms[0]]
    for form in _kerdock(chosen, forms, pairs):
        chosen.append(form)
    found = []
    for form in chosen:
        quadratic = sum(bit * points[:, i] * points[:, j] for bit, (i, j) in zip(form, pairs, strict=True)) % 2
        found += [(line + quadratic) % 2 for line in affine]
    table = (1 - 2 * np.array(found)).astype(np.int8)
    table.flags.writeable = False
    return table


def _kerdock(first: list[Array], forms: list[Array], pairs: list[tuple[int, int]]) -> list[Array]:
    """Seven more alternating forms, so that the sum of any two of the eight has full rank: the first such set."""

    def full_rank(form: Array) -> bool:
        # The Pfaffian of an alternating 4 x 4 matrix over GF(2).
        of = dict(zip(pairs, form % 2, strict=True))
        return bool((of[0, 1] * of[2, 3] + of[0, 2] * of[1, 3] + of[0, 3] * of[1, 2]) % 2)

    def grow(chosen: list[Array], start: int) -> list[Array] | None:
        if len(chosen) == 8:
            return chosen
        for index in range(start, len(forms)):
            if all(full_rank(forms[index] + other) for other in chosen):
                found = grow([*chosen, forms[index]], index + 1)
                if found is not None:
                    return found
        return None

    found = grow(first, 1)
    assert found is not None, "eight such forms of four bits exist (Kerdock 1972)"
    return found[1:]


def encode(message: Message) -> Array:
    """(256,) float32 of -1 and +1."""
    coded = RSCodec(CODED - BYTES).encode(to_bytes(message))
    return words()[np.frombuffer(bytes(coded), np.uint8)].reshape(CHIPS).astype(np.float32)


def decode(chips: Float[Array, " C"]) -> Message | None:
    """The message in 256 soft chips, of any scale; None if it cannot be mended, or scheme and check do not agree."""
    scores = np.asarray(chips, np.float64).reshape(CODED, WORD) @ words().T
    order = np.argsort(scores, axis=1)
    best = order[:, -1]
    lead = np.take_along_axis(scores, order[:, -1:], 1) - np.take_along_axis(scores, order[:, -2:-1], 1)
    unsure = np.argsort(lead[:, 0])
    codec, received = RSCodec(CODED - BYTES), bytes(best.astype(np.uint8))
    for erased in range(CODED - BYTES + 1):
        try:
            mended = codec.decode(received, erase_pos=[int(place) for place in unsure[:erased]])[0]
        except ReedSolomonError:
            continue
        message = from_bytes(bytes(mended))
        if message is not None:
            return message
    return None
