"""GET /v1/models, /v1/options, /healthz, /readyz, /metrics."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.concurrency import run_in_threadpool

from personae.conditioning.facex.representation import TOKENS
from personae.controls import registry
from personae.editing.tasks import TASKS
from personae.models import catalog
from personae.reading.face_regions import GROUPS
from personae.serving.api.access import Owner, Serves
from personae.serving.api.bodies import EditOptions, Options
from personae.serving.api.problems import Problem
from personae.serving.api.routes import Responses, problems_of
from personae.serving.api.views import HealthView, ModelsView, ModelView, OptionsView, OptionView, ProblemView
from personae.serving.engine.requests import MOST_IMAGES, MOST_PEOPLE

router = APIRouter(tags=["what there is"])
_OF_KEYS = problems_of(401, 422, 429)
_LOADING: Responses = {503: {"model": ProblemView, "description": "The models are not loaded yet, or cannot be."}}
_COUNTERS: Responses = {
    200: {"description": "For Prometheus.", "content": {"text/plain": {"schema": {"type": "string"}}}},
    **problems_of(401, 429),
}


@router.get("/v1/models", responses=_OF_KEYS)
async def list_models(service: Serves, owner: Owner) -> ModelsView:
    """The models that requests may name."""
    loaded, facts = service.engine.stats().loaded, service.engine.facts
    rows = []
    for name in service.engine.models:
        known: dict[str, Any] = asdict(facts[name]) if name in facts else {}
        entry = catalog.MODELS.get(service.engine.source_of(name) or "")
        fields = {field: known[field] for field in ModelView.model_fields if field in known and field != "name"}
        licence = None if entry is None else entry.licence
        rows.append(ModelView(name=name, loaded=name in loaded, licence=licence, **fields))
    return ModelsView(models=rows)


@router.get("/v1/options", responses=_OF_KEYS)
async def list_options(
    service: Serves, owner: Owner, model: Annotated[str | None, Query(max_length=100)] = None
) -> OptionsView:
    """What a request may set, with ranges and defaults, and which of it this model can do."""
    name = model or service.engine.models[0]
    if name not in service.engine.models:
        raise Problem(422, f"there is no model {name[:100]!r}: /v1/models names them")
    facts = service.engine.facts.get(name)
    offered = {*Options.model_fields, *EditOptions.model_fields}
    rows = []
    for row in registry.rows():
        if row["name"] not in offered:
            continue
        component = row["component"]
        able = None if facts is None else component is None or component in facts.components
        rows.append(OptionView(**{**row, "available": able}))
    return OptionsView(
        model=name,
        options=rows,
        tasks=[{"name": one.name, "summary": one.summary, "photos": list(one.roles)} for one in TASKS.values()],
        regions=list(GROUPS),
        tokens=list(TOKENS),
        limits={
            "images": MOST_IMAGES,
            "people": MOST_PEOPLE,
            "bytes": service.settings.most_bytes,
            "job_seconds": service.settings.job_seconds,
            "results_for": service.settings.results_for,
        },
    )


@router.get("/healthz")
async def lives() -> HealthView:
    """Whether the server lives."""
    return HealthView(status="ok")


@router.get("/readyz", responses=_LOADING)
async def serves(service: Serves) -> HealthView:
    """Whether the server serves: its first model is loaded and warm, and jobs begin and end."""
    if service.engine.failure is not None:
        raise Problem(503, "the models could not be loaded: the server's log says why")
    if not service.runner.alive:
        raise Problem(503, "jobs are no longer served: the server's log says why, and it must be started again")
    if not service.engine.ready:
        raise Problem(503, "the models are being loaded", retry_after=2)
    return HealthView(status="ready")


@router.get("/metrics", response_class=Response, responses=_COUNTERS)
async def count(service: Serves, owner: Owner) -> Response:
    """Counters of this process, as Prometheus reads them."""
    text = await run_in_threadpool(service.metrics.text, service.engine, service.store, service.runner)
    return Response(text, media_type="text/plain; version=0.0.4")
