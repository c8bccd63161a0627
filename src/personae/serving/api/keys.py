"""API keys: who may ask, and how much.

    keys = Keys.read("keys.txt")          # lines: NAME KEY [REQUESTS/minute] [JOBS]
    who = keys.owner_of("sk-1f0c...")     # None: nobody's
    keys.spend(who)                       # seconds to wait; 0: go ahead

Keys are compared by their hashes, in constant time, with every key there is; the file holds them in clear, so it must
not be readable by others.
"""

import hashlib
import hmac
import os
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from personae.errors import BadOption
from personae.io import regular

SHORTEST = 16  # letters of a key
LOCAL = "local"  # the owner of jobs where there are no keys
_MOST_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Key:
    """One key. digest: sha256 of it. per_minute: requests; None: no limit. jobs: of its owner that have not ended."""

    owner: str
    digest: bytes
    per_minute: int | None = None
    jobs: int | None = None

    @classmethod
    def of(cls, owner: str, key: str, *, per_minute: int | None = None, jobs: int | None = None) -> "Key":
        """Raises `BadOption` for a key that is guessed too easily, or an impossible limit."""
        if len(key) < SHORTEST:
            raise BadOption(f"the key of {owner!r} has {len(key)} letters: at least {SHORTEST}, drawn by a program")
        if (per_minute is not None and per_minute < 1) or (jobs is not None and jobs < 1):
            raise BadOption(f"limits of the key of {owner!r} must be at least 1, got {per_minute} and {jobs}")
        return cls(owner=owner, digest=hashlib.sha256(key.encode()).digest(), per_minute=per_minute, jobs=jobs)


class Keys:
    """All keys of a server; false if there are none."""

    def __init__(self, keys: Sequence[Key] = ()) -> None:
        self._keys = tuple(keys)
        self._by_owner = {key.owner: key for key in keys}
        if len(self._by_owner) != len(self._keys):
            raise BadOption("two keys have one name: jobs belong to names, so each needs its own")
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def __bool__(self) -> bool:
        return bool(self._keys)

    @classmethod
    def read(cls, path: str | Path) -> "Keys":
        """Of a file. Raises `BadOption` for one that others may read, or a line that says something else. A file of
        root's may be readable by its group (0440, as a container's secret is), of which this process then is one."""
        if os.name == "posix" and Path(path).exists() and _others_may_read(Path(path).stat()):
            raise BadOption(f"{path} can be read by others: chmod 600 {path}")
        lines = regular.read_text(path, _MOST_BYTES, BadOption).splitlines()
        rows = [line.split() for line in lines if line.strip() and not line.startswith("#")]
        keys = Keys([_key(number, row) for number, row in enumerate(rows, start=1)])
        if not keys:
            raise BadOption(f"{path} holds no keys: a line is NAME KEY [REQUESTS/minute] [JOBS]")
        return keys

    def owner_of(self, key: str) -> str | None:
        """Whose key it is; None: nobody's. Takes the same time for every key that is not right."""
        digest, owner = hashlib.sha256(key.encode(errors="replace")).digest(), None
        for one in self._keys:
            if hmac.compare_digest(one.digest, digest):
                owner = one.owner
        return owner

    def spend(self, owner: str) -> float:
        """Count one request of an owner; seconds until it may ask again, 0 if it may now."""
        key = self._by_owner.get(owner)
        if key is None or key.per_minute is None:
            return 0.0
        item = RateLimitItemPerMinute(key.per_minute)
        if self._limiter.hit(item, owner):
            return 0.0
        return max(1.0, self._limiter.get_window_stats(item, owner).reset_time - time.time())

    def jobs_of(self, owner: str) -> int | None:
        """How many of an owner's jobs may be on their way; None: as many as there is room for."""
        key = self._by_owner.get(owner)
        return None if key is None else key.jobs


def _others_may_read(file: os.stat_result) -> bool:
    forbidden = 0o037 if file.st_uid == 0 and os.geteuid() != 0 else 0o077
    return bool(stat.S_IMODE(file.st_mode) & forbidden)


def _key(number: int, row: Sequence[str]) -> Key:
    try:
        owner, key, *rest = row
        per_minute = int(rest[0].removesuffix("/minute")) if rest else None
        jobs = int(rest[1]) if len(rest) > 1 else None
        if len(rest) > 2:
            raise ValueError("too many words")
    except ValueError as error:  # which would name the key
        raise BadOption(f"line {number} of the keys is not NAME KEY [REQUESTS/minute] [JOBS]") from error
    return Key.of(owner, key, per_minute=per_minute, jobs=jobs)
