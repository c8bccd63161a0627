"""What is answered."""

from typing import Annotated, Any

from pydantic import BaseModel, Field

from personae.serving.jobs.record import Job
from personae.serving.jobs.runner import Live

_STAGES = "waiting, running (of an animation: reading the driver, drawing), writing; at the end, the status."


class ProblemDetail(BaseModel):
    """What was wrong, and what to do."""

    type: str
    message: str


class ProblemView(BaseModel):
    """An error."""

    error: ProblemDetail


class ProgressView(BaseModel):
    """How far a job is. preview: the address of the latest look at an unfinished image."""

    stage: Annotated[str, Field(description=_STAGES, examples=["running"])]
    step: int = 0
    steps: int = 0
    previews: int = 0
    preview: str | None = None


class FileView(BaseModel):
    """One file of a result. likeness: cosine to the requested identity; null: not measured, or no face was found."""

    name: str
    url: str
    media_type: str
    bytes: int
    sha256: str
    seed: int | None = None
    likeness: float | None = None
    person: int | None = None


class ResultView(BaseModel):
    """What a job has made. data: what is no file: `faces` of a photo, `people` as numbers."""

    files: list[FileView]
    data: dict[str, Any]


class JobView(BaseModel):
    """A job. Times in seconds since 1970."""

    id: str
    kind: str
    status: Annotated[str, Field(pattern="^(queued|running|done|failed|cancelled)$")]
    created: float
    started: float | None = None
    ended: float | None = None
    expires: float | None = None
    progress: ProgressView
    result: ResultView | None = None
    error: ProblemDetail | None = None
    url: str
    events: str


class JobsView(BaseModel):
    """Jobs, the newest first."""

    jobs: list[JobView]


class ModelView(BaseModel):
    """A model. What is only known of a loaded one is null until then."""

    name: str
    loaded: bool
    side: int | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    identity_space: str | None = None
    identity_width: int | None = None
    components: list[str] | None = None
    directions: list[str] | None = None
    licence: str | None = None


class ModelsView(BaseModel):
    """The models that requests may name; the first is the default."""

    models: list[ModelView]


class OptionView(BaseModel):
    """An option of a request, as it is declared; `available`: whether the model can do it, null: not known yet."""

    model_config = {"extra": "allow"}

    name: str
    type: str
    help: str
    available: bool | None = None


class OptionsView(BaseModel):
    """The options of a request, and the names that other fields take."""

    model: str
    options: list[OptionView]
    tasks: list[dict[str, Any]]
    regions: list[str]
    tokens: list[str]
    limits: dict[str, Any]


class HealthView(BaseModel):
    """Whether the server lives, or serves."""

    status: str


def job_view(job: Job, live: Live | None) -> JobView:
    """A job as it is now."""
    url = f"/v1/jobs/{job.id}"
    result = None
    if job.result is not None:
        files = [FileView(url=f"{url}/results/{row['name']}", **row) for row in job.result["files"]]
        result = ResultView(files=files, data=job.result["data"])
    return JobView(
        id=job.id,
        kind=job.kind,
        status=job.status,
        created=job.created,
        started=job.started,
        ended=job.ended,
        expires=job.expires,
        progress=progress_view(job, live),
        result=result,
        error=None if job.error is None else ProblemDetail(**job.error),
        url=url,
        events=f"{url}/events",
    )


def progress_view(job: Job, live: Live | None) -> ProgressView:
    """How far a job is."""
    if job.done or live is None:
        return ProgressView(stage={"queued": "waiting"}.get(job.status, job.status))
    now = live.progress
    stage = "writing" if now.stage == "done" else now.stage
    preview = f"/v1/jobs/{job.id}/preview?number={live.previews}" if live.previews else None
    return ProgressView(stage=stage, step=now.step, steps=now.steps, previews=live.previews, preview=preview)
