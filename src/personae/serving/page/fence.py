"""What stands before Gradio's application: of the addresses that it answers, those that the page needs, and no other.

Gradio fetches `gradio_api/file=https://...` for whoever asks, and answers it as if it were its own; other addresses
hand on what other servers say, run programs on what is sent, or talk to a hub.
"""

from __future__ import annotations

import os
from pathlib import Path

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from personae.serving.cross_site import is_cross_site

_BELOW, _FILE = "/gradio_api/", "file="
_NEEDED = frozenset(
    {
        *("app_id", "cancel", "component_server", "heartbeat", "info", "queue", "reset", "run", "startup-events"),
        *("theme.css", "upload", "upload_progress"),
    }
)


class Fence:
    """Middleware of Gradio's application. alone: it has no server around it that refuses other sites' pages."""

    def __init__(self, app: ASGIApp, *, alone: bool = False) -> None:
        self._app, self._alone = app, alone

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        reason = self._reason_against(scope) if scope["type"] == "http" else None
        if reason is None:
            await self._app(scope, receive, send)
        else:
            await PlainTextResponse(reason, 403)(scope, receive, send)

    def _reason_against(self, scope: Scope) -> str | None:
        if self._alone and is_cross_site(scope, pages=("/",)):
            return "requests of other sites' pages are refused"
        return None if is_needed(scope["path"], scope["app"].uploaded_file_dir) else "the page has no such address"


def is_needed(path: str, folder: str) -> bool:
    """Whether the page needs an address. path: of a request, decoded, as Gradio's routes see it. folder: the page's
    own, the only one whose files are named: an address, or a share of another machine, lies elsewhere."""
    _, below, rest = path.partition(_BELOW)
    if not below:
        return True
    if rest.startswith(_FILE):
        return Path(os.path.normpath(rest.removeprefix(_FILE))).is_relative_to(folder)
    return rest.partition("/")[0] in _NEEDED
