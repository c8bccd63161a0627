"""A long measurement in pieces: what was measured stays in a folder, and the same command goes on from there.

pieces = Pieces(Path("runs/watermark"))                      # None: nothing is kept
found = pieces.get("marked-00035", lambda: {...})            # measured once, plain JSON
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from personae.errors import BadData
from personae.io import atomic, regular


class Pieces:
    """Plain data by name. The folder belongs to one measurement: one of other settings takes another."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def get(self, name: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """A piece as it was measured before, or else now. Raises `BadData` for a file that is no JSON object."""
        if self._folder is None:
            return measure()
        place = self._folder / f"{name}.json"
        if not regular.is_file(place):
            atomic.write_json(place, measure())
        return regular.read_object(place, BadData)
