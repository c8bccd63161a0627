"""That someone confirmed the consent of the people in their photos: when, for what, and nothing about who they are.

ConsentLog(config_folder() / "consent.jsonl").record("edit", pictures=4)

{"time": "2026-11-29T19:00:00+00:00", "kind": "edit", "pictures": 4, "statement": "everyone in these photos ..."}
"""

import datetime
import json
import os
import threading
from pathlib import Path

from personae.io import atomic

STATEMENT = "everyone in these photos agreed to this, or does not exist"


class ConsentLog:
    """A file of lines that only grows. None: nothing is recorded."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._lock = threading.Lock()

    def record(self, kind: str, *, pictures: int) -> None:
        """One line for one press of a button. Raises `BadOutput` if it cannot be written: then nothing is made."""
        if self.path is None:
            return
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        line = json.dumps({"time": now, "kind": kind, "pictures": pictures, "statement": STATEMENT})
        with self._lock, atomic.errors_about(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            place = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(place, f"{line}\n".encode())
            finally:
                os.close(place)
