"""python examples/client.py me.jpg          (while `personae serve` runs)

A request to the server, its progress, its files: with Python's own library alone.
"""

import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

ADDRESS = "http://127.0.0.1:8000"
TRIES = 5


class Client:
    """One server. key: where it has keys."""

    def __init__(self, address: str = ADDRESS, key: str | None = None) -> None:
        self.address, self._headers = address, {} if key is None else {"Authorization": f"Bearer {key}"}

    def fetch(self, path: str, body: bytes | None = None, headers: Mapping[str, str] = {}) -> Any:
        """What is at an address of the server, as an open answer. Raises `urllib.error.HTTPError`."""
        request = urllib.request.Request(self.address + path, body, {**self._headers, **headers})
        return urllib.request.urlopen(request)

    def post(self, path: str, request: Mapping[str, Any], files: Mapping[str, Path]) -> dict[str, Any]:
        """Send a request with its files by name; returns the job. Sent again if the line breaks or the server is busy:
        the key makes it the same job, although the server may have had it before."""
        border = uuid4().hex
        parts = [
            f'--{border}\r\nContent-Disposition: form-data; name="request"\r\n\r\n{json.dumps(request)}\r\n'.encode()
        ]
        for name, file in files.items():
            head = f'--{border}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
            parts += [head.encode(), file.read_bytes(), b"\r\n"]
        headers = {"Content-Type": f"multipart/form-data; boundary={border}", "Idempotency-Key": border}
        body = b"".join([*parts, f"--{border}--\r\n".encode()])
        for left in reversed(range(TRIES)):
            pause = 1.0
            try:
                with self.fetch(path, body, headers) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code not in (429, 503) or not left:
                    raise
                pause = float(error.headers["Retry-After"] or pause)
            except OSError:
                if not left:
                    raise
            time.sleep(pause)
        raise AssertionError("the last try returns or raises")

    def events(self, job: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """The name and content of each event of a job; the last one is `end`, with the whole job. A stream ends after
        some minutes: the next one goes on."""
        name = ""
        while name != "end":
            with self.fetch(job["events"]) as stream:
                for line in stream:
                    key, _, value = line.decode().rstrip().partition(": ")
                    if key == "event":
                        name = value
                    elif key == "data":
                        yield name, json.loads(value)


def main(photo: str, folder: str = "personae-out", *, address: str = ADDRESS, steps: int = 12) -> list[Path]:
    """Let the server generate the largest face of a photo twice; returns the paths of the images."""
    client, file = Client(address), Path(photo)
    request = {
        "consent": True,  # everyone in the photo agreed to this
        "people": [file.name],
        "num_images_per_prompt": 2,
        "seed": 7,
        "options": {"num_inference_steps": steps},
    }
    job = client.post("/v1/generate", request, {file.name: file})
    for name, content in client.events(job):
        if name == "progress":
            sys.stderr.write(f"{content['stage']} {content['step']}/{content['steps']}\n")
        else:
            job = content
    if job["status"] != "done":  # it failed, and says why; or somebody has cancelled it
        raise SystemExit(job["error"]["message"] if job["error"] else f"the job was {job['status']}")
    paths = []
    Path(folder).mkdir(parents=True, exist_ok=True)
    for row in job["result"]["files"]:
        path = Path(folder) / f"{file.stem}-seed{row['seed']}.png"
        with client.fetch(row["url"]) as answer:
            path.write_bytes(answer.read())
        paths.append(path)
    return paths


if __name__ == "__main__":
    for path in main(sys.argv[1]):
        sys.stdout.write(f"{path}\n")
