"""mutated(content, rng): a file a little, or quite, unlike what it was.

What breaks parsers: flipped bits, extreme numbers in any width and byte order, parts left out, doubled or swapped,
lengths that lie; and for text, other values in the place of JSON's.
"""

import copy
import json
import random
import struct
from typing import Any

EXTREMES = (0, 1, -1, 127, 128, 255, 256, 32767, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, 10**9, 10**30, float("nan"), float("inf"), "", "owner/name", "/dev/zero", "../..",
    "a\0b", "\ud800", "x" * 5000, [], {}, [[]], ["diffusers", "DiffusionPipeline"], [1] * 1000, {"a": {"b": [{}]}},
)  # fmt: skip


def mutated(content: bytes, rng: random.Random) -> bytes:
    """One to eight changes of some bytes."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        rng.choice(_CHANGES)(data, rng)
    return bytes(data[: 4 << 20])


def changed(value: Any, rng: random.Random) -> Any:
    """JSON with one value in it replaced, left out, doubled or renamed."""
    places = list(_places(value))
    if not places:
        return _value(rng)
    holder, key = rng.choice(places)
    act = rng.random()
    if act < 0.7:
        holder[key] = _value(rng)
    elif act < 0.8:
        del holder[key]
    elif act < 0.9 and isinstance(holder, dict):
        holder[rng.choice(("", "x" * 300, "__class__", "_class_name"))] = holder.pop(key)
    else:
        holder[key] = [copy.deepcopy(holder[key]) for _ in range(rng.choice((0, 2, 100)))]
    return value


def changed_json(content: bytes, rng: random.Random) -> bytes:
    """The bytes of a JSON file, changed as JSON; now and then as bytes, or nested too deep."""
    act = rng.random()
    if act < 0.2:
        return mutated(content, rng)
    if act < 0.23:
        return b"[" * rng.choice((100, 5000, 200_000))
    if act < 0.26:
        return json.dumps(_value(rng)).encode()
    value = json.loads(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        value = changed(value, rng)
    return json.dumps(value).encode("utf-8")


def _value(rng: random.Random) -> Any:
    return copy.deepcopy(rng.choice(VALUES))  # it may be changed in turn


def _places(value: Any) -> Any:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        keys = list(one) if isinstance(one, dict) else range(len(one)) if isinstance(one, list) else ()
        for key in keys:
            yield one, key
            waiting.append(one[key])


def _flip(data: bytearray, rng: random.Random) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _byte(data: bytearray, rng: random.Random) -> None:
    if data:
        data[rng.randrange(len(data))] = rng.randrange(256)


def _number(data: bytearray, rng: random.Random) -> None:
    width = rng.choice((1, 2, 4, 8))
    if len(data) < width:
        return
    place = rng.randrange(min(len(data) - width + 1, rng.choice((64, 512, 1 << 30))))
    order = rng.choice("<>")
    value = rng.choice(EXTREMES) & (2 ** (8 * width) - 1)
    data[place : place + width] = struct.pack(order + {1: "B", 2: "H", 4: "I", 8: "Q"}[width], value)


def _cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data) + 1) :]


def _leave_out(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data) + 1)
    del data[start : start + rng.choice((1, 2, 4, 16, 256))]


def _double(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data) + 1)
    part = data[start : start + rng.choice((1, 4, 64, 1024))]
    data[start:start] = part * rng.choice((1, 1, 50))


def _swap(data: bytearray, rng: random.Random) -> None:
    length = rng.choice((1, 4, 32))
    a, b = rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)
    one, two = bytes(data[a : a + length]), bytes(data[b : b + length])
    if len(one) == len(two):
        data[a : a + length], data[b : b + length] = two, one


def _noise(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data) + 1)
    data[start:start] = rng.randbytes(rng.choice((1, 8, 200)))


_CHANGES = (_flip, _flip, _byte, _number, _number, _cut, _leave_out, _double, _swap, _noise)
