"""The 64 bits that the pixel mark says, and the code that mends them.

    chips = encode(message_of(recipe))            # (256,) of -1 and +1
    message = decode(0.3 * chips + noise)         # Message, or None if it cannot be mended

Eight bytes - scheme, model, recipe hash (4), check (2) - become sixteen by Reed-Solomon, and each of these one of 256
words of 16 chips that differ in six or more (the Nordstrom-Robinson code). Soft chips decide each byte and how sure it
is; the least sure ones are erased until the sixteen are mended and scheme and check agree. Where too many are wrong for
that, the likeliest few values of the surest bytes are tried, all choices of them, and the rest follows.
"""

import itertools
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

import numpy as np
from reedsolo import ReedSolomonError, RSCodec, gf_mul

from personae.provenance.message import Message
from personae.shapes import Float
from personae.types import Array

SCHEMES = (0xA1, 0xA2)  # of this mark: in all of a picture, in a part; another payload or pattern takes other numbers
BYTES = 8  # of a message
CODED = 16  # bytes, so that up to four wrong ones, or eight unsure ones, are mended
WORD = 16  # chips of a byte
CHIPS = CODED * WORD
_TRIED = 5  # values of a byte
# Of chips that follow from a choice and those received, the cosine from which they count: of pure noise the best choice
# has 0.30, give or take 0.04; a pattern as strong as all else on its waves has 0.7.
_AGREEMENT = 0.5


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
    coded = _codec().encode(to_bytes(message))
    return words()[np.frombuffer(bytes(coded), np.uint8)].reshape(CHIPS).astype(np.float32)


def decode(chips: Float[Array, " C"]) -> Message | None:
    """The message in 256 soft chips, of any scale; None if it cannot be mended, or scheme and check do not agree."""
    chips = np.asarray(chips, np.float64)
    scores = chips.reshape(CODED, WORD) @ words().T / (np.sqrt(CHIPS) * np.linalg.norm(chips) + 1e-20)
    ranked = np.argsort(-scores, axis=1)
    lead = np.take_along_axis(scores, ranked[:, :1], 1) - np.take_along_axis(scores, ranked[:, 1:2], 1)
    surest = [int(place) for place in np.argsort(-lead[:, 0])]
    return _mended(ranked[:, 0], surest) or _likeliest(scores, ranked, surest)


def _mended(received: Array, surest: Sequence[int]) -> Message | None:
    """The message in sixteen bytes of which at most four are wrong, or more among those that are least sure."""
    codec = _codec()
    for erased in range(CODED - BYTES + 1):
        try:
            mended = codec.decode(bytes(received.astype(np.uint8)), erase_pos=surest[CODED - erased :])[0]
        except ReedSolomonError:
            continue
        message = from_bytes(bytes(mended))
        if message is not None:
            return message
    return None


def _likeliest(scores: Array, ranked: Array, surest: Sequence[int]) -> Message | None:
    """The message whose chips agree best with those received, if they do so by `_AGREEMENT`, among the many that
    follow from any choice of the likeliest values of eight bytes: the first, whose values are known, and the seven
    surest of the others.

    scores: (16, 256) how well each byte's chips agree with each value; all of a message's together are a cosine.
    ranked: (16, 256) values, the likeliest first.
    """
    others = [place for place in surest if place]
    best, found = _AGREEMENT, None
    for places in (others[:7], others[:5] + others[7:9]):
        choices = {0: SCHEMES, **{place: tuple(ranked[place, :_TRIED].tolist()) for place in places}}
        for content in _agreeing(choices):
            coded = np.frombuffer(bytes(_codec().encode(content)), np.uint8)
            agreement = float(scores[np.arange(CODED), coded].sum())
            if agreement > best:
                best, found = agreement, from_bytes(content)
    return found


def _agreeing(choices: Mapping[int, Sequence[int]]) -> Iterator[bytes]:
    """Of all messages that follow from a choice of values for eight coded bytes, those whose check agrees.

    Code and check are linear but for a constant, so what a message is, and by how much its check is wrong, is a sum
    (exclusive or) of one term for each byte."""
    erased = [place for place in range(CODED) if place not in choices]
    contents, wrong = np.zeros(1, np.uint64), np.full(1, _of_check(bytes(BYTES)), np.uint16)
    for place, values in choices.items():
        one = bytes(_codec().decode(bytes(int(place == other) for other in range(CODED)), erase_pos=erased)[0])
        terms = [bytes(gf_mul(part, value) for part in one) for value in values]
        contents = (contents[:, None] ^ np.array([int.from_bytes(term) for term in terms], np.uint64)).ravel()
        faults = [_of_check(term) ^ _of_check(bytes(BYTES)) for term in terms]
        wrong = (wrong[:, None] ^ np.array(faults, np.uint16)).ravel()
    return (int(content).to_bytes(BYTES) for content in contents[wrong == 0])


def _of_check(content: bytes) -> int:
    """What the check in eight bytes and that of the others differ in."""
    return int.from_bytes(_check(content[:-2])) ^ int.from_bytes(content[-2:])


@cache
def _codec() -> RSCodec:
    return RSCodec(CODED - BYTES)
