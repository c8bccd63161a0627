"""ICC profiles, made here: those of Adobe RGB and Display P3 screens (gamma instead of P3's curve), and of grey."""

import struct

ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
_WHITE = (0.9642, 1.0, 0.82491)  # D50


def rgb_profile(primaries: tuple[tuple[float, ...], ...] = ADOBE, gamma: float = 2.2) -> bytes:
    """Version 2 of three primaries, XYZ as adapted to D50."""
    columns = {f"{name}XYZ": _xyz(one) for name, one in zip("rgb", primaries, strict=True)}
    return _profile("RGB ", {"wtpt": _xyz(_WHITE), **columns, **{f"{name}TRC": _curve(gamma) for name in "rgb"}})


def grey_profile(gamma: float = 1.2) -> bytes:
    return _profile("GRAY", {"wtpt": _xyz(_WHITE), "kTRC": _curve(gamma)})


def _profile(space: str, tags: dict[str, bytes]) -> bytes:
    name = b"made for a test"
    text = {"desc": b"desc\0\0\0\0" + struct.pack(">I", len(name) + 1) + name + bytes(79), "cprt": b"text\0\0\0\0CC0\0"}
    table, body, start = b"", b"", 128 + 4 + 12 * (len(tags) + 2)
    for tag, content in {**text, **tags}.items():
        content += bytes(-len(content) % 4)
        table += struct.pack(">4sII", tag.encode(), start + len(body), len(content))
        body += content
    header = struct.pack(">I4sI4s4s4s", start + len(body), b"\0" * 4, 0x02400000, b"mntr", space.encode(), b"XYZ ")
    header += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + _xyz(_WHITE)[8:]
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags) + 2) + table + body


def _xyz(values: tuple[float, ...]) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))


def _curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))
