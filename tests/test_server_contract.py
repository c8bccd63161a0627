"""The schema of the HTTP API, and the server against it: what schemathesis draws, and a client made of the schema."""

import inspect
import json
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import jsonschema_rs
import numpy as np
import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from conftest import made_up
from model_fixtures import face_photo
from personae.controls import registry
from personae.errors import BadOption
from personae.pipeline import FacePipeline
from personae.serving.api.app import create_app
from personae.serving.api.bodies import BODIES, EXAMPLES, PATHS
from personae.serving.api.settings import Settings
from personae.serving.engine import requests
from personae.video import frame_renderer
from personae.video.animate import animate
from serving_fixtures import form, server

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)


@pytest.fixture(scope="module")
def client(nano_like: FacePipeline, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with server(nano_like, tmp_path_factory.mktemp("server"), body_seconds=5) as made:
        yield made


@pytest.fixture
def api(client: TestClient) -> Any:
    """The schema of the server that runs, whose life is the client's business."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            headers = [one for one in scope["headers"] if one[0] != b"host"]
            await client.app(scope | {"headers": [*headers, (b"host", b"127.0.0.1")]}, receive, send)
            return
        for event in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{event}.complete"})

    return schemathesis.openapi.from_asgi("/openapi.json", app)


def test_what_is_drawn_from_the_schema_gets_a_documented_answer(api: Any) -> None:
    """Right and wrong requests, for every address; by hand, since schemathesis' own fixture fails with this pytest."""
    operations = [found.ok() for found in api.get_all_operations()]
    assert len(operations) > 15
    for operation in operations:
        for mode in GenerationMode:

            @given(case=operation.as_strategy(generation_mode=mode))
            @settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck), database=None)
            def answered(case: Any) -> None:
                (case.query or {}).pop("wait", None)  # a test has no minute for each
                case.call_and_validate(checks=CHECKS)

            # Nothing is wrong for an address that takes nothing.
            bare = mode is GenerationMode.NEGATIVE and operation.method == "get"
            with suppress(Unsatisfiable) if bare else nullcontext():
                answered()


# ---------------------------------------------------------------------- the schema itself


def test_the_schema_needs_no_server(tmp_path: Path) -> None:
    """And is complete: every address says what it takes and gives, every reference leads somewhere, examples fit."""
    document = create_app(Settings(state=tmp_path)).openapi()
    assert not list(tmp_path.iterdir())
    text = json.dumps(document)
    for part in text.split('"$ref": "#/components/schemas/')[1:]:
        assert part.split('"')[0] in document["components"]["schemas"]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation.get("summary") or operation.get("description"), (method, path)
            answers = {status: answer for status, answer in operation["responses"].items() if status != "204"}
            assert all("content" in answer for answer in answers.values()), (method, path)
    for kind, path in PATHS.items():
        media = document["paths"][path]["post"]["requestBody"]["content"]
        assert media["application/json"]["example"] == EXAMPLES[kind]
        resolved = {**media["application/json"]["schema"], "components": document["components"]}
        jsonschema_rs.validator_for(resolved).validate(EXAMPLES[kind])


def test_the_options_of_the_schema_are_the_registrys(client: TestClient) -> None:
    """With their ranges, choices and words."""
    fields = client.get("/openapi.json").json()["components"]["schemas"]["Options"]["properties"]
    for row in registry.rows():
        if row["name"] not in fields:
            assert row["type"] in ("file", "assembly") or row["name"] in _BY_THE_REQUEST + _OF_A_FILE, row["name"]
            continue
        declared = fields[row["name"]]
        assert row["help"] in declared["description"]
        [kind, *_] = [one for one in declared["anyOf"] if one.get("type") != "null"]
        if row["type"] in ("number", "integer") and row["name"] not in ("height", "width"):
            assert kind["maximum"] == row["high"]
            assert kind.get("minimum", kind.get("exclusiveMinimum")) == row["low"]
        if row["choices"]:
            assert kind.get("enum", [kind.get("const")]) == row["choices"]


def test_no_option_of_the_schema_collides_with_what_a_request_sets(tmp_path: Path) -> None:
    """Every option of every verb, with what it needs, makes a request; the call that does it sets none of them."""
    photo = np.zeros((16, 16, 3), np.uint8)
    build: dict[str, Callable[[dict[str, Any]], Any]] = {
        "generate": lambda options: requests.Generate(people=[photo], options=options),
        "edit": lambda options: requests.Edit(
            task="attribute", target=photo, pose=[5, 0, 0], expression={"smile": 0.5}, options=options
        ),
        "animate": lambda options: requests.Animate(source=photo, driver="a.mp4", out="b.mp4", options=options),
    }
    own = {
        "generate": {"people", "num_images_per_prompt", "seed", "measure_likeness", "callback_on_step_end"},
        "edit": {*inspect.signature(FacePipeline.edit).parameters, "callback_on_step_end"},
        "animate": {*inspect.signature(animate).parameters, *frame_renderer._OWN_OPTIONS},
    }
    rows = {row["name"]: row for row in registry.rows()}
    for kind, make in build.items():
        model = BODIES[kind].model_fields["options"].annotation.__args__[0]
        names = set(model.model_fields)
        assert len(names) > 10, kind
        assert not names & own[kind], kind
        for name in names:
            needs = [need for need in rows[name]["needs"] if need in names][:1]
            options = {one: _sample_of(rows[one]) for one in (name, *needs)}
            assert make(options).options == options, (kind, name)


def _sample_of(row: dict[str, Any]) -> Any:
    low = 0 if row["low"] is None else row["low"]
    return {
        "number": lambda: (low + row["high"]) / 2,
        "integer": lambda: row["soft_high"] or row["high"] or low + 8,
        "interval": lambda: [0.2, 0.6],
        "choice": lambda: row["choices"][0],
        "text": lambda: "a {person}",
        "pose": lambda: [5, 0, 0],
        "expression": lambda: {"smile": 0.5},
        "regions": lambda: [[0, 0, 0.5, 1]],
    }.get(row["type"], lambda: Path("a.png"))()


def test_what_an_edit_has_a_field_for_is_refused_as_an_option(client: TestClient, tmp_path: Path) -> None:
    request = {"consent": True, "task": "attribute", "target": "me.png", "options": {"pose": [10, 0, 0]}}
    answer = client.post("/v1/edit", **form(request, me_png=face_photo(tmp_path / "me.png").read_bytes()))
    assert answer.status_code == 422
    with pytest.raises(BadOption, match="pose is a field of this request"):
        requests.Edit(task="attribute", target=np.zeros((16, 16, 3), np.uint8), options={"pose": [10, 0, 0]})


_BY_THE_REQUEST = ("num_images_per_prompt", "seed", "batch_size")
_OF_A_FILE = ("lora_scale",)


# ---------------------------------------------------------------------- a client made of it


class GeneratedClient:
    """A method for every operation of a schema: `client.generate(body, files, wait=30)`, `client.get_job(job=...)`.
    Answers are checked against the schema."""

    def __init__(self, http: TestClient) -> None:
        document = http.get("/openapi.json").json()
        self._http, self._components = http, document["components"]
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                name = operation["operationId"].split("_v1_")[0]
                setattr(self, name, self._operation(method, path, operation))

    def _operation(self, method: str, path: str, operation: dict[str, Any]) -> Callable[..., Any]:
        def call(body: Any = None, files: dict[str, bytes] | None = None, **values: Any) -> Any:
            places = {one["name"]: one["in"] for one in operation.get("parameters", [])}
            assert values.keys() <= places.keys()
            query = {name: value for name, value in values.items() if places[name] == "query"}
            sent: dict[str, Any] = {}
            if body is not None:
                assert "multipart/form-data" in operation["requestBody"]["content"]
                parts = [("files", (name, content)) for name, content in (files or {}).items()]
                sent = {"files": [("request", (None, json.dumps(body), "application/json")), *parts]}
            answer = self._http.request(method, path.format(**values), params=query, **sent)
            documented = operation["responses"][str(answer.status_code)]
            if "content" not in documented:
                return None
            kind = answer.headers["content-type"].split(";")[0]
            wanted = documented["content"][kind].get("schema", {})
            if kind != "application/json":
                return answer.content
            jsonschema_rs.validator_for({**wanted, "components": self._components}).validate(answer.json())
            return answer.json()

        return call


def test_a_client_made_of_the_schema(client: TestClient, nano_like: FacePipeline, tmp_path: Path) -> None:
    api: Any = GeneratedClient(client)
    photo = face_photo(tmp_path / "me.jpg").read_bytes()
    job = api.generate(EXAMPLES["generate"] | {"options": {"num_inference_steps": 2}}, {"me.jpg": photo}, wait=30)
    assert job["status"] == "done", job
    [name] = [row["name"] for row in job["result"]["files"]][:1]
    assert api.get_result(job=job["id"], name=name)[:4] == b"\x89PNG"
    assert api.get_job(job=job["id"]) == job
    assert api.read(EXAMPLES["read"], {"me.jpg": photo}, wait=30)["result"]["data"]["faces"]
    assert api.blend(EXAMPLES["blend"], {"a.jpg": photo, "b.jpg": photo}, wait=30)["status"] == "done"
    assert "error" in api.sample({"count": 0})
    assert api.list_models()["models"][0]["name"] == "tiny"
    assert made_up(nano_like, 1)[0].space == api.list_models()["models"][0]["identity_space"]
    assert api.delete_job(job=job["id"]) is None
    assert "error" in api.get_job(job=job["id"])
