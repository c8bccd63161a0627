"""Who asks, and may they: what every address of `/v1` depends on.

async def jobs(service: Serves, owner: Owner) -> ...
"""

from typing import Annotated

from fastapi import Depends, Path, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.security import APIKeyHeader, HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials

from personae.serving.api.keys import LOCAL
from personae.serving.api.problems import Problem
from personae.serving.api.service import Service
from personae.serving.jobs.record import Job

_BEARER = HTTPBearer(auto_error=False, description="Authorization: Bearer KEY, where the server has keys.")
_HEADER = APIKeyHeader(name="X-API-Key", auto_error=False, description="The same in a header of its own.")


def service_of(request: Request) -> Service:
    """The server's parts."""
    service: Service = request.app.state.service
    return service


Serves = Annotated[Service, Depends(service_of)]


def owner_of(
    service: Serves,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
    header: Annotated[str | None, Depends(_HEADER)],
) -> str:
    """Whose request it is. Raises `Problem`: 401 without a right key, 429 beyond its limit."""
    keys = service.settings.keys
    if not keys:
        return LOCAL
    key = header if bearer is None else bearer.credentials
    owner = keys.owner_of(key) if key else None
    if owner is None:
        raise Problem(401, "this server wants a key: send the header Authorization: Bearer KEY")
    if (wait := keys.spend(owner)) > 0:
        raise Problem(429, f"too many requests with this key: ask again in {wait:.0f} seconds", retry_after=wait)
    return owner


Owner = Annotated[str, Depends(owner_of)]


async def job_of(
    service: Serves, owner: Owner, job: Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="A job's id.")]
) -> Job:
    """A job of whoever asks. Raises `Problem`: 404 for one that there is not, or that is somebody else's."""
    found = await run_in_threadpool(service.get, job)
    if found is None or found.owner != owner:
        raise Problem(404, "there is no such job: it never was, or its time is over")
    return found


OwnJob = Annotated[Job, Depends(job_of)]
