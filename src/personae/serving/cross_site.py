"""Whether another site's page sends a request, with its visitor's browser: the browser says so in its headers."""

from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import Scope


def is_cross_site(scope: Scope, *, pages: Collection[str]) -> bool:
    """Whether another site's page sends this; what sends no such headers is no browser's page.

    pages: paths that a link of another site may open, in a window of its own.
    """
    headers = Headers(scope=scope)
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2] != headers.get("host"):
        return True
    if headers.get("sec-fetch-site", "none") in ("none", "same-origin"):
        return False
    opens = (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")) == ("navigate", "document")
    return not (opens and scope["method"] == "GET" and scope["path"] in pages)
