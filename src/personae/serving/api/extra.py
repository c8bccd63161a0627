"""Whether the packages are there that the server needs."""

from importlib.util import find_spec

from personae.errors import BadOption

_PACKAGES = ("fastapi", "limits", "multipart", "prometheus_client", "uvicorn")


def require_extra() -> None:
    """Raise `BadOption`, naming the extra, unless they are."""
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise BadOption(f"the server needs {', '.join(missing)}: pip install 'personae[serve]'")
