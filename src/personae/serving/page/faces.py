"""The faces found in a photo, to choose one: buttons over the photo, and the same choice as a list."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from personae.serving.page.results import url
from personae.serving.page.texts import Words
from personae.types import Face


def picker(photo: Path, faces: Sequence[Face], chosen: int, words: Words) -> str:
    """The photo with a button over each face, 1 the largest, as HTML. Without a choice to make: a sentence."""
    if len(faces) < 2:
        return f'<p class="p-note" role="status">{escape(words("face_found"))}</p>' if faces else ""
    assert faces[0].photo is not None  # it was read from one
    height, width = faces[0].photo.pixels.shape[:2]
    buttons = "".join(_button(face, number, chosen, (width, height), words) for number, face in enumerate(faces, 1))
    return (
        f'<p class="p-note" role="status">{escape(words("faces_found", count=len(faces)))}</p>'
        f'<div class="p-faces"><img src="{escape(url(photo), quote=True)}" alt="">{buttons}</div>'
    )


def _button(face: Face, number: int, chosen: int, size: tuple[int, int], words: Words) -> str:
    left, top, right, bottom = (float(edge) for edge in face.detection.box)
    width, height = size
    x, y = max(left, 0.0), max(top, 0.0)
    shares = (x / width, y / height, (min(right, width) - x) / width, (min(bottom, height) - y) / height)
    style = "left:{:.2%};top:{:.2%};width:{:.2%};height:{:.2%}".format(*shares)
    pressed = "true" if number == chosen else "false"
    label = escape(words("face_number", number=number), quote=True)
    return (
        f'<button type="button" data-face="{number}" aria-pressed="{pressed}" aria-label="{label}" style="{style}">'
        f'<span aria-hidden="true">{number}</span></button>'
    )
