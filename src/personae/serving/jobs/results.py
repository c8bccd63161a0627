"""The result of a request, written into its job's folder: what the job then says of it.

rows = results.write(job, files, ticket, value)     # {"files": [{"name": "0.png", ...}], "data": {...}}
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from personae import describe, identity
from personae.provenance import writer
from personae.provenance.detection import Detected
from personae.serving.engine.ticket import Ticket
from personae.serving.jobs.files import JobFiles
from personae.serving.jobs.record import Job
from personae.types import Edit, Face, Generation, Identity

MEDIA_TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "webp": "image/webp",
    "mp4": "video/mp4",
    "json": "application/json",
    "identity": "application/octet-stream",
}


def write(job: Job, files: JobFiles, ticket: Ticket, value: Any) -> dict[str, Any]:
    """Write the files of a result; returns what the job's `result` says. Raises `BadOutput`."""
    match value:
        case Generation() | Edit():
            return _images(job, files, ticket, value)
        case Identity():
            return _people(files.results_folder(job), [value])
        case [Identity(), *_]:
            return _people(files.results_folder(job), value)
        case [Face(), *_] | []:
            return {"files": [], "data": {"faces": [describe.face(one) for one in value]}}
        case Detected():
            data = json.loads(json.dumps(value.as_json() | {"file": job.request["file"]}))
            return {"files": [], "data": _in_clients_words(job, files, data)}
        case _:  # an animation, which lies there already
            return {"files": [_row(path) for path in (value.path, value.report)], "data": {"drawn": value.drawn}}


def _images(job: Job, files: JobFiles, ticket: Ticket, value: Generation | Edit) -> dict[str, Any]:
    format, whose = job.request["format"], job.request["include_identity"]  # noqa: A001 (the writer's own word)
    if isinstance(value, Generation):
        contents = writer.files_of(value, people=ticket.people, format=format, identity=whose)
    else:
        contents = writer.files_of_edit(value, format=format, names=False)
    facts: list[dict[str, Any]] = [{"seed": seed} for seed in value.seeds]
    for row, likeness in zip(facts, value.likeness or [math.nan] * len(facts), strict=True):
        row["likeness"] = None if math.isnan(likeness) else round(float(likeness), 4)
    if isinstance(value, Generation):
        for row, person in zip(facts, value.people, strict=True):
            row["person"] = person
    places = _write_files(files.results_folder(job), contents, format)
    return {"files": [_row(path) | row for path, row in zip(places, facts, strict=True)], "data": {}}


def _in_clients_words(job: Job, files: JobFiles, value: Any) -> Any:
    """JSON whose texts name the client's files as the client does."""
    match value:
        case str():
            return files.in_clients_words(job, value)
        case list():
            return [_in_clients_words(job, files, one) for one in value]
        case dict():
            return {name: _in_clients_words(job, files, one) for name, one in value.items()}
        case _:
            return value


def _people(folder: Path, people: Iterable[Identity]) -> dict[str, Any]:
    some = list(people)
    places = _write_files(folder, (identity.encode(one) for one in some), "identity")
    return {"files": [_row(path) for path in places], "data": {"people": [describe.person(one) for one in some]}}


def _write_files(folder: Path, contents: Iterable[bytes], ending: str) -> Iterator[Path]:
    for number, content in enumerate(contents):
        yield writer.write(folder / f"{number}.{ending}", content)


def _row(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {
        "name": path.name,
        "media_type": MEDIA_TYPES[path.suffix[1:]],
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
