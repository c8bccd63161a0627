"""The page at `/page` of a server: built once the models are ready, so that it keeps nobody waiting for them.

page = PageMount(settings.state / "page", most_bytes=settings.most_bytes)
app.mount(PATH, page)
async with page.life(engine): ...     # 503 until it is built

It has no login, so that only a server may have it that this machine alone can reach: `reason_against`.
"""

import asyncio
import contextlib
import logging
import shutil
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from personae.serving.api.settings import Settings, is_loopback
from personae.serving.engine.engine import Engine

PATH = "/page"
_LOOK = 0.1  # seconds between two looks at whether the models are ready
_PRESSES = 8  # of buttons, carried out at one time: as `personae page`
_log = logging.getLogger(__name__)


def reason_against(settings: Settings) -> str | None:
    """Why a server has no page; None: it has one."""
    if not settings.page:
        return "it is switched off"
    if settings.keys or settings.allowed_hosts or not is_loopback(settings.host):
        return "it has no login, and others may reach this server"
    if find_spec("gradio") is None:
        return "it needs Gradio: pip install 'personae[page]'"
    return None


class PageMount:
    """What stands at `/page`: a word of patience, and Gradio's application once it is there.

    folder: of uploads, results and the record of consent; the first two are removed at both ends of its life.
    most_bytes: of an upload.
    """

    def __init__(self, folder: Path, *, most_bytes: int) -> None:
        self.complete = threading.Event()
        self._folder, self._most_bytes = folder, most_bytes
        self._app: ASGIApp = _notice("The page is being loaded.", refresh=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        await self._app(scope, receive, send)

    @asynccontextmanager
    async def life(self, engine: Engine) -> AsyncIterator[None]:
        """For the time of the block: builds the page in the background when the engine is ready, and serves it."""
        task = asyncio.create_task(self._live(engine))
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _live(self, engine: Engine) -> None:
        files = self._folder / "files"
        while not engine.ready:
            await asyncio.sleep(_LOOK)
        try:
            shutil.rmtree(files, ignore_errors=True)  # of a process that was killed
            holder = await run_in_threadpool(self._build, engine, files)
            async with holder.router.lifespan_context(holder):
                [mount] = [route for route in holder.routes if isinstance(route, Mount)]
                self._app = mount.app
                self.complete.set()
                await asyncio.Event().wait()  # until it is cancelled
        except Exception:  # the server goes on without it
            _log.exception("the page cannot be served")
            self._app = _notice("The page cannot be served: the server's log says why.")
        finally:
            shutil.rmtree(files, ignore_errors=True)

    def _build(self, engine: Engine, files: Path) -> FastAPI:
        """An application that holds the page alone, with its life."""
        import gradio  # late: seconds, and 200 MiB

        from personae.serving.page import blocks, look

        page = blocks(engine, folder=files, consent=self._folder / "consent.jsonl")
        page.queue(default_concurrency_limit=_PRESSES)
        appearance: dict[str, Any] = look() | {"max_file_size": self._most_bytes}
        holder = FastAPI(openapi_url=None)
        return gradio.mount_gradio_app(holder, page, path=PATH, **appearance)


def _notice(sentence: str, *, refresh: bool = False) -> HTMLResponse:
    """A sentence instead of the page. refresh: the browser looks again by itself."""
    headers = {"Retry-After": "2", "Refresh": "2"} if refresh else {}
    content = f'<!doctype html><html lang="en"><title>personae</title><p>{sentence}</p>'
    return HTMLResponse(content, 503, headers)
