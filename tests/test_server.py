"""The HTTP API: requests, jobs, files, keys, limits, and what strangers send."""

import asyncio
import base64
import io
import json
import os
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from conftest import made_up
from model_fixtures import empty_photo, face_photo
from personae import identity
from personae.errors import BadOption, BadOutput, SpaceMismatch
from personae.pipeline import FacePipeline
from personae.provenance.recipe import read_recipe
from personae.serving import DenyList
from personae.serving.api.keys import Key, Keys, _others_may_read
from personae.serving.api.service import require_filter
from personae.serving.api.settings import Settings, is_loopback
from personae.types import Identity
from serving_fixtures import form, server

ANN: dict[str, Any] = {
    "consent": True,
    "people": ["ann.png"],
    "seed": 7,
    "batch": "off",
    "options": {"num_inference_steps": 4},
}


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return face_photo(tmp_path_factory.mktemp("photos") / "ann.png").read_bytes()


@pytest.fixture(scope="module")
def client(nano_like: FacePipeline, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with server(nano_like, tmp_path_factory.mktemp("server")) as made:
        yield made


def vector_of(pipe: FacePipeline) -> dict[str, Any]:
    [person] = made_up(pipe, 1)
    return {"space": person.space, "vector": [float(number) for number in person.vector]}


class Gate:
    """An output filter at which the engine waits until it is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()

    def __call__(self, image: Image.Image) -> None:
        assert self.opened.wait(30)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """What `output_filter="gates:gate"` names."""
    import sys
    from types import ModuleType

    one, module = Gate(), ModuleType("gates")
    module.gate = one  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gates", module)
    yield one
    one.opened.set()


# ---------------------------------------------------------------------- results


def test_a_picture_is_the_librarys(client: TestClient, nano_like: FacePipeline, photo: bytes, tmp_path: Path) -> None:
    found = client.post("/v1/generate?wait=30", **form(ANN | {"num_images_per_prompt": 2}, ann_png=photo))
    assert found.status_code == 200, found.text
    job = found.json()
    assert job["status"] == "done", job
    wanted = nano_like(nano_like.read(photo)[0], num_images_per_prompt=2, seed=7)
    for row, image, likeness in zip(job["result"]["files"], wanted.images, wanted.likeness, strict=True):
        answer = client.get(row["url"])
        assert answer.headers["content-type"] == row["media_type"] == "image/png"
        assert "no-store" in answer.headers["cache-control"]
        path = tmp_path / row["name"]
        path.write_bytes(answer.content)
        recipe = read_recipe(path)
        assert recipe["seed"] == row["seed"]
        assert "identity" not in recipe
        assert row["likeness"] == (None if np.isnan(likeness) else round(likeness, 4))
        # What lies between the two is the watermark alone, which a picture of this size is too small for.
        assert not recipe["marks"]["watermark"]
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(answer.content))), np.asarray(image))


def test_the_identity_is_in_the_recipe_only_if_it_is_wanted(client: TestClient, photo: bytes, tmp_path: Path) -> None:
    body = ANN | {"include_identity": True, "format": "webp"}
    row = client.post("/v1/generate?wait=30", **form(body, ann_png=photo)).json()["result"]["files"][0]
    path = tmp_path / row["name"]
    path.write_bytes(client.get(row["url"]).content)
    assert row["media_type"] == "image/webp"
    assert "identity" in read_recipe(path)


def test_json_carries_files_in_base64(client: TestClient, photo: bytes) -> None:
    body = ANN | {"files": {"ann.png": base64.b64encode(photo).decode()}}
    of_json = client.post("/v1/generate?wait=30", json=body).json()
    of_form = client.post("/v1/generate?wait=30", **form(ANN, ann_png=photo)).json()
    pictures = [client.get(job["result"]["files"][0]["url"]).content for job in (of_json, of_form)]
    first, second = (np.asarray(Image.open(io.BytesIO(one))) for one in pictures)
    np.testing.assert_array_equal(first, second)  # their signatures say when they were made


def test_reading_and_identities(client: TestClient, nano_like: FacePipeline, photo: bytes, tmp_path: Path) -> None:
    read = client.post("/v1/read?wait=30", **form({"consent": True, "photo": "ann.png"}, ann_png=photo)).json()
    [face] = read["result"]["data"]["faces"]
    assert {"box", "points", "pose", "identity"} <= face.keys()
    body = {"consent": True, "people": ["ann.png", vector_of(nano_like)]}
    mean = client.post("/v1/identities/mean?wait=30", **form(body, ann_png=photo)).json()
    path = tmp_path / "mean.identity"
    path.write_bytes(client.get(mean["result"]["files"][0]["url"]).content)
    wanted = identity.mean([nano_like.read(photo)[0].identity, *made_up(nano_like, 1)])
    assert identity.similarity(identity.load(path), wanted) > 1 - 1e-6
    # What the server has written it also takes.
    again = client.post(
        "/v1/generate?wait=30", **form(ANN | {"people": ["ann.identity"]}, ann_identity=path.read_bytes())
    )
    assert again.json()["status"] == "done", again.text


def test_edits_and_random_people(nano: FacePipeline, two_photos: Sequence[np.ndarray], tmp_path: Path) -> None:
    def png(pixels: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        return buffer.getvalue()

    ann, bob = map(png, two_photos)
    with server(nano, tmp_path) as client:
        body = {"consent": True, "task": "swap", "source": "ann.png", "target": "bob.png", "seed": 3}
        job = client.post("/v1/edit?wait=60", **form(body, ann_png=ann, bob_png=bob)).json()
        assert job["status"] == "done", job
        wanted = nano.edit("swap", source=ann, target=bob, seed=3)
        found = np.asarray(Image.open(io.BytesIO(client.get(job["result"]["files"][0]["url"]).content)))
        # Marks apart: the watermark changes pixels by little.
        assert np.abs(found.astype(int) - np.asarray(wanted.images[0])).max() <= 24
        people = client.post("/v1/identities/sample?wait=30", json={"count": 2, "seed": 4}).json()
        assert len(people["result"]["files"]) == 2
        picture = client.get(job["result"]["files"][0]["url"]).content
        origin = client.post("/v1/detect?wait=60", **form({"file": "x.png"}, x_png=picture)).json()
        marks = {mark["mark"]: mark for mark in origin["result"]["data"]["marks"]}
        assert marks["recipe"]["facts"]["seed"] == 3, origin
        assert origin["result"]["data"]["file"] == "x.png"
        older = client.post(
            "/v1/identities/shift?wait=30",
            **form({"consent": True, "person": "ann.png", "by": {"age": 1.0}}, ann_png=ann),
        ).json()
        assert older["status"] == "done", older
        options = client.get("/v1/options").json()["options"]
        assert all(row["available"] for row in options if row["component"] == "controlnet")


# ---------------------------------------------------------------------- jobs


def test_a_jobs_life(nano_like: FacePipeline, photo: bytes, tmp_path: Path, gate: Gate) -> None:
    with server(nano_like, tmp_path, output_filter="gates:gate") as client:
        first = client.post("/v1/generate", **form(ANN, ann_png=photo))
        assert first.status_code == 202
        job = first.json()
        assert first.headers["location"] == job["url"]
        [upload] = (tmp_path / "jobs" / job["id"] / "uploads").iterdir()
        assert stat.S_IMODE(upload.stat().st_mode) == 0o600
        assert upload.name == "0.png"
        gate.opened.set()
        with client.stream("GET", job["events"]) as stream:
            lines = [line for line in stream.iter_lines() if line]
        names = [line.partition(": ")[2] for line in lines if line.startswith("event")]
        assert names[-1] == "end"
        last = json.loads(lines[-1].removeprefix("data: "))
        assert last["status"] == "done"
        assert client.get(job["url"]).json() == last
        assert [row["id"] for row in client.get("/v1/jobs").json()["jobs"]] == [job["id"]]
        assert not upload.exists()
        assert client.delete(job["url"]).status_code == 204
        assert client.get(job["url"]).status_code == 404
        assert not (tmp_path / "jobs" / job["id"]).exists()


def test_progress_and_previews(client: TestClient, nano_like: FacePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow decoder of previews gives the time to look at them."""
    from personae.serving.engine import perform

    plain = perform.preview_of
    monkeypatch.setattr(perform, "preview_of", lambda *args: time.sleep(0.5) or plain(*args))
    job = client.post("/v1/generate", json=ANN | {"people": [vector_of(nano_like)], "previews": 2}).json()
    until = time.monotonic() + 20
    while not (now := client.get(job["url"]).json())["progress"]["preview"]:
        assert time.monotonic() < until, now
        time.sleep(0.02)
    answer = client.get(now["progress"]["preview"])
    assert answer.headers["content-type"] == "image/jpeg"
    assert b"trainedAlgorithmicMedia" in answer.content
    assert now["progress"]["steps"] == 4
    with client.stream("GET", job["events"]) as stream:
        assert any("end" in line for line in stream.iter_lines())


def test_cancelling(nano_like: FacePipeline, photo: bytes, tmp_path: Path, gate: Gate) -> None:
    with server(nano_like, tmp_path, output_filter="gates:gate", at_once=1) as client:
        runs, waits = (client.post("/v1/generate", **form(ANN, ann_png=photo)).json() for _ in range(2))
        for job in (waits, runs):
            assert client.post(f"{job['url']}/cancel").json()["status"] == "cancelled"
        gate.opened.set()
        assert client.post("/v1/generate?wait=30", **form(ANN, ann_png=photo)).json()["status"] == "done"
        assert client.get(runs["url"]).json()["status"] == "cancelled"
        assert client.get(runs["url"]).json()["result"] is None


def test_jobs_survive_a_restart(nano_like: FacePipeline, photo: bytes, tmp_path: Path, gate: Gate) -> None:
    with server(nano_like, tmp_path, output_filter="gates:gate", at_once=1) as client:
        runs, waits = (client.post("/v1/generate", **form(ANN, ann_png=photo)).json() for _ in range(2))
        threading.Timer(0.3, gate.opened.set).start()
    with server(nano_like, tmp_path) as client:
        for job in (runs, waits):
            until = time.monotonic() + 20
            while (now := client.get(job["url"]).json())["status"] != "done":
                assert time.monotonic() < until, now
                time.sleep(0.05)
        done = client.get(runs["url"]).json()
    with server(nano_like, tmp_path) as client:
        assert client.get(runs["url"]).json() == done
        assert client.get(done["result"]["files"][0]["url"]).status_code == 200


def test_results_expire(nano_like: FacePipeline, photo: bytes, tmp_path: Path) -> None:
    with server(nano_like, tmp_path, results_for=0.5) as client:
        job = client.post("/v1/generate?wait=30", **form(ANN, ann_png=photo)).json()
        assert job["status"] == "done"
        until = time.monotonic() + 10
        while client.get(job["url"]).status_code != 404:
            assert time.monotonic() < until
            time.sleep(0.1)
        assert not list((tmp_path / "jobs").iterdir())


def test_one_server_for_a_folder(nano_like: FacePipeline, tmp_path: Path) -> None:
    with server(nano_like, tmp_path), pytest.raises(BadOutput, match="folder"), server(nano_like, tmp_path):
        pass


def test_a_key_of_the_clients_makes_a_request_once(client: TestClient, photo: bytes) -> None:
    mine = {"Idempotency-Key": "an hour's work"}
    one, two = (client.post("/v1/generate?wait=30", headers=mine, **form(ANN, ann_png=photo)) for _ in range(2))
    assert one.json()["id"] == two.json()["id"]
    assert "idempotency-replayed" not in one.headers
    assert two.headers["idempotency-replayed"] == "true"
    other = client.post("/v1/generate", headers=mine, **form(ANN | {"seed": 8}, ann_png=photo))
    assert other.status_code == 422
    assert "idempotency key" in other.text


# ---------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"consent": False}, "consent"),
        ({"consent": 1}, "consent"),
        ({"consent": None}, "consent"),
        ({"people": []}, "people"),
        ({"people": ["bob.png"]}, "no file of this request is called"),
        ({"people": ["http://169.254.169.254/latest"]}, "no file of this request is called"),
        ({"people": ["../../../etc/passwd"]}, "no file of this request is called"),
        ({"people": ["/etc/passwd"]}, "no file of this request is called"),
        ({"options": {"pose_scale": 9}}, "pose_scale"),
        ({"options": {"lora": "ann.png"}}, "lora"),
        ({"options": {"pose_scale": 1.0}}, "pose_scale has nothing to act on"),
        ({"model": "arc2face"}, "there is no model"),
        ({"seed": -1}, "seed"),
        ({"options": {"height": 16384, "width": 16384}}, "height"),
        ({"options": {"height": 2048, "width": 2048}, "num_images_per_prompt": 8}, "pixels"),
        ({"options": {"batch_size": 10**6}}, "batch_size"),
        ({"num_images_per_prompt": 65}, "num_images_per_prompt"),
        ({"out": "/tmp/x"}, "out"),
        ({"format": "../x"}, "format"),
    ],
    ids=str,
)
def test_requests_that_cannot_be(client: TestClient, photo: bytes, change: dict, words: str) -> None:
    answer = client.post("/v1/generate?wait=30", **form(ANN | change, ann_png=photo))
    if answer.status_code == 200:  # what only the model knows
        assert answer.json()["status"] == "failed"
        assert words in answer.json()["error"]["message"]
        return
    assert answer.status_code == 422, answer.text
    assert words in answer.json()["error"]["message"]


def test_consent_is_asked_of_every_request_about_people(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()["components"]["schemas"]
    for name in ("Read", "Generate", "Edit", "Animate", "Mean", "Blend", "Shift"):
        assert "consent" in schema[f"{name}Body"]["required"]
        assert schema[f"{name}Body"]["properties"]["consent"]["const"] is True


def test_files_that_are_no_pictures(client: TestClient, tmp_path: Path) -> None:
    answer = client.post("/v1/generate", **form(ANN, ann_png=b"#!/bin/sh"))
    assert answer.status_code == 422
    assert answer.json()["error"]["type"] == "BadImage"
    assert "ann.png" in answer.text
    assert "/tmp" not in answer.text  # where the server has it is its own business
    nobody = client.post("/v1/generate?wait=30", **form(ANN, ann_png=empty_photo(tmp_path / "x.png").read_bytes()))
    assert nobody.json()["error"]["type"] == "NoFaceFound"


def test_names_of_files_are_no_paths(client: TestClient, photo: bytes) -> None:
    name = "../../../../tmp/evil.png"
    parts = [("request", (None, json.dumps(ANN | {"people": [name]}))), ("files", (name, photo))]
    job = client.post("/v1/generate?wait=30", files=parts).json()
    assert job["status"] == "done"
    assert not Path("/tmp/evil.png").exists()
    for path in (
        "/v1/jobs/../../etc/passwd",
        f"{job['url']}/results/..%2f..%2fjobs.sqlite",
        f"{job['url']}/results/9.png",
        f"{job['url']}/results/0.png%00",
    ):
        assert client.get(path).status_code in (404, 422), path


def test_forms_that_are_none(client: TestClient, photo: bytes) -> None:
    twice = [("request", (None, json.dumps(ANN))), ("files", ("ann.png", photo)), ("files", ("ann.png", photo))]
    assert "two files are called" in client.post("/v1/generate", files=twice).text
    other = [("request", (None, json.dumps(ANN))), ("photo", ("ann.png", photo))]
    assert client.post("/v1/generate", files=other).status_code == 422
    assert client.post("/v1/generate", content=b"x", headers={"content-type": "text/plain"}).status_code == 415
    torn = {"content-type": "multipart/form-data; boundary=x"}
    assert client.post("/v1/generate", content=b"--x\r\nnothing", headers=torn).status_code == 422
    assert (
        client.post("/v1/generate", content=b"{" * 5000, headers={"content-type": "application/json"}).status_code
        == 422
    )
    vast = [("request", (None, json.dumps(ANN | {"model": "x" * 2**20}))), ("files", ("ann.png", photo))]
    assert "maximum size" in client.post("/v1/generate", files=vast).text  # of the part, of which all is in memory
    many = [("request", (None, json.dumps(ANN)))] + [("files", (f"{n}.png", photo)) for n in range(40)]
    assert client.post("/v1/generate", files=many).status_code == 422


def test_what_is_too_large_or_too_slow(nano_like: FacePipeline, photo: bytes, tmp_path: Path) -> None:
    with server(nano_like, tmp_path, most_bytes=20_000, body_seconds=0.3) as client:
        large = client.post("/v1/generate", **form(ANN, ann_png=photo + bytes(20_000)))
        assert large.status_code == 413, large.text

        def endless() -> Iterator[bytes]:
            for _ in range(30):
                yield bytes(1000)

        headers = {"content-type": "application/json"}
        assert client.post("/v1/generate", content=endless(), headers=headers).status_code == 413
        assert not list((tmp_path / "jobs").iterdir())


def test_a_body_that_does_not_come(nano_like: FacePipeline, tmp_path: Path) -> None:
    """A client that sends a little and then waits."""
    answers = []

    async def talk(app: Any) -> None:
        parts = iter([{"type": "http.request", "body": b"{", "more_body": True}])

        async def receive() -> dict[str, Any]:
            for part in parts:
                return part
            await asyncio.sleep(60)
            raise AssertionError("waited for a minute")

        async def send(message: Any) -> None:
            answers.append(message)

        headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
        own = {"path": "/v1/generate", "raw_path": b"/v1/generate", "method": "POST", "headers": headers}
        fixed = {"type": "http", "http_version": "1.1", "query_string": b"", "scheme": "http", "root_path": ""}
        await app({**fixed, **own, "server": ("127.0.0.1", 8000), "client": ("127.0.0.1", 1)}, receive, send)

    with server(nano_like, tmp_path, body_seconds=0.3) as client:
        asyncio.run(talk(client.app))
        assert client.get("/healthz").status_code == 200
    assert answers[0]["status"] == 408


def test_a_full_queue_says_when_to_come_again(
    nano_like: FacePipeline, photo: bytes, tmp_path: Path, gate: Gate
) -> None:
    with server(nano_like, tmp_path, output_filter="gates:gate", at_once=1, most_waiting=2) as client:
        answers = [client.post("/v1/generate", **form(ANN, ann_png=photo)) for _ in range(5)]
        codes = [answer.status_code for answer in answers]
        assert codes[0] == 202
        assert codes[-1] == 503
        assert set(codes) == {202, 503}
        assert int(answers[-1].headers["retry-after"]) >= 1
        accepted = [answer.json()["id"] for answer in answers if answer.status_code == 202]
        assert {place.name for place in (tmp_path / "jobs").iterdir()} == set(accepted)
        gate.opened.set()


# ---------------------------------------------------------------------- keys


def test_keys_and_their_limits(
    nano_like: FacePipeline, photo: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = Keys([Key.of("ann", "a" * 20, per_minute=6), Key.of("bob", "b" * 20, jobs=1)])
    ann, bob = ({"Authorization": f"Bearer {letter * 20}"} for letter in "ab")
    with server(nano_like, tmp_path, keys=keys) as client:
        for headers in (
            {},
            {"Authorization": "Bearer " + "c" * 20},
            {"X-API-Key": b"\xe9"},
            {"Authorization": "Basic eA=="},
        ):
            refusal = client.get("/v1/models", headers=headers)
            assert refusal.status_code == 401, headers
            assert "c" * 20 not in refusal.text
        assert client.get("/metrics").status_code == 401
        assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200
        assert client.get("/v1/models", headers={"X-API-Key": "a" * 20}).status_code == 200
        job = client.post("/v1/generate?wait=30", headers=ann, **form(ANN, ann_png=photo)).json()
        for path in (job["url"], job["events"], job["result"]["files"][0]["url"]):
            assert client.get(path, headers=bob).status_code == 404  # somebody else's
        codes = [client.get(job["url"], headers=ann).status_code for _ in range(8)]
        assert codes[0] == 200
        assert codes[-1] == 429
        assert int(client.get(job["url"], headers=ann).headers["retry-after"]) >= 1
        metrics = client.get("/metrics", headers=bob).text
        assert "a" * 20 not in metrics
        assert "b" * 20 not in metrics
    for file in (path for path in tmp_path.rglob("*") if path.is_file()):
        assert b"a" * 20 not in file.read_bytes(), file  # jobs know their owner's name alone
    assert "a" * 20 not in caplog.text
    assert "c" * 20 not in caplog.text


def test_a_keys_share_of_the_queue(nano_like: FacePipeline, photo: bytes, tmp_path: Path, gate: Gate) -> None:
    keys = Keys([Key.of("bob", "b" * 20, jobs=1)])
    bob = {"Authorization": "Bearer " + "b" * 20}
    with server(nano_like, tmp_path, keys=keys, output_filter="gates:gate") as client:
        codes = [client.post("/v1/generate", headers=bob, **form(ANN, ann_png=photo)).status_code for _ in range(2)]
        assert codes == [202, 429]
        gate.opened.set()


def test_files_of_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keys.txt"
    path.write_text("# ours\nann aaaaaaaaaaaaaaaaaaaa 60/minute 4\nbob bbbbbbbbbbbbbbbbbbbb\n")
    path.chmod(0o644)
    with pytest.raises(BadOption, match="chmod 600"):
        Keys.read(path)
    for mode, owner, me, others in (
        (0o600, 10001, 10001, False),
        (0o440, 0, 10001, False),  # a container's secret, of a group that the server is in
        (0o444, 0, 10001, True),
        (0o460, 0, 10001, True),
        (0o440, 10001, 10001, True),
        (0o440, 0, 0, True),
    ):
        monkeypatch.setattr(os, "geteuid", lambda me=me: me)
        row = os.stat_result((stat.S_IFREG | mode, 1, 1, 1, owner, 0, 0, 0, 0, 0))
        assert _others_may_read(row) is others, (oct(mode), owner, me)
    path.chmod(0o600)
    keys = Keys.read(path)
    assert keys.owner_of("a" * 20) == "ann"
    assert keys.owner_of("b" * 20) == "bob"
    assert keys.owner_of("a" * 19) is None
    assert keys.jobs_of("ann") == 4
    for text in ("ann", "ann short", "ann " + "a" * 20 + " many", "ann " + "a" * 20 + "\nann " + "b" * 20, ""):
        path.write_text(text)
        with pytest.raises(BadOption) as error:
            Keys.read(path)
        assert "a" * 20 not in str(error.value)


# ---------------------------------------------------------------------- where it can be reached from


def test_other_machines_need_a_key() -> None:
    for host in ("0.0.0.0", "::", "192.168.1.2", "example.org"):
        with pytest.raises(BadOption, match="key"):
            Settings(host=host)
        Settings(host=host, keys=Keys([Key.of("ann", "a" * 20)]))
    for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost"):
        assert is_loopback(host)
        Settings(host=host)


def test_pages_of_other_sites_are_refused(client: TestClient) -> None:
    foreign = client.get("/v1/models", headers={"Origin": "https://evil.example"})
    assert foreign.status_code == 403
    assert client.get("/v1/models", headers={"Origin": "http://127.0.0.1:8000"}).status_code == 200
    rebound = client.get("/v1/models", headers={"Host": "evil.example"})
    assert rebound.status_code == 400
    assert client.get("/v1/models").headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("path", "site", "mode", "dest", "status"),
    [
        ("/v1/jobs", "none", "navigate", "document", 200),  # typed into the address bar
        ("/v1/jobs", "same-origin", "cors", "empty", 200),
        ("/v1/jobs", "cross-site", "navigate", "document", 403),
        ("/v1/jobs", "same-site", "no-cors", "image", 403),  # another program's port of this machine
        ("/v1/jobs", "cross-site", "cors", "empty", 403),
        ("/page/", "cross-site", "navigate", "iframe", 403),
        ("/page/", "cross-site", "no-cors", "script", 403),
        ("/page/gradio_api/file=/x.png", "cross-site", "navigate", "document", 403),
        ("/page", "cross-site", "navigate", "document", 404),  # let through; this server has no page
        ("/page/", "cross-site", "navigate", "document", 404),
    ],
)
def test_what_a_browser_says_of_where_a_request_comes_from(
    client: TestClient, path: str, site: str, mode: str, dest: str, status: int
) -> None:
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest}
    assert client.get(path, headers=headers).status_code == status
    own = site in ("none", "same-origin")
    assert client.post("/page/", headers=headers).status_code == (404 if own else 403)


# ---------------------------------------------------------------------- what an operator forbids


def test_denied_people_and_filtered_pictures(
    nano_like: FacePipeline, photo: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    denied = tmp_path / "denied.safetensors"
    DenyList.of(made_up(nano_like, 1), threshold=0.5).save(denied)
    with server(nano_like, tmp_path / "state", deny_list=denied) as client:
        job = client.post("/v1/generate?wait=30", json=ANN | {"people": [vector_of(nano_like)]}).json()
        assert job["error"]["type"] == "Refused"
        assert client.post("/v1/generate?wait=30", **form(ANN, ann_png=photo)).json()["status"] == "done"
    DenyList.of([Identity(vector=np.ones(8), space="another/space/0")], threshold=0.5).save(denied)
    with pytest.raises(SpaceMismatch), server(nano_like, tmp_path / "state", deny_list=denied):
        pass


def test_models_that_show_more_than_faces_need_a_filter() -> None:
    require_filter(Settings())
    with pytest.raises(BadOption, match="--output-filter"):
        require_filter(Settings(models={"arc2face": "arc2face"}))
    with pytest.raises(BadOption, match="--output-filter"):
        require_filter(Settings(models={"nano": "nano", "mine": "runs/mine"}))
    require_filter(Settings(models={"arc2face": "arc2face"}, without_filter=True))
    require_filter(Settings(models={"arc2face": "arc2face"}, output_filter="json:dumps"))
    for name in ("nothing", "json:nothing", "no.such.module:x", "json:__doc__"):
        from personae.serving.api.settings import filter_of

        with pytest.raises(BadOption, match="filter"):
            filter_of(name)


# ---------------------------------------------------------------------- what there is


def test_models_options_and_counters(client: TestClient, nano_like: FacePipeline) -> None:
    [model] = client.get("/v1/models").json()["models"]
    assert model["name"] == "tiny"
    assert model["loaded"]
    assert model["identity_width"] == 128
    found = client.get("/v1/options").json()
    names = [row["name"] for row in found["options"]]
    assert "pose" in names
    assert "lora" not in names
    assert not any(row["available"] for row in found["options"] if row["component"])
    assert "swap" in [row["name"] for row in found["tasks"]]
    assert client.get("/v1/options?model=other").status_code == 422
    client.post("/v1/generate?wait=30", json=ANN | {"people": [vector_of(nano_like)]})
    text = client.get("/metrics").text
    assert 'personae_jobs_ended_total{kind="generate",status="done"}' in text
    assert 'personae_http_requests_total{path="/v1/generate",status="200"}' in text
    assert client.get("/").status_code == 404


def test_a_model_has_the_licence_of_where_it_comes_from(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from personae.models import catalog

    engine = client.service.engine
    for source, licence in (("runs/nano", None), (None, None), ("nano", catalog.MODELS["nano"].licence)):
        monkeypatch.setattr(engine, "source_of", lambda name, source=source: source)
        [model] = client.get("/v1/models").json()["models"]
        assert model["licence"] == licence


def test_a_bug_is_no_secret_given_away(
    client: TestClient, nano_like: FacePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(images: object) -> None:
        raise RuntimeError("/home/ann/secret")

    with monkeypatch.context() as patch:
        patch.setattr(nano_like.reader, "identify", broken)
        job = client.post("/v1/generate?wait=30", json=ANN | {"people": [vector_of(nano_like)]}).json()
    assert job["error"]["type"] == "ServerError"
    assert "secret" not in json.dumps(job)
