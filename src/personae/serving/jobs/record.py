"""One job, as the database holds it."""

from dataclasses import dataclass, field
from typing import Any

QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"
ENDED = (DONE, FAILED, CANCELLED)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One job. Times are of `time.time()`, None: not yet.

    kind: the request's (`engine.requests`). owner: the name of the API key that it came with. request: what was sent,
    without files. uploads: the names that the client gave its files -> the server's own. result: `files` (rows of name,
    media_type, bytes, sha256 and what is known of the picture) and `data`. error: `type` and `message`. tries: how
    often it was begun. expires: when it is deleted with all its files.
    """

    id: str
    kind: str
    owner: str
    status: str = QUEUED
    request: dict[str, Any]
    uploads: dict[str, str] = field(default_factory=dict)
    result: dict[str, Any] | None = None
    error: dict[str, str] | None = None
    created: float
    started: float | None = None
    ended: float | None = None
    expires: float | None = None
    lease: float | None = None
    tries: int = 0
    idempotency_key: str | None = None
    digest: str = ""

    @property
    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self.status in ENDED
