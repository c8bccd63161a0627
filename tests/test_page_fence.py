"""What the page answers: none of Gradio's ways to have an address opened, and no other site's page."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

gradio = pytest.importorskip("gradio", reason="the extra page is not installed")

from personae.serving.page.app import look  # noqa: E402
from personae.serving.page.fence import is_needed  # noqa: E402

EVIL = "https://evil.example/x.png"


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that Gradio was made to open."""
    found: list[str] = []

    async def fetch(address: str, request: Any) -> Any:
        found.append(address)
        return gradio.routes.HTMLResponse("<script>alert(1)</script>")

    monkeypatch.setattr(gradio.routes, "secure_url_stream_response", fetch)
    return found


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., TestClient]:
    """A client of an empty page, mounted as `look` says."""
    folder = tmp_path / "page"
    folder.mkdir()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder))

    def mounted(path: str, appearance: dict[str, Any]) -> TestClient:
        with gradio.Blocks(analytics_enabled=False) as page:
            page.load(lambda: "here", None, gradio.Textbox(), queue=False)
        return TestClient(
            gradio.mount_gradio_app(FastAPI(), page, path, **appearance), base_url="http://127.0.0.1:7860"
        )

    return mounted


ADDRESSES = (
    f"file={EVIL}",
    "file=http://evil.example/x.png",
    "file=https%3A%2F%2Fevil.example/x.png",
    "%66ile=https%3a//evil.example/x.png",
    "file%3Dhttps://evil.example/x.png",
    "file=HTTPS://evil.example/x.png",
    "file=//evil.example/x.png",
    "file=file:///etc/passwd",
    "file=/etc/passwd",
    "file=relative.png",
    f"file/{EVIL}",
    "proxy=https://evil.hf.space/x.png",
    "stream/a/b/1/playlist.m3u8",
    "deep_link?session_hash=a",
    "run-history/buckets",
    "api/predict",
    "call/predict/a",
    "vibe-code",
    "mcp/sse",
)


def test_no_address_is_opened(served: Callable[..., TestClient], fetched: list[str]) -> None:
    with served("/page", look()) as client:
        for address in ADDRESSES:
            assert client.get(f"/page/gradio_api/{address}").status_code == 403, address
            assert client.head(f"/page/gradio_api/{address}").status_code == 403, address
    assert fetched == []


def test_gradio_alone_would_open_it(served: Callable[..., TestClient], fetched: list[str]) -> None:
    """Otherwise the test above tests nothing, and the fence may go."""
    with served("/page", look() | {"app_kwargs": {}}) as client:
        assert "<script>" in client.get(f"/page/gradio_api/file={EVIL}").text
    assert fetched == [EVIL]


def test_recordings_are_not_worked_on(served: Callable[..., TestClient]) -> None:
    with served("/page", look()) as client:
        video = {"video": ("a.mp4", b"#EXTM3U\nhttp://evil.example/a.ts")}
        assert client.post("/page/gradio_api/process_recording", files=video).status_code == 403


def test_what_the_page_needs_is_there(served: Callable[..., TestClient]) -> None:
    with served("/page", look()) as client:
        assert client.get("/page/").status_code == 200
        assert client.get("/page/config").status_code == 200
        assert client.get("/page/gradio_api/info").status_code == 200
        assert client.get("/page/gradio_api/queue/status").status_code == 200
        call = {"data": [], "fn_index": 0, "session_hash": "a"}  # the way of what does not queue, as the Stop button
        assert client.post("/page/gradio_api/run/predict", json=call).json()["data"] == ["here"]
        [path] = client.post("/page/gradio_api/upload", files={"files": ("a b.png", b"x")}).json()
        assert client.get(f"/page/gradio_api/file={path}").content == b"x"
        beside = Path(path).parents[2] / "secret.png"
        beside.write_bytes(b"y")
        for other in (beside, f"{Path(path).parent}/../../secret.png"):
            assert client.get(f"/page/gradio_api/file={other}").status_code == 403


def test_a_folder_that_only_begins_alike_is_another() -> None:
    assert is_needed("/gradio_api/file=/tmp/page/a.png", "/tmp/page")
    assert not is_needed("/gradio_api/file=/tmp/page-of-ann/a.png", "/tmp/page")
    assert not is_needed("/page/gradio_api/file=/tmp/page/../a.png", "/tmp/page")
    assert not is_needed("/gradio_api/file=/tmp/page/b/../../a.png", "/tmp/page")


def test_a_page_alone_refuses_other_sites(served: Callable[..., TestClient]) -> None:
    here = "http://127.0.0.1:7860"
    with served("/", look(alone=True)) as client:
        assert client.get("/").status_code == 200
        assert client.get("/config", headers={"Origin": here}).status_code == 200
        assert client.get("/config", headers={"Host": "localhost:7860"}).status_code == 200
        assert client.get("/config", headers={"Host": "evil.example:7860"}).status_code == 400, "a name led here"
        assert client.get("/config", headers={"Origin": "https://evil.example"}).status_code == 403
        upload = {"files": ("a.png", b"x")}
        foreign = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "empty"}
        assert client.post("/gradio_api/upload", files=upload, headers=foreign).status_code == 403
        link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
        assert client.get("/", headers=link).status_code == 200
        assert client.get("/config", headers=link).status_code == 403
        assert client.get("/", headers=link | {"Sec-Fetch-Dest": "iframe"}).status_code == 403
