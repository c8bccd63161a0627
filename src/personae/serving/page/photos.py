"""Fields for photos: what was uploaded reaches us as the very file, to be read by our own reader.

Gradio's own would decode a picture first, with limits and errors of its own, and hand on another file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

PICTURES = [".jpg", ".jpeg", ".png", ".webp", ".avif", ".heic"]


def photo_field(**facts: Any) -> gr.Image:
    """A field for one photo, whose value is the uploaded file's path. facts: of `gr.Image`."""
    usual: dict[str, Any] = {"height": 280, "buttons": [], "sources": ["upload", "clipboard"], "image_mode": None}
    field = gr.Image(type="filepath", **{**usual, **facts})
    # On the one object: for a subclass Gradio would write a stub beside this file.
    field.preprocess = _as_uploaded  # type: ignore[method-assign]
    return field


def _as_uploaded(payload: Any) -> str | None:
    return None if payload is None else payload.path


def path_of(value: Any) -> Path | None:
    """The path of a field's value; None: it is empty."""
    return None if value in (None, "") else Path(str(value))


def paths_of(gallery: Any) -> list[Path]:
    """The paths of a gallery's value, in order."""
    return [Path(str(one[0] if isinstance(one, list | tuple) else one)) for one in gallery or []]
