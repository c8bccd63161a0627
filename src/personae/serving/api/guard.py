"""What stands before every address: other sites' pages are refused, answers get headers, all are counted."""

import logging

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from personae.serving.api.page_mount import PATH
from personae.serving.api.problems import answer
from personae.serving.cross_site import is_cross_site

_log = logging.getLogger(__name__)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "frame-ancestors 'none'",
}


class Guard:
    """Around an application whose `state.service` counts."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        metrics = scope["app"].state.service.metrics  # now: an application that is mounted puts itself there

        begun = False

        async def send_counted(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                metrics.requests.labels(_address(scope), str(message["status"])).inc()
            await send(message)

        if is_cross_site(scope, pages=(PATH, f"{PATH}/")):
            refusal = answer(403, "Forbidden", "requests of other sites' pages are refused")
            await refusal(scope, receive, send_counted)
            return
        try:
            await self._app(scope, receive, send_counted)
        except ClientDisconnect:  # whoever sent it has hung up: there is nobody to answer, and nothing to mend
            if not begun:
                metrics.requests.labels(_address(scope), "499").inc()
        except Exception:  # a bug: in our form, and counted, as any other answer
            if begun:
                raise
            _log.exception("a request could not be answered")
            fault = answer(500, "ServerError", "the server could not do this: its log says why")
            await fault(scope, receive, send_counted)


def _address(scope: Scope) -> str:
    """What a request is counted under: never the address itself, of which there are any number."""
    if scope["path"].startswith(f"{PATH}/"):
        return PATH
    return getattr(scope.get("route"), "path", "other")
