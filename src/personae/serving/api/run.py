"""The server's process: uvicorn around the application, and a word when it serves."""

import gc
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import uvicorn

from personae.errors import BadOption
from personae.serving.api.app import create_app
from personae.serving.api.page_mount import PATH, PageMount
from personae.serving.api.service import Service, running
from personae.serving.api.settings import Settings

_CONNECTIONS = 1024  # at one time; more are answered with 503
_IDLE = 15  # seconds that an idle connection stays


def run(settings: Settings, *, ready: Callable[[str], None] | None = None) -> None:
    """Serve until a signal ends it, in order: what is at work is queued again, the database is closed. ready: hears
    where, once the models are loaded.

    Raises `BadOption` if the address is taken; what kept the server from starting.
    """
    # What is wrong is one error, before anything listens.
    with _orderly_at_sigterm(), running(settings) as service:
        _serve(settings, service, ready)


@contextmanager
def _orderly_at_sigterm() -> Iterator[None]:
    """Let SIGTERM leave the blocks that it comes in, instead of ending the process at once: uvicorn raises it again
    when it has closed its connections, but before anybody else could close anything."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: object) -> NoReturn:
        raise SystemExit(0)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _serve(settings: Settings, service: Service, ready: Callable[[str], None] | None) -> None:
    app = create_app(settings, service)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_level="warning",
        access_log=False,  # addresses hold ids of jobs
        limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=_IDLE,
        timeout_graceful_shutdown=5,
        server_header=False,
    )
    server = _Server(config)
    watcher = threading.Thread(target=_watch, args=(service, server, app.state.page, ready), daemon=True)
    server.on_startup = watcher.start
    server.run()
    if server.failure is not None:
        raise server.failure


class _Server(uvicorn.Server):
    """Uvicorn's own, which says where it listens, and why it does not."""

    failure: BaseException | None = None
    on_startup: Callable[[], None] | None = None

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        try:
            await super().startup(sockets)  # type: ignore[arg-type]
        except SystemExit:  # it has logged why: the address is taken
            self.failure = BadOption(
                f"nothing can listen at {self.config.host}:{self.config.port}: another program does, or it is not an "
                "address of this machine; choose another --port"
            )
            self.should_exit = True
            return
        if self.on_startup is not None and self.started:
            self.on_startup()


def _watch(service: Service, server: _Server, page: PageMount | None, ready: Callable[[str], None] | None) -> None:
    """Wait for the models, then for the page, in a thread of its own: the server answers meanwhile."""
    try:
        service.engine.wait_until_ready()
    except BaseException as error:  # of whatever kind: without models it serves nobody
        server.failure = error
        server.should_exit = True
        return
    gc.collect()
    gc.freeze()  # what is there now stays: no later search looks through it
    gc.enable()
    if ready is None:
        return
    addresses = [address_of(*socket.getsockname()[:2]) for one in server.servers for socket in one.sockets]
    for address in addresses:
        ready(f"serving at {address}")
    if page is not None and page.complete.wait():
        for address in addresses:
            ready(f"the page is at {address}{PATH}")


def address_of(host: str, port: int) -> str:
    """What a browser takes: an IPv6 host stands in brackets."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
