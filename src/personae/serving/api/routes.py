"""POST /v1/read, /v1/generate, /v1/edit, ...: every one makes a job, and may wait for it."""

import secrets
import time
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from personae.serving.api.access import Owner, Serves
from personae.serving.api.bodies import BODIES, EXAMPLES, PATHS, Body
from personae.serving.api.events import wait_for_end
from personae.serving.api.problems import Problem
from personae.serving.api.uploads import read_body
from personae.serving.api.views import JobView, ProblemView, job_view
from personae.serving.jobs.record import Job

router = APIRouter(tags=["requests"])
Responses = dict[int | str, dict[str, Any]]
Wait = Annotated[float, Query(ge=0, le=60, description="Seconds to wait for the job's end before the answer.")]
IdempotencyKey = Annotated[
    str | None,
    Header(min_length=1, max_length=200, description="The same key and request again: the same job, begun once."),
]

_WORDS = {
    401: "A key is missing or wrong.",
    408: "The request's body came too slowly.",
    413: "The request is too large.",
    415: "Neither a form nor JSON.",
    422: "What was sent cannot be done; the message says why.",
    429: "Too many requests with this key, or jobs of it; see Retry-After.",
    503: "The queue is full; see Retry-After.",
}
PROBLEMS: Responses = {status: {"model": ProblemView, "description": words} for status, words in _WORDS.items()}
_ENDED: Responses = {200: {"model": JobView, "description": "The job, ended while it was waited for."}}


def problems_of(*statuses: int) -> Responses:
    """Some of `PROBLEMS`."""
    return {status: PROBLEMS[status] for status in statuses}


def _body_schema(kind: str) -> dict[str, Any]:
    """How OpenAPI describes a body that this file reads by itself."""
    of_kind = {"$ref": f"#/components/schemas/{BODIES[kind].__name__}"}
    form = {
        "type": "object",
        "required": ["request"],
        "additionalProperties": False,
        "properties": {
            "request": of_kind | {"description": "The request's fields, as JSON; without `files`."},
            "files": {"type": "array", "maxItems": 32, "items": {"type": "string", "format": "binary"}},
        },
    }
    return {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": form,
                    "encoding": {"request": {"contentType": "application/json"}},
                    "example": {"request": EXAMPLES[kind]},
                },
                "application/json": {"schema": of_kind, "example": EXAMPLES[kind]},
            },
        }
    }


def _route(kind: str, body: type[Body]) -> None:
    async def make_job(
        request: Request,
        response: Response,
        service: Serves,
        owner: Owner,
        wait: Wait = 0,
        idempotency_key: IdempotencyKey = None,
    ) -> JobView:
        whole = await read_body(request, body, service.settings)
        if whole.fields.model is not None and whole.fields.model not in service.engine.models:
            raise Problem(422, f"there is no model {whole.fields.model!r}: /v1/models names them")
        job = Job(
            id=secrets.token_hex(16),
            kind=kind,
            owner=owner,
            request=whole.fields.model_dump(mode="json", exclude={"files"}),
            created=time.time(),
            idempotency_key=idempotency_key,
            digest=whole.digest,
        )
        most = service.settings.keys.jobs_of(owner)
        accepted = await run_in_threadpool(service.runner.accept, job, whole.files, most_of_owner=most)
        if accepted.digest != job.digest:
            raise Problem(422, "this idempotency key came with another request before: draw a new one")
        if accepted.id != job.id:
            response.headers["Idempotency-Replayed"] = "true"
        with service.open_answers.place(owner) as free:  # beyond its share an owner is answered at once
            accepted = await wait_for_end(service, accepted, wait if free else 0)
        response.status_code = 200 if accepted.done else 202
        response.headers["Location"] = f"/v1/jobs/{accepted.id}"
        return job_view(accepted, service.live(accepted.id))

    summary = (body.__doc__ or "").split("\n")[0]
    router.add_api_route(
        PATHS[kind],
        make_job,
        methods=["POST"],
        name=kind,
        operation_id=kind,
        summary=summary,
        status_code=202,
        response_description="The job, on its way.",
        responses={**_ENDED, **PROBLEMS},
        openapi_extra=_body_schema(kind),
    )


for _kind, _body in BODIES.items():
    _route(_kind, _body)
