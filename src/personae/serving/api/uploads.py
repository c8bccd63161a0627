"""The body of a request, read within bounds: a form with files, or JSON with files in base64.

sent = await read_body(request, GenerateBody, settings)
sent.body, sent.files, sent.digest

curl -F request='{"consent": true, "people": ["me.jpg"]}' -F files=@me.jpg http://127.0.0.1:8000/v1/generate
"""

import asyncio
import hashlib
from dataclasses import dataclass

from fastapi import Request
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from personae.serving.api.bodies import Body
from personae.serving.api.problems import Problem, words_of
from personae.serving.api.settings import MIB, Settings

MOST_FILES = 32
MOST_JSON = 16 * MIB  # with files in base64, all of which is in memory at once
_MOST_TEXT = MIB  # of the part `request` of a form
_FIELDS = ("request", "files")


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A request's fields, its files by name, and the hash of all of it."""

    body: Body
    files: dict[str, bytes]
    digest: str


async def read_body(request: Request, kind: type[Body], settings: Settings) -> Sent:
    """Raises `Problem`: 408 for a body that comes too slowly, 413 for one that is too large, 415, 422."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    readers = {"application/json": _of_json, "multipart/form-data": _of_form}
    if media not in readers:
        raise Problem(415, f"send multipart/form-data or application/json, got {media[:100] or 'no content type'!r}")
    try:
        async with asyncio.timeout(settings.body_seconds):
            return await readers[media](request, kind, settings)
    except TimeoutError:
        raise Problem(408, f"the request's body did not come within {settings.body_seconds:.0f} seconds") from None


async def _of_json(request: Request, kind: type[Body], settings: Settings) -> Sent:
    text = bytearray()
    async for chunk in request.stream():
        text += chunk
        if len(text) > min(MOST_JSON, settings.most_bytes):
            raise Problem(413, f"JSON may be {MOST_JSON // MIB} MiB: send files as parts of a form")
    body = _parsed(kind, bytes(text))
    files = dict(body.files or {})
    return Sent(body=body, files=files, digest=_digest(kind, body, files))


async def _of_form(request: Request, kind: type[Body], settings: Settings) -> Sent:
    try:
        async with request.form(max_files=MOST_FILES, max_fields=1, max_part_size=_MOST_TEXT) as form:
            for name in form:
                if name not in _FIELDS:
                    raise Problem(422, f"a form has the parts 'request' and 'files', got {name[:100]!r}")
            text = form.get("request")
            if not isinstance(text, str):
                raise Problem(422, "the part 'request' of a form is the request's JSON")
            body = _parsed(kind, text.encode())
            if body.files:
                raise Problem(422, "files of a form are its parts: leave the field 'files' out")
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
    return Sent(body=body, files=files, digest=_digest(kind, body, files))


def _parsed(kind: type[Body], text: bytes) -> Body:
    try:
        body = kind.model_validate_json(text)
    except ValidationError as error:
        raise Problem(422, words_of(error.errors(include_url=False, include_input=False))) from error
    except (ValueError, RecursionError) as error:
        raise Problem(422, "the request is no JSON") from error
    return body


def _digest(kind: type[Body], body: Body, files: dict[str, bytes]) -> str:
    """The same for the same request: what an idempotency key stands for."""
    whole = hashlib.sha256(f"{kind.__name__}\0".encode())
    whole.update(body.model_dump_json(exclude={"files"}).encode())
    for name, content in sorted(files.items()):
        whole.update(name.encode(errors="replace") + hashlib.sha256(content).digest())
    return whole.hexdigest()
