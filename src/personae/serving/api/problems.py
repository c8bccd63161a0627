"""Errors as answers: `{"error": {"type": "BadOption", "message": "..."}}`, and a status that says whose fault."""

import logging
import math
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from personae.errors import BadOutput, PersonaeError, QueueFull, Refused
from personae.serving.jobs.store import LimitReached

_log = logging.getLogger(__name__)
# What an error of ours means to a client; all others are 422: what was sent cannot be done.
_STATUS: tuple[tuple[type[PersonaeError], int], ...] = (
    (LimitReached, 429),
    (QueueFull, 503),
    (BadOutput, 503),
    (Refused, 403),
)
_NAMES = {
    400: "BadRequest",
    401: "KeyMissing",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    408: "TooSlow",
    413: "TooLarge",
    415: "UnknownMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    503: "Busy",
}


class Problem(HTTPException):
    """An answer that says what was wrong. retry_after: seconds."""

    def __init__(self, status: int, message: str, *, retry_after: float | None = None) -> None:
        headers = {} if retry_after is None else {"Retry-After": str(math.ceil(retry_after))}
        if status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        super().__init__(status, message, headers)


def answer(status: int, kind: str, message: str, headers: Any = None) -> JSONResponse:
    """One error."""
    return JSONResponse({"error": {"type": kind, "message": message}}, status, headers)


def install(app: FastAPI) -> None:
    """Let an application answer every error in this form."""

    @app.exception_handler(PersonaeError)
    async def of_personae(request: Request, error: PersonaeError) -> JSONResponse:
        status = next((status for kind, status in _STATUS if isinstance(error, kind)), 422)
        headers = {"Retry-After": str(math.ceil(getattr(error, "retry_after", 5)))} if status in (429, 503) else None
        message = str(error)
        if isinstance(error, BadOutput):  # whose words name the server's folders
            _log.error("a request could not be stored", exc_info=error)
            message = "the server cannot store this now"
        return answer(status, type(error).__name__, message, headers)

    @app.exception_handler(HTTPException)
    async def of_http(request: Request, error: HTTPException) -> JSONResponse:
        return answer(error.status_code, _NAMES.get(error.status_code, "Error"), str(error.detail), error.headers)

    @app.exception_handler(RequestValidationError)
    async def of_parameters(request: Request, error: RequestValidationError) -> JSONResponse:
        return answer(422, "Invalid", words_of(error.errors()))


def words_of(faults: Any) -> str:
    """What is wrong with fields, in one line, without the values."""
    rows = [f"{'.'.join(map(str, one['loc'])) or 'the body'}: {one['msg']}" for one in faults]
    return "; ".join(rows[:8]) + (f"; and {len(rows) - 8} more" if len(rows) > 8 else "")
