"""The application: what is put together, its life, and what stands before every address.

app = create_app(Settings())
uvicorn.run(app)
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Any

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.middleware.trustedhost import TrustedHostMiddleware

from personae.serving.api import info_routes, job_routes, problems, routes
from personae.serving.api.bodies import BODIES
from personae.serving.api.guard import Guard
from personae.serving.api.page_mount import PATH, PageMount, reason_against
from personae.serving.api.service import Service, running
from personae.serving.api.settings import Settings
from personae.version import __version__

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
_PROBLEM = {"$ref": "#/components/schemas/ProblemView"}
_ABOUT = """
Read faces, generate the people they belong to, edit photos of them. Every request makes a job: ask for its address,
follow its events, fetch its files. With `?wait=30` a short job is answered at once.

Photos come with the request that names them: as parts `files` of a form beside the part `request`, or in JSON as
base64.
""".strip()


def create_app(settings: Settings, service: Service | None = None) -> FastAPI:
    """A server's application. service: its parts, if they run already; None: they start with it, and end with it."""

    page = None
    if reason_against(settings) is None:
        page = PageMount(settings.state / "page", most_bytes=settings.most_bytes)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        parts = running(settings) if service is None else nullcontext(service)
        app.state.service = await run_in_threadpool(parts.__enter__)
        try:
            async with nullcontext() if page is None else page.life(app.state.service.engine):
                yield
        finally:
            await run_in_threadpool(parts.__exit__, None, None, None)

    app = FastAPI(
        title="personae",
        version=__version__,
        description=_ABOUT,
        lifespan=life,
        docs_url=None,  # its page takes scripts from another host
        redoc_url=None,
        max_body_size=settings.most_bytes,
        strict_content_type=False,
    )
    for one in (routes, job_routes, info_routes):
        app.include_router(one.router)
    app.state.page = page
    if page is not None:
        app.mount(PATH, page)
    problems.install(app)
    hosts = [*_LOOPBACK_NAMES, settings.host, *settings.allowed_hosts]
    app.add_middleware(Guard)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)
    app.openapi = lambda: _schema(app)  # type: ignore[method-assign]
    return app


def _schema(app: FastAPI) -> dict[str, Any]:
    """OpenAPI's description, with the bodies that the routes read by themselves."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        _, found = models_json_schema(
            [(body, "validation") for body in BODIES.values()], ref_template="#/components/schemas/{model}"
        )
        schema["components"]["schemas"] |= found["$defs"]
        for methods in schema["paths"].values():
            for operation in methods.values():
                for status, answer in operation["responses"].items():
                    if int(status) >= 400:  # FastAPI takes the address's own media type, an image's say
                        answer["content"] = {"application/json": {"schema": _PROBLEM}}
        app.openapi_schema = schema
    return app.openapi_schema
