"""The files of jobs: uploads and results, in folders and under names of the server's making.

    places = JobFiles(folder)
    places.put_uploads(job_id, {"me.jpg": content})   # {"me.jpg": "0.jpg"}: what the client calls it, what it is here
    places.upload(job, "me.jpg")                      # its path
    places.result(job, "0.png")                       # a path; BadOption for a name that the job did not write
    places.delete(job_id)                             # all of them

A client's names never become a path. Folders are 0700, uploads 0600, and both are gone with their job.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from personae.errors import BadOption
from personae.io import atomic
from personae.serving.jobs.record import Job

# Endings that a reader of files goes by; of any other name nothing is taken over.
_ENDINGS = (".avi", ".avif", ".csv", ".heic", ".identity", ".jpeg", ".jpg", ".json", ".m4v", ".mkv", ".mov", ".mp4",
            ".npy", ".npz", ".png", ".webm", ".webp")  # fmt: skip


class JobFiles:
    """Files below a folder, which is made if it is not there. Raises `BadOutput` if it cannot be."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with atomic.errors_about(folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def place(self, job: str) -> Path:
        """A job's folder."""
        return self._folder / job

    def put_uploads(self, job: str, contents: Mapping[str, bytes]) -> dict[str, str]:
        """Write what came with a request; returns the server's name of each. Raises `BadOutput`."""
        folder = self.place(job) / "uploads"
        names = {}
        with atomic.errors_about(folder):
            self._make(folder)
            for number, (name, content) in enumerate(contents.items()):
                ending = PurePosixPath(name).suffix.lower()
                names[name] = f"{number}{ending if ending in _ENDINGS else ''}"
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
                with os.fdopen(os.open(folder / names[name], flags, 0o600), "wb") as file:
                    file.write(content)
        return names

    def upload(self, job: Job, name: str) -> Path:
        """Where a file is that the client calls `name`. Raises `BadOption` if it sent none of that name."""
        if name not in job.uploads:
            there = ", ".join(map(repr, job.uploads)) or "none"
            raise BadOption(f"no file of this request is called {name!r:.80}: it has {there}")
        return self.place(job.id) / "uploads" / job.uploads[name]

    def in_clients_words(self, job: Job, message: str) -> str:
        """A message about files, with the client's name of each instead of where the server has it."""
        folder = self.place(job.id)
        for name, ours in job.uploads.items():
            message = message.replace(str(folder / "uploads" / ours), name)
        return message.replace(f"{folder}{os.sep}", "").replace(str(folder), "the job's folder")

    def results_folder(self, job: Job) -> Path:
        """Where a job's results go, empty: what a try before this one left is removed."""
        folder = self.place(job.id) / "results"
        with atomic.errors_about(folder):
            shutil.rmtree(folder, ignore_errors=True)
            self._make(folder)
        return folder

    def _make(self, folder: Path) -> None:
        """A folder of a job and the job's own, each for its owner alone: `mkdir(parents=True)` leaves those above to
        the umask."""
        folder.parent.mkdir(exist_ok=True, mode=0o700)
        folder.mkdir(mode=0o700)

    def result(self, job: Job, name: str) -> tuple[Path, dict[str, Any]]:
        """The path of one of a job's results, and what is known of it. Raises `BadOption` for a name that is none."""
        for row in (job.result or {}).get("files", []):
            if row["name"] == name:
                return self.place(job.id) / "results" / row["name"], row
        raise BadOption("this job has no such result")

    def delete_uploads(self, job: str) -> None:
        """Remove what came with a request."""
        shutil.rmtree(self.place(job) / "uploads", ignore_errors=True)

    def delete_results(self, job: str) -> None:
        """Remove what was written for a job."""
        shutil.rmtree(self.place(job) / "results", ignore_errors=True)

    def delete(self, job: str) -> None:
        """Remove all files of a job."""
        shutil.rmtree(self.place(job), ignore_errors=True)

    def sweep(self, known: set[str], ended: set[str]) -> None:
        """Remove what a process that was killed left behind: files of requests that were never accepted, and uploads of
        jobs that had just ended."""
        for place in self._folder.iterdir():
            if place.name not in known:
                shutil.rmtree(place, ignore_errors=True)
            elif place.name in ended:
                self.delete_uploads(place.name)
