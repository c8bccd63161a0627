"""What Prometheus reads: requests, jobs, waiting, batches."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from personae.serving.engine.engine import Engine
from personae.serving.jobs.record import Job
from personae.serving.jobs.runner import Runner
from personae.serving.jobs.store import JobStore

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600)


class Metrics:
    """The counters of one server; of this process alone, since its start."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "personae_http_requests", "Requests, by address and status.", ("path", "status"), registry=self.registry
        )
        self.jobs = Counter(
            "personae_jobs_ended", "Jobs that ended, by how.", ("kind", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "personae_job_seconds",
            "From a job's acceptance to its end.",
            ("kind",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._jobs = Gauge("personae_jobs", "Jobs in the database.", ("status",), registry=self.registry)
        self._alive = Gauge("personae_runner_alive", "1: jobs begin and end; 0: they do not.", registry=self.registry)
        self._engine = {
            name: Gauge(f"personae_engine_{name}", words, registry=self.registry)
            for name, words in (
                ("waiting", "Requests that wait for the model."),
                ("batches", "Calls of the model so far."),
                ("requests", "Requests that these calls served."),
                ("images", "Pictures of generations and edits that ended well."),
                ("seconds", "Seconds at work."),
            )
        }

    def ended(self, job: Job, status: str) -> None:
        """Count a job's end."""
        self.jobs.labels(job.kind, status).inc()
        self.seconds.labels(job.kind).observe(max(0.0, time.time() - job.created))

    def text(self, engine: Engine, store: JobStore, runner: Runner) -> bytes:
        """All of it, as Prometheus reads it."""
        counts, stats = store.counts(), engine.stats()
        for status in ("queued", "running", "done", "failed", "cancelled"):
            self._jobs.labels(status).set(counts.get(status, 0))
        for name, gauge in self._engine.items():
            gauge.set(getattr(stats, name))
        self._alive.set(runner.alive)
        return generate_latest(self.registry)
