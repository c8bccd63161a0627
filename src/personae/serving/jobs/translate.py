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
    return _KINDS[job.kind](_Sent(job, files), of_all)


class _Sent:
    """What was sent, with its files' names resolved."""

    def __init__(self, job: Job, files: JobFiles) -> None:
        self._job, self._files = job, files

    def __getitem__(self, name: str) -> Any:
        return self._job.request[name]

    def some(self, *names: str) -> dict[str, Any]:
        """Those of the fields that were sent."""
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
        if isinstance(value, list) and kind in ("photo", "mask"):
            return [self.file(one) for one in value]
        return value

    def out(self, name: str) -> Path:
        """Where the engine itself writes a result."""
        return self._files.results_folder(self._job) / name


def _read(sent: _Sent, of_all: dict[str, Any]) -> requests.EngineRequest:
    return requests.Read(photo=sent.file(sent["photo"]), **sent.some("motion"), **of_all)  # type: ignore[arg-type]


def _generate(sent: _Sent, of_all: dict[str, Any]) -> requests.EngineRequest:
    own = sent.some("num_images_per_prompt", "seed", "measure_likeness") | {"batch": sent["batch"] == "auto"}
    people = [sent.person(one) for one in sent["people"]]
    return requests.Generate(people=people, options=sent.options(), **own, **of_all)


def _edit(sent: _Sent, of_all: dict[str, Any]) -> requests.EngineRequest:
    own = sent.some("region", "face", "all_faces", "shift", "expression", "seed", "num_images", "measure_likeness")
    photos = {name: sent.file(value) for name, value in sent.some("source", "target", "mask").items()}
    tokens = {name: sent.file(value) for name, value in (sent.some("tokens").get("tokens") or {}).items()}
    return requests.Edit(
        task=sent["task"],
        tokens=tokens,  # type: ignore[arg-type]
        pose=sent.some("pose").get("pose"),
        options=sent.options(),
        **photos,  # type: ignore[arg-type]
        **own,
        **of_all,
    )


def _animate(sent: _Sent, of_all: dict[str, Any]) -> requests.EngineRequest:
    from personae.video.animation import Settings  # late: it brings smoothing

    settings = Settings(**sent.some("seed", "smooth", "portrait", "on_no_face", "face", "driver_face"))
    driver = sent.file(sent["driver"])
    assert driver is not None
    if driver.suffix == "":
        raise BadOption("a driver is a video (.mp4, .mov, .mkv, .webm) or a track (.json, .csv, .npz), by its name")
    frames = sent.some("frames").get("frames")
    return requests.Animate(
        source=sent.file(sent["source"]),  # type: ignore[arg-type]
        driver=driver,
        out=sent.out("0.mp4"),
        settings=settings,
        frames=None if frames is None else tuple(frames),
        options=sent.options(),
        **sent.some("fps", "audio"),
        **of_all,
    )


def _mean(sent: _Sent, of_all: dict[str, Any]) -> requests.EngineRequest:
    return requests.Mean(people=[sent.person(one) for one in sent["people"]], **sent.some("weights"), **of_all)


def _blend(sent: _Sent, of_all: dict[str, Any]) -> requests.EngineRequest:
    first, second = (sent.person(sent[name]) for name in ("first", "second"))
    return requests.Blend(first=first, second=second, **sent.some("amount"), **of_all)


def _sample(sent: _Sent, of_all: dict[str, Any]) -> requests.EngineRequest:
    return requests.Sample(**sent.some("count", "seed"), **of_all)


def _shift(sent: _Sent, of_all: dict[str, Any]) -> requests.EngineRequest:
    return requests.Shift(person=sent.person(sent["person"]), by=sent["by"], **of_all)


def _detect(sent: _Sent, of_all: dict[str, Any]) -> requests.EngineRequest:
    return requests.Detect(file=sent.file(sent["file"]), **of_all)  # type: ignore[arg-type]


_KINDS: dict[str, Callable[[_Sent, dict[str, Any]], requests.EngineRequest]] = {
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
