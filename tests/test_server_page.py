"""The page inside `personae serve`: after the models, behind the server's guard, obeying what the operator forbids."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from personae.models import catalog
from personae.pipeline import FacePipeline
from personae.provenance.recipe import read_recipe
from personae.serving import DenyList
from personae.serving.api.keys import Key, Keys
from personae.serving.api.page_mount import reason_against
from personae.serving.api.settings import Settings

browser_tests = pytest.importorskip("test_page_browser", reason="gradio, playwright or axe is not installed")
browser = browser_tests.browser  # the fixture

FILTER = """
from pathlib import Path

def look(image):
    with Path({log!r}).open("a") as file:
        file.write("x")
"""
needs_chromium = pytest.mark.skipif(not browser_tests.CHROMIUM.is_file(), reason="needs Debian's chromium")


@dataclass(frozen=True, kw_only=True)
class Running:
    """A process of `personae serve`; what its page answered in the moment in which the models were ready."""

    address: str
    state: Path
    filtered: Path  # a letter for each picture that the operator's filter looked at
    at_ready: httpx.Response
    process: Any

    def end(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)


@pytest.fixture(scope="module")
def photos(nano: FacePipeline, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Of two people who do not exist."""
    from personae.gather import strangers

    assert nano.folder is not None
    folder = tmp_path_factory.mktemp("photos")
    found = {}
    for name, seed in (("ann", 5), ("bob", 8)):
        [image] = nano(strangers(nano.folder, 1, seed=seed), seed=seed).images
        found[name] = folder / f"{name}.png"
        image.resize((256, 256), Image.Resampling.LANCZOS).save(found[name])
    return found


@pytest.fixture(scope="module")
def running(nano: FacePipeline, photos: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with a page, on whose deny-list Ann is."""
    folder = tmp_path_factory.mktemp("server")
    [ann] = nano.read(photos["ann"])
    DenyList.of([ann.identity], threshold=0.9).save(folder / "denied.safetensors")
    (folder / "filters.py").write_text(FILTER.format(log=str(folder / "filtered")))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "personae", "serve", "--port", str(port), "--state", str(folder / "state")]
    words += ["--deny-list", str(folder / "denied.safetensors"), "--output-filter", "filters:look", "--most-mib", "2"]
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(words, env=os.environ | {"PYTHONPATH": path})
    address, until = f"http://127.0.0.1:{port}", time.monotonic() + 240
    try:
        while _status(f"{address}/readyz") != 200:
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.02)
        at_ready = httpx.get(f"{address}/page/")
        while _status(f"{address}/page/") != 200:
            assert time.monotonic() < until
            time.sleep(0.2)
        yield Running(
            address=address,
            state=folder / "state",
            filtered=folder / "filtered",
            at_ready=at_ready,
            process=process,
        )
    finally:
        process.kill()
        process.wait()


def _status(address: str) -> int:
    try:
        return httpx.get(address, timeout=60).status_code
    except httpx.TransportError:
        return 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"page": True}, None),
        ({"page": True, "host": "localhost"}, None),
        ({}, "switched off"),
        ({"page": True, "keys": Keys([Key.of("ann", "a" * 20)])}, "no login"),
        ({"page": True, "allowed_hosts": ("faces.example.org",)}, "no login"),
        ({"page": True, "host": "0.0.0.0", "keys": Keys([Key.of("ann", "a" * 20)])}, "no login"),
    ],
    ids=["here", "by-name", "switched-off", "keys", "other-hosts", "for-others"],
)
def test_who_has_a_page(settings: dict[str, Any], words: str | None) -> None:
    reason = reason_against(Settings(**settings))
    assert (reason is None) if words is None else words in str(reason)


@pytest.mark.timeout(600)
@needs_chromium
def test_the_page_through_the_server(browser: Any, running: Running, photos: dict[str, Path], tmp_path: Path) -> None:
    """It came after the models; one person is refused, the other made; nothing is fetched from elsewhere."""
    assert running.at_ready.status_code == 503
    assert "being loaded" in running.at_ready.text
    assert int(running.at_ready.headers["retry-after"]) >= 1
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB")
    visit = browser_tests.Visit(context.new_page(), f"{running.address}/page/")
    visit.address = running.address  # Gradio asks for a few things above its own path
    visit.upload("generate-photos", photos["ann"])
    visit.page.locator("#generate-photos img").first.wait_for()
    visit.agree("generate")
    visit.count("generate", 1)
    visit.page.locator("#generate-run").click()
    problem = visit.page.locator("#generate-status .p-error")
    browser_tests.sync_api.expect(problem).to_contain_text("deny-list")
    assert not running.filtered.exists()
    visit.page.reload()
    visit.page.wait_for_selector("#generate-run")
    visit.upload("generate-photos", photos["bob"])
    visit.page.locator("#generate-photos img").first.wait_for()
    visit.agree("generate")
    visit.count("generate", 1)
    visit.make("generate")
    with visit.page.expect_download() as download:
        visit.page.locator("#generate-results figure a[download]").first.click()
    download.value.save_as(tmp_path / "bob.png")
    assert read_recipe(tmp_path / "bob.png")["ai_generated"]
    assert Image.open(tmp_path / "bob.png").size == (catalog.MODELS["nano"].size,) * 2
    assert running.filtered.read_text() == "x"
    assert visit.elsewhere == []
    assert visit.errors == []
    context.close()
    assert (running.state / "page" / "consent.jsonl").read_text().count('"generate"') == 2


@pytest.mark.timeout(600)
def test_the_guard_stands_before_the_page(running: Running) -> None:
    page = httpx.get(f"{running.address}/page", follow_redirects=True)
    assert page.status_code == 200
    assert page.headers["referrer-policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    foreign = {"Origin": "https://evil.example"}
    upload = f"{running.address}/page/gradio_api/upload"
    file = {"files": ("x.png", b"x")}
    assert httpx.get(f"{running.address}/page/", headers=foreign).status_code == 403
    assert httpx.post(upload, files=file, headers=foreign).status_code == 403
    assert httpx.get(f"{running.address}/page/", headers={"Host": "evil.example"}).status_code == 400
    for address in ("https://evil.example/x.png", "http:%2F%2Fevil.example/x.png", str(running.state / "jobs.sqlite")):
        assert httpx.get(f"{running.address}/page/gradio_api/file={address}").status_code == 403
    [path] = httpx.post(upload, files=file).json()
    assert httpx.get(f"{running.address}/page/gradio_api/file={path}").content == b"x"
    assert Path(path).is_relative_to(running.state / "page" / "files")
    assert httpx.post(upload, files={"files": ("x.png", bytes(3 * 2**20))}).status_code == 413
    metrics = httpx.get(f"{running.address}/metrics").text
    assert 'personae_http_requests_total{path="/page",status="413"}' in metrics
    assert "gradio_api" not in metrics


@pytest.mark.timeout(600)
def test_an_address_is_no_upload(running: Running) -> None:
    """What a browser may name instead of an upload, a client names here: nothing is fetched."""
    config = httpx.get(f"{running.address}/page/config").json()
    photo = next(one["id"] for one in config["components"] if one["props"].get("elem_id") == "origin-file")
    number = next(one["id"] for one in config["dependencies"] if one["inputs"] == [photo])
    file = {"path": "http://192.0.2.1/x.png", "meta": {"_type": "gradio.FileData"}}
    call = {"data": [file], "fn_index": number, "session_hash": "x"}
    assert httpx.post(f"{running.address}/page/gradio_api/queue/join", json=call).status_code == 200
    with httpx.stream("GET", f"{running.address}/page/gradio_api/queue/data?session_hash=x", timeout=60) as stream:
        last = next(line for line in stream.iter_lines() if "process_completed" in line)
    assert '"success":false' in last
    assert "an address is no upload" in last


@pytest.mark.timeout(600)
def test_files_of_the_page_go_with_the_server(running: Running) -> None:
    """The last one: it ends the server."""
    files = running.state / "page" / "files"
    assert files.is_dir()
    assert files.stat().st_mode & 0o077 == 0
    running.end()
    assert not files.exists()
