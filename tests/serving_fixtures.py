"""A server in this process, on a tiny real model, and a client of it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from personae.pipeline import FacePipeline
from personae.serving.api.app import create_app
from personae.serving.api.settings import Settings

ADDRESS = "http://127.0.0.1:8000"


@contextmanager
def server(pipe: FacePipeline, state: Path, **settings: Any) -> Iterator[TestClient]:
    """A client of a server whose models are warm."""
    own = {"models": {"tiny": lambda: pipe}, "state": state} | settings
    app = create_app(Settings(**own))
    with TestClient(app, base_url=ADDRESS, raise_server_exceptions=False) as client:
        assert app.state.service.engine.wait_until_ready(60)
        client.service = app.state.service
        yield client


def form(request: dict[str, Any], **files: bytes) -> dict[str, Any]:
    """What a client's `post` takes, of a request and its files by name."""
    parts = [("files", (name.replace("_", "."), content)) for name, content in files.items()]
    return {"files": [("request", (None, json.dumps(request))), *parts]}
