"""The database of jobs: accepted, claimed, renewed, ended; none is lost when the process is killed.

    store = JobStore(folder / "jobs.sqlite", most_waiting=256)
    store.add(job)                            # QueueFull beyond the limit
    job = store.claim(lease=300)              # the oldest that waits, or whose lease is over; None: there is none
    store.renew([job], lease=300)             # it goes on
    store.finish(job, result, expires=t)      # False: it was cancelled or deleted, or somebody else has it by now

SQLite in WAL mode, one connection behind a lock. All times are Python's: SQLite before 3.42 has none in fractions.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from personae.errors import BadData, BadOutput, QueueFull
from personae.io import atomic
from personae.serving.jobs.record import CANCELLED, DONE, FAILED, QUEUED, RUNNING, Job

MANY = 2**31  # more often no job is begun
_JSON = ("request", "uploads", "result", "error")
_TABLE = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, owner TEXT NOT NULL, status TEXT NOT NULL, request TEXT NOT NULL,
    uploads TEXT NOT NULL, result TEXT, error TEXT, created REAL NOT NULL, started REAL, ended REAL, expires REAL,
    lease REAL, tries INTEGER NOT NULL, idempotency_key TEXT, digest TEXT NOT NULL, UNIQUE (owner, idempotency_key)
);
CREATE INDEX IF NOT EXISTS by_turn ON jobs (status, created);
CREATE INDEX IF NOT EXISTS by_end ON jobs (expires);
"""
_COLUMNS = tuple(one.name for one in fields(Job))


class LimitReached(QueueFull):
    """One owner's jobs fill its share of the queue."""


class StoreUnavailable(BadOutput):
    """The database can be neither read nor written now: the disk is full, say."""


@contextmanager
def _errors() -> Iterator[None]:
    """SQLite's errors as ours."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreUnavailable(f"the database of jobs cannot be used now: {error}") from error


class JobStore:
    """Jobs in a file. Any thread may call it.

    most_waiting: jobs that may wait, of all owners together.
    """

    def __init__(self, path: Path, *, most_waiting: int) -> None:
        self._most_waiting, self._lock = most_waiting, threading.RLock()
        self._in_log = True  # whether the log may hold requests that have ended since; of a process before, too
        try:
            with atomic.errors_about(path):
                path.touch(mode=0o600)
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
            self._database.row_factory = sqlite3.Row
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA secure_delete = ON")  # vectors are overwritten, not only forgotten
            self._database.execute("PRAGMA synchronous = FULL")  # an accepted job is on the disk
            self._database.executescript(_TABLE)
        except sqlite3.Error as error:
            raise BadData(f"{path} is no database of jobs ({error}): move it away, or choose another folder") from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _errors():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:  # SQLite has ended it itself where the disk is full
                    self._database.execute("ROLLBACK")
                raise

    def _rows(self, sql: str, *values: Any) -> list[Job]:
        with self._lock, _errors():
            return [_job(row) for row in self._database.execute(sql, values).fetchall()]

    # ------------------------------------------------------------------ in and out

    def add(self, job: Job, *, most_of_owner: int | None = None) -> Job:
        """Accept a job; one with the same owner and idempotency key is returned instead, if there is one. Raises
        `QueueFull`; `LimitReached` if `most_of_owner` of its owner's jobs have not ended."""
        row = _stored(job)
        names = ", ".join(row)
        places = ", ".join("?" * len(row))
        with self._transaction() as database:
            earlier = self._with_key(job)
            if earlier is not None:
                return earlier
            count = "SELECT count(*) FROM jobs WHERE status = ?"
            waiting = database.execute(count, (QUEUED,)).fetchone()[0]
            if waiting >= self._most_waiting:
                raise QueueFull(f"{waiting} jobs wait already: ask again later", retry_after=5)
            if most_of_owner is not None:
                own = database.execute(f"{count} AND owner = ?", (QUEUED, job.owner)).fetchone()[0]
                own += database.execute(f"{count} AND owner = ?", (RUNNING, job.owner)).fetchone()[0]
                if own >= most_of_owner:
                    raise LimitReached(f"{own} of your jobs have not ended: wait for one of them", retry_after=5)
            database.execute(f"INSERT INTO jobs ({names}) VALUES ({places})", tuple(row.values()))
        return job

    def _with_key(self, job: Job) -> Job | None:
        if job.idempotency_key is None:
            return None
        found = self._rows("SELECT * FROM jobs WHERE owner = ? AND idempotency_key = ?", job.owner, job.idempotency_key)
        return found[0] if found else None

    def get(self, name: str) -> Job | None:
        """A job by its id; None: there is none."""
        found = self._rows("SELECT * FROM jobs WHERE id = ?", name)
        return found[0] if found else None

    def of_owner(self, owner: str, *, most: int) -> list[Job]:
        """An owner's jobs, the newest first."""
        return self._rows("SELECT * FROM jobs WHERE owner = ? ORDER BY created DESC LIMIT ?", owner, most)

    def counts(self) -> dict[str, int]:
        """How many jobs there are of each status."""
        with self._lock, _errors():
            rows = self._database.execute("SELECT status, count(*) FROM jobs GROUP BY status").fetchall()
        return dict(rows)

    # ------------------------------------------------------------------ for the runner

    def claim(self, *, lease: float, besides: Collection[str] = (), most_tries: int = MANY) -> Job | None:
        """The oldest job that waits, or whose lease is over, for `lease` seconds; None: there is none, or it was begun
        more than `most_tries` times already. besides: ids of those that are not to be had: the caller's own."""
        now, places = time.time(), ", ".join("?" * len(besides))
        found = self._rows(
            "UPDATE jobs SET status = ?, lease = ?, started = coalesce(started, ?), tries = tries + 1 WHERE id = ("
            "SELECT id FROM (SELECT id, tries FROM jobs WHERE (status = ? OR (status = ? AND lease < ?)) "
            f"AND id NOT IN ({places}) ORDER BY created LIMIT 1) WHERE tries <= ?) RETURNING *",
            *(RUNNING, now + lease, now, QUEUED, RUNNING, now, *besides, most_tries),
        )
        return found[0] if found else None

    def renew(self, jobs: Iterable[Job], *, lease: float) -> None:
        """They go on: `lease` more seconds from now."""
        until = time.time() + lease
        with self._transaction() as database:
            database.executemany(
                "UPDATE jobs SET lease = ? WHERE id = ? AND tries = ? AND status = ?",
                [(until, job.id, job.tries, RUNNING) for job in jobs],
            )

    def release(self, job: Job) -> None:
        """Queue a claimed job again: it was not begun."""
        with self._transaction() as database:
            database.execute(
                "UPDATE jobs SET status = ?, tries = tries - 1 WHERE id = ? AND tries = ? AND status = ?",
                (QUEUED, job.id, job.tries, RUNNING),
            )

    def release_all(self, *, tries_if_alone: int = 0) -> int:
        """Queue again what was at work: at the start, of the process before. Returns how many. tries_if_alone: that
        count beside the one, of a job that nothing was at work beside: whatever ended the process, it was not another.
        """
        with self._transaction() as database:
            count = database.execute("SELECT count(*) FROM jobs WHERE status = ?", (RUNNING,)).fetchone()[0]
            database.execute(
                "UPDATE jobs SET status = ?, tries = tries + ? WHERE status = ?",
                (QUEUED, tries_if_alone if count == 1 else 0, RUNNING),
            )
            return int(count)

    def finish(self, job: Job, result: dict[str, Any], *, expires: float) -> bool:
        """End a job well; False if it was ended, deleted or claimed again meanwhile."""
        return self._end(job, DONE, result=result, expires=expires)

    def fail(self, job: Job, error: dict[str, str], *, expires: float) -> bool:
        """End a job with an error. As `finish`."""
        return self._end(job, FAILED, error=error, expires=expires)

    def _end(self, job: Job, status: str, *, expires: float, result: Any = None, error: Any = None) -> bool:
        with self._transaction() as database:
            done = database.execute(
                "UPDATE jobs SET status = ?, result = ?, error = ?, request = ?, ended = ?, expires = ?, lease = NULL "
                "WHERE id = ? AND tries = ? AND status = ?",
                (
                    status,
                    _text(result),
                    _text(error),
                    without_personal_data(job),
                    time.time(),
                    expires,
                    job.id,
                    job.tries,
                    RUNNING,
                ),
            )
            self._in_log = True
            return done.rowcount == 1

    def cancel(self, job: Job, *, expires: float) -> bool:
        """End a job that has not ended; False if there was nothing to end."""
        with self._transaction() as database:
            done = database.execute(
                "UPDATE jobs SET status = ?, request = ?, ended = ?, expires = ?, lease = NULL "
                "WHERE id = ? AND status IN (?, ?)",
                (CANCELLED, without_personal_data(job), time.time(), expires, job.id, QUEUED, RUNNING),
            )
            self._in_log = True
            return done.rowcount == 1

    def delete(self, name: str) -> None:
        """Forget a job."""
        with self._transaction() as database:
            database.execute("DELETE FROM jobs WHERE id = ?", (name,))
            self._in_log = True

    def clear_log(self) -> None:
        """Have what has ended gone from the disk: the log of changes, too, holds requests until it is emptied."""
        with self._lock, _errors():
            if self._in_log:
                busy = self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
                self._in_log = bool(busy)

    def expired(self) -> list[Job]:
        """Jobs whose time to be deleted has come."""
        return self._rows("SELECT * FROM jobs WHERE expires < ?", time.time())

    def ids(self, *statuses: str) -> set[str]:
        """Of all jobs; of those of some statuses."""
        with self._lock, _errors():
            rows = self._database.execute("SELECT id, status FROM jobs").fetchall()
        return {name for name, status in rows if not statuses or status in statuses}


def without_personal_data(job: Job) -> str:
    """What stays of a request when its job has ended: that consent was attested, and no vector."""
    return json.dumps({"consent": job.request.get("consent")})


def _text(value: Any) -> str | None:
    return None if value is None else json.dumps(value)


def _stored(job: Job) -> dict[str, Any]:
    row = {name: getattr(job, name) for name in _COLUMNS}
    return row | {name: _text(row[name]) for name in _JSON}


def _job(row: sqlite3.Row) -> Job:
    values = dict(row)
    return Job(**values | {name: None if values[name] is None else json.loads(values[name]) for name in _JSON})
