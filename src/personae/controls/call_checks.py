"""Checks of a call's plain arguments, before any work."""

from typing import Any

from personae.errors import BadOption


def require_texts(**texts: Any) -> None:
    """Raise `BadOption` for an argument that is neither a text nor None, by its name."""
    for name, text in texts.items():
        if text is not None and not isinstance(text, str):
            raise BadOption(
                f"{name} is one text for all images of a call, got a {type(text).__name__}: call once for each text"
            )


def require_counts(**counts: int) -> None:
    """Raise `BadOption` for a number below 1, by its name."""
    for name, count in counts.items():
        if count < 1:
            raise BadOption(f"{name} must be at least 1, got {count}")
