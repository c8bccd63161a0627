"""From a job, as it was sent, to a request of the engine.

    request = translate.request_of(job, files)

In what was sent, a photo is the name of one of its files, and a person such a name or `{"space", "vector"}`; nothing
else opens a file, and nothing an address.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from personae import identity
from personae.controls import registry
from personae.errors import BadOption
from personae.gather import SUFFIX
from personae.serving.engine import requests
from personae.serving.jobs.files import JobFiles
from personae.serving.jobs.record import Job
from personae.types import Identity

Who = Identity | Path


def request_of(job: Job, files: JobFiles) -> requests.EngineRequest:
    """The engine's request of a job. Raises `BadOption`, `BadIdentity`."""
    of_all = {name: job.request[name] for name in ("model", "timeout", "previews") if job.request.get(name) is not None}
    return _KINDS[job.kind](ResolvedRequest(job, files), of_all)


class ResolvedRequest:
    """A job's request, the names of its files resolved to where they are."""

    def __init__(self, job: Job, files: JobFiles) -> None:
        self._job, self._files = job, files

    def __getitem__(self, name: str) -> Any:
        return self._job.request[name]

    def some(self, *names: str) -> dict[str, Any]:
        """Those of the fields that it has."""
        return {name: self[name] for name in names if self._job.request.get(name) is not None}

    def file(self, name: str | None) -> Path | None:
        """The path of a file that was sent; None of None."""
        return None if name is None else self._files.upload(self._job, name)

    def person(self, value: str | Mapping[str, Any]) -> Who:
        """A photo, an `.identity` file or a vector."""
        if not isinstance(value, str):
            return Identity(vector=value["vector"], space=value["space"])
        path = self._files.upload(self._job, value)
        return identity.load(path) if path.suffix == SUFFIX else path

    def options(self) -> dict[str, Any]:
        """The options of the registry, photos among them resolved."""
        declared = registry.options()
        return {
            name: value if value is None else self._option(declared[name].type if name in declared else "", value)
            for name, value in (self._job.request.get("options") or {}).items()
        }

    def _option(self, kind: str, value: Any) -> Any:
        if isinstance(value, str) and kind in ("photo", "mask", "pose", "expression"):
            return self.file(value)
        return value

    def out(self, name: str) -> Path:
        """Where the engine itself writes a result."""
        return self._files.results_folder(self._job) / name


def _read(request: ResolvedRequest, of_all: dict[str, Any]) -> requests.EngineRequest:
    return requests.Read(photo=request.file(request["photo"]), **request.some("motion"), **of_all)  # type: ignore[arg-type]


def _generate(request: ResolvedRequest, of_all: dict[str, Any]) -> requests.EngineRequest:
    own = request.some("num_images_per_prompt", "seed", "measure_likeness") | {"batch": request["batch"] == "auto"}
    people = [request.person(one) for one in request["people"]]
    return requests.Generate(people=people, options=request.options(), **own, **of_all)


def _edit(request: ResolvedRequest, of_all: dict[str, Any]) -> requests.EngineRequest:
    own = request.some("region", "face", "all_faces", "shift", "expression", "seed", "num_images", "measure_likeness")
    photos = {name: request.file(value) for name, value in request.some("source", "target", "mask").items()}
    tokens = {name: request.file(value) for name, value in (request.some("tokens").get("tokens") or {}).items()}
    return requests.Edit(
        task=request["task"],
        tokens=tokens,  # type: ignore[arg-type]
        pose=request.some("pose").get("pose"),
        options=request.options(),
        **photos,  # type: ignore[arg-type]
        **own,
        **of_all,
    )


def _animate(request: ResolvedRequest, of_all: dict[str, Any]) -> requests.EngineRequest:
    from personae.video.animation import Settings  # late: it brings smoothing

    settings = Settings(**request.some("seed", "smooth", "portrait", "on_no_face", "face", "driver_face"))
    driver = request.file(request["driver"])
    assert driver is not None
    if driver.suffix == "":
        raise BadOption("a driver is a video (.mp4, .mov, .mkv, .webm) or a track (.json, .csv, .npz), by its name")
    frames = request.some("frames").get("frames")
    return requests.Animate(
        source=request.file(request["source"]),  # type: ignore[arg-type]
        driver=driver,
        out=request.out("0.mp4"),
        settings=settings,
        frames=None if frames is None else tuple(frames),
        options=request.options(),
        **request.some("fps", "audio"),
        **of_all,
    )


def _mean(request: ResolvedRequest, of_all: dict[str, Any]) -> requests.EngineRequest:
    return requests.Mean(people=[request.person(one) for one in request["people"]], **request.some("weights"), **of_all)


def _blend(request: ResolvedRequest, of_all: dict[str, Any]) -> requests.EngineRequest:
    first, second = (request.person(request[name]) for name in ("first", "second"))
    return requests.Blend(first=first, second=second, **request.some("amount"), **of_all)


def _sample(request: ResolvedRequest, of_all: dict[str, Any]) -> requests.EngineRequest:
    return requests.Sample(**request.some("count", "seed"), **of_all)


def _shift(request: ResolvedRequest, of_all: dict[str, Any]) -> requests.EngineRequest:
    return requests.Shift(person=request.person(request["person"]), by=request["by"], **of_all)


def _detect(request: ResolvedRequest, of_all: dict[str, Any]) -> requests.EngineRequest:
    return requests.Detect(file=request.file(request["file"]), **of_all)  # type: ignore[arg-type]


_KINDS: dict[str, Callable[[ResolvedRequest, dict[str, Any]], requests.EngineRequest]] = {
    "read": _read,
    "generate": _generate,
    "edit": _edit,
    "animate": _animate,
    "mean": _mean,
    "blend": _blend,
    "sample": _sample,
    "shift": _shift,
    "detect": _detect,
}
