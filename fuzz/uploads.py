"""Requests to the server, as bytes: changed forms around changed files, to every address that takes files.

A whole server is behind them, on a tiny model: what is accepted is carried out, and has to end.
"""

import asyncio
import io
import json
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fuzz.mutate import changed, mutated

BOUNDARY = b"personae"
_PATIENCE = 20  # seconds for a job to end
_SMALL = {"num_inference_steps": 1}
# An address, and a request to it that is right; files by the kind of their seed.
REQUESTS: tuple[tuple[str, dict[str, Any], dict[str, str]], ...] = (
    ("read", {"consent": True, "photo": "a.png"}, {"a.png": "photo"}),
    ("generate", {"consent": True, "people": ["a.png", "b.identity"], "seed": 1, "options": _SMALL},
     {"a.png": "photo", "b.identity": "identity"}),
    ("generate", {"consent": True, "people": ["b.identity"],
                  "options": _SMALL | {"image": "a.png", "mask_image": "m.png", "height": 80, "width": 120}},
     {"a.png": "photo", "b.identity": "identity", "m.png": "photo"}),
    ("edit", {"consent": True, "task": "swap", "source": "a.png", "target": "b.jpg", "options": _SMALL},
     {"a.png": "photo", "b.jpg": "photo"}),
    ("edit", {"consent": True, "task": "inpaint", "target": "a.png", "mask": "m.png", "options": _SMALL},
     {"a.png": "photo", "m.png": "photo"}),
    ("animate", {"consent": True, "source": "a.png", "driver": "d.mp4", "frames": [0, 2]},
     {"a.png": "photo", "d.mp4": "video"}),
    ("animate", {"consent": True, "source": "a.png", "driver": "d.json"}, {"a.png": "photo", "d.json": "track"}),
    ("identities/mean", {"consent": True, "people": ["a.identity", "b.identity"]},
     {"a.identity": "identity", "b.identity": "identity"}),
    ("identities/blend", {"consent": True, "first": "a.png", "second": "b.identity"},
     {"a.png": "photo", "b.identity": "identity"}),
    ("detect", {"file": "x.png"}, {"x.png": "recipe"}),
    ("detect", {"file": "x.mp4"}, {"x.mp4": "video"}),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Server:
    """An application, its parts, and the loop that it is called in."""

    app: Any
    service: Any
    loop: asyncio.AbstractEventLoop

    @classmethod
    def on_a_tiny_model(cls, folder: Path) -> "Server":
        """It runs until the process ends."""
        from model_fixtures import nano_parts
        from personae.pipeline import FacePipeline
        from personae.reading.reader import FaceReader
        from personae.serving.api.app import create_app
        from personae.serving.api.service import running
        from personae.serving.api.settings import Settings
        from reading_fixtures import tiny_reader_folder

        logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it has a word for every torn form
        tiny_reader_folder(folder)
        reader = FaceReader.from_folder(folder / "reader", threads=1)

        def tiny() -> FacePipeline:
            pipe = FacePipeline(**nano_parts(), reader=reader, steps=2)
            pipe.set_progress_bar_config(disable=True)
            return pipe

        settings = Settings(models={"tiny": tiny}, state=folder / "state", most_bytes=1 << 20, results_for=600)
        parts = running(settings)
        service = parts.__enter__()
        service.engine.wait_until_ready()
        app = create_app(settings, service)
        app.state.service = service
        app.state.parts = parts  # which would end with the last reference to them
        return cls(app=app, service=service, loop=asyncio.new_event_loop())

    def post(self, path: str, kind: bytes, body: bytes, rng: random.Random) -> tuple[int, bytes]:
        """Status and content of one answer; the body comes in pieces."""
        return self.loop.run_until_complete(self._post(path, kind, body, rng))

    async def _post(self, path: str, kind: bytes, body: bytes, rng: random.Random) -> tuple[int, bytes]:
        pieces, answer = list(_pieces(body, rng)), []

        async def receive() -> dict[str, Any]:
            if pieces:
                return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}
            await asyncio.sleep(3600)
            raise AssertionError("asked for more than there is, for an hour")

        async def send(message: dict[str, Any]) -> None:
            answer.append(message)

        headers = [(b"host", b"127.0.0.1"), (b"content-type", kind)]
        own = {"path": path, "raw_path": path.encode(), "method": "POST", "headers": headers}
        fixed = {"type": "http", "http_version": "1.1", "scheme": "http", "root_path": ""}
        fixed["query_string"] = f"wait={_PATIENCE}".encode()
        await self.app({**fixed, **own, "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1)}, receive, send)
        return answer[0]["status"], b"".join(one.get("body", b"") for one in answer[1:])


def target(folder: Path) -> dict[str, Any]:
    """The two halves of a `fuzz.targets.Target`."""
    server = Server.on_a_tiny_model(folder)
    space = server.service.engine.facts["tiny"].identity_space
    return {"once": once_of(seeds(folder, space)), "read": read_of(server, folder / "state")}


def seeds(folder: Path, space: str) -> dict[str, list[bytes]]:
    """Small files of every kind that a request may carry; identities of `space`."""
    from fractions import Fraction

    from personae import identity
    from personae.io import video_file
    from personae.provenance import writer
    from personae.provenance.marks import Marks
    from personae.types import Identity
    from personae.video import motion_track

    face = np.full((80, 120, 3), 90, np.uint8)
    face[20:62, 30:70] = 255  # what the tiny reader takes for one
    photos = [_encoded(Image.fromarray(face), kind) for kind in ("PNG", "JPEG", "WEBP")]
    facts = {"task": "generate", "seed": 7, "model": {"name": "nano", "sha256": "0" * 64}, "settings": {}}
    marked = [writer.encode(Image.fromarray(face), kind, facts, marks=Marks(c2pa=False)) for kind in ("png", "jpg")]
    video = video_file.write(folder / "v.mp4", [face] * 3, fps=Fraction(25), notes={}, force=True).read_bytes()
    motion = np.zeros((2, len(motion_track.COLUMNS)))
    motion_track.save(folder / "t.json", motion_track.Track(fps=Fraction(25), motion=motion))
    someone = identity.encode(Identity(vector=np.eye(1, 128, dtype=np.float32)[0], space=space))
    return {
        "photo": photos,
        "recipe": [*photos, *marked],
        "video": [video],
        "track": [(folder / "t.json").read_bytes()],
        "identity": [someone],
    }


def once_of(files: dict[str, list[bytes]]) -> Callable[[random.Random], bytes]:
    """An input: the address and the media type in a line each, then the body."""

    def once(rng: random.Random) -> bytes:
        path, request, named = rng.choice(REQUESTS)
        if rng.random() < 0.4:
            request = changed(json.loads(json.dumps(request)), rng)
        parts = [(b'form-data; name="request"', json.dumps(request).encode())]
        for name, kind in named.items():
            content = rng.choice(files[kind])
            if rng.random() < 0.5:
                content = mutated(content, rng)
            parts.append((f'form-data; name="files"; filename="{name}"'.encode(), content))
        body = b"".join(
            b"--" + BOUNDARY + b"\r\nContent-Disposition: " + head + b"\r\n\r\n" + content + b"\r\n"
            for head, content in parts
        )
        body += b"--" + BOUNDARY + b"--\r\n"
        media = b"multipart/form-data; boundary=" + BOUNDARY
        if rng.random() < 0.3:
            body = mutated(body, rng)
        if rng.random() < 0.05:
            media = mutated(media, rng).replace(b"\n", b"")
        return b"\n".join((f"/v1/{path}".encode(), media, body))

    return once


def read_of(server: Server, state: Path) -> Callable[[bytes], object]:
    """Send an input, wait for its job's end, forget it. Raises `BadData` for what the server refuses, in its words;
    `AssertionError` for what nobody should meet."""
    from personae.errors import BadData

    def send(content: bytes) -> object:
        path, media, body = content.split(b"\n", 2)
        status, answer = server.post(path.decode(), media, body, random.Random(len(content)))
        assert status in (200, 400, 403, 408, 413, 415, 422), f"answered {status}: {answer[:300]!r}"
        found = json.loads(answer)
        if status == 200:
            assert found["status"] in ("done", "failed"), f"the job did not end: {found}"
            server.service.runner.delete(server.service.store.get(found["id"]))
        left = list((state / "jobs").iterdir())
        assert not left, f"files stay: {left}"
        if error := found.get("error"):
            assert error["type"] != "ServerError", f"a bug of ours: {found}"
            assert error["message"], "an error without a word"
            raise BadData(error["message"])
        return status

    return send


def _pieces(body: bytes, rng: random.Random) -> list[bytes]:
    cuts = sorted(rng.randrange(len(body) + 1) for _ in range(rng.choice((0, 0, 1, 3))))
    return [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]


def _encoded(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()
