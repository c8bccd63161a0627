"""The body of a request, read within bounds: a form with files, or JSON with files in base64.

body = await read_body(request, GenerateBody, settings)
body.fields, body.files, body.digest

curl -F request='{"consent": true, "people": ["me.jpg"]}' -F files=@me.jpg http://127.0.0.1:8000/v1/generate
"""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from pydantic import ValidationError
from pydantic_core import from_json
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.types import Message

from personae.serving.api.bodies import Body
from personae.serving.api.problems import Problem, words_of
from personae.serving.api.settings import MIB, Settings

MOST_FILES = 32
MOST_JSON = 16 * MIB  # with files in base64, all of which is in memory at once
_MOST_TEXT = MIB  # of the request without its files: the largest that makes sense has half of it
_MOST_NAMES = 4096  # of fields, in all: an error is made for each that nobody knows
_MOST_FAULTS = 100  # that are looked at: a list of a million numbers may have one in each
_FIELDS = ("request", "files")


@dataclass(frozen=True, kw_only=True)
class RequestBody:
    """A request's fields, its files by name, and the hash of all of it."""

    fields: Body
    files: dict[str, bytes]
    digest: str


async def read_body(request: Request, kind: type[Body], settings: Settings) -> RequestBody:
    """Raises `Problem`: 408 for a body that comes too slowly, 413 for one that is too large, 415, 422."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    readers = {"application/json": _of_json, "multipart/form-data": _of_form}
    if media not in readers:
        raise Problem(415, f"send multipart/form-data or application/json, got {media[:100] or 'no content type'!r}")
    try:
        text, files = await readers[media](Request(request.scope, _paced(request.receive, settings)), settings)
    except TimeoutError:
        raise Problem(
            408,
            f"the request's body came too slowly: it may pause for {settings.body_seconds:.0f} seconds, and takes at "
            f"least {settings.body_rate / 1024:.0f} KiB a second",
        ) from None
    # Megabytes are parsed and hashed: in a thread, while others are answered.
    return await run_in_threadpool(_body_of, kind, text, files)


def _paced(receive: Callable[[], Awaitable[Message]], settings: Settings) -> Callable[[], Awaitable[Message]]:
    """What receives a body, and raises `TimeoutError` if it pauses, or comes more slowly than the lowest rate."""
    began, size = time.monotonic(), 0

    async def receive_in_time() -> Message:
        nonlocal size
        async with asyncio.timeout(settings.body_seconds):
            message = await receive()
        size += len(message.get("body", b""))
        seconds = time.monotonic() - began
        if message.get("more_body") and seconds > settings.body_seconds and size < settings.body_rate * seconds:
            raise TimeoutError
        return message

    return receive_in_time


async def _of_json(request: Request, settings: Settings) -> tuple[bytes, dict[str, bytes] | None]:
    text = bytearray()
    async for chunk in request.stream():
        text += chunk
        if len(text) > min(MOST_JSON, settings.most_bytes):
            raise Problem(413, f"JSON may be {MOST_JSON // MIB} MiB: send files as parts of a form")
    return bytes(text), None


async def _of_form(request: Request, settings: Settings) -> tuple[bytes, dict[str, bytes] | None]:
    try:
        async with request.form(max_files=MOST_FILES, max_fields=1, max_part_size=_MOST_TEXT) as form:
            for name in form:
                if name not in _FIELDS:
                    raise Problem(422, f"a form has the parts 'request' and 'files', got {name[:100]!r}")
            text = form.get("request")
            if not isinstance(text, str):
                raise Problem(422, "the part 'request' of a form is the request's JSON")
            files = {}
            for part in form.getlist("files"):
                if not isinstance(part, UploadFile) or not part.filename:
                    raise Problem(422, "the parts 'files' of a form are files with a name")
                if part.filename in files:
                    raise Problem(422, f"two files are called {part.filename[:100]!r}: each needs a name of its own")
                files[part.filename] = await part.read()
    except HTTPException as error:
        if isinstance(error, Problem) or error.status_code != 400:
            raise
        raise Problem(422, f"the form cannot be read: {error.detail}") from error
    return text.encode(), files


def _body_of(kind: type[Body], text: bytes, files: dict[str, bytes] | None) -> RequestBody:
    """files: of a form; None: they are in the text."""
    _require_small(text)
    try:
        fields = kind.model_validate_json(text)
    except ValidationError as error:
        count = error.error_count()
        if count > _MOST_FAULTS:
            raise Problem(422, f"{count} things are wrong with it: /openapi.json says what may be sent") from None
        raise Problem(422, words_of(error.errors(include_url=False, include_input=False))) from error
    except (ValueError, RecursionError) as error:
        raise Problem(422, "the request is no JSON") from error
    if files is None:
        files = dict(fields.files or {})
    elif fields.files:
        raise Problem(422, "files of a form are its parts: leave the field 'files' out")
    return RequestBody(fields=fields, files=files, digest=_digest(kind, fields, files))


def _require_small(text: bytes) -> None:
    """Raise `Problem` for a request whose text without files, or number of names, is none that makes sense: finding out
    what is wrong with it would take more than it is worth."""
    try:
        whole = from_json(text)
    except ValueError as error:
        raise Problem(422, "the request is no JSON") from error
    files = whole.get("files") if isinstance(whole, dict) else None
    encoded = sum(len(one) for one in files.values() if isinstance(one, str)) if isinstance(files, dict) else 0
    if len(text) - encoded > _MOST_TEXT:
        raise Problem(413, f"a request may be {_MOST_TEXT // MIB} MiB without its files")
    left, names = [whole], 0
    while left:
        one = left.pop()
        if isinstance(one, dict):
            names += len(one)
            left += one.values()
        elif isinstance(one, list):
            left += one
        if names > _MOST_NAMES:
            raise Problem(422, f"a request may have {_MOST_NAMES} fields in all, those within others counted")


def _digest(kind: type[Body], fields: Body, files: dict[str, bytes]) -> str:
    """The same for the same request: what an idempotency key stands for."""
    whole = hashlib.sha256(f"{kind.__name__}\0".encode())
    whole.update(fields.model_dump_json(exclude={"files"}).encode())
    for name, content in sorted(files.items()):
        whole.update(name.encode(errors="replace") + hashlib.sha256(content).digest())
    return whole.hexdigest()
