"""What the addresses of one server share: the engine, the jobs, the counters; opened and closed together."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from personae.errors import BadOption
from personae.io import atomic, lock
from personae.serving.api.events import OpenAnswers
from personae.serving.api.metrics import Metrics
from personae.serving.api.settings import Settings, filter_of
from personae.serving.engine.engine import Engine
from personae.serving.jobs.files import JobFiles
from personae.serving.jobs.record import Job
from personae.serving.jobs.runner import Live, Runner
from personae.serving.jobs.store import JobStore
from personae.serving.safety import DenyList, Policy


def policy_of(settings: Settings) -> Policy:
    """What an operator forbids. Raises `BadIdentity`, `BadOption`."""
    return Policy(
        deny_list=None if settings.deny_list is None else DenyList.load(settings.deny_list),
        output_filter=None if settings.output_filter is None else filter_of(settings.output_filter),
    )


def require_filter(settings: Settings) -> None:
    """Raise `BadOption` for a model that shows more than faces, without a filter or the word that it needs none."""
    from personae.models import catalog

    bundled = {name for name, entry in catalog.MODELS.items() if entry.folder is not None}
    others = [name for name, source in settings.models.items() if not callable(source) and str(source) not in bundled]
    if others and settings.output_filter is None and not settings.without_filter:
        raise BadOption(
            f"model {others[0]!r} did not come with personae and may show what it should not: name a function that "
            "looks at every picture (--output-filter package.module:function), or say --no-output-filter"
        )


@dataclass(frozen=True, kw_only=True)
class Service:
    """One server's parts."""

    settings: Settings
    engine: Engine
    store: JobStore
    files: JobFiles
    runner: Runner
    metrics: Metrics
    open_answers: OpenAnswers

    def get(self, name: str) -> Job | None:
        """A job of the database."""
        return self.store.get(name)

    def latest(self, job: Job) -> Job:
        """A job as the database has it now; as it was, if it is there no more."""
        return self.store.get(job.id) or job

    def live(self, name: str) -> Live | None:
        """A job at work."""
        return self.runner.live(name)


@contextmanager
def running(settings: Settings) -> Iterator[Service]:
    """A server's parts, for the time of the block: the engine starts, and goes on with the jobs that there are. What is
    at work at the end is queued again.

    Raises `BadOutput` if another server has the folder, or it cannot be written; `BadOption`, `BadIdentity`, `BadData`.
    """
    require_filter(settings)
    policy = policy_of(settings)
    with atomic.errors_about(settings.state):
        settings.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    with ExitStack() as stack:
        stack.enter_context(lock.own(settings.state / lock.NAME, f"the server's folder {settings.state}"))
        store = JobStore(settings.state / "jobs.sqlite", most_waiting=settings.most_waiting)
        stack.callback(store.close)
        files = JobFiles(settings.state / "jobs")
        engine = stack.enter_context(
            Engine(
                settings.models,
                devices=[settings.device],
                budget=settings.memory,
                waiting=2 * settings.at_once,
                timeout=settings.job_seconds,
                policy=policy,
            )
        )
        metrics = Metrics()
        runner = Runner(
            engine,
            store,
            files,
            at_once=settings.at_once,
            lease=settings.lease,
            results_for=settings.results_for,
            on_end=metrics.ended,
        )
        stack.callback(runner.close)
        yield Service(
            settings=settings,
            engine=engine,
            store=store,
            files=files,
            runner=runner,
            metrics=metrics,
            open_answers=OpenAnswers(settings.streams),
        )
