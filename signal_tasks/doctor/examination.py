"""The examination: each step that the steps before it allow, one after the other."""

from __future__ import annotations

from collections.abc import Iterator

from signal_tasks.broker import config
from signal_tasks.db.aliases import outbox_aliases
from signal_tasks.doctor import deliveries, setup, trial, workers
from signal_tasks.doctor.findings import Finding, Verdict, skipped

NEEDS_THE_APP = "needs the Celery app, which reads CELERY_BROKER_URL"


def examine(timeout: float) -> Iterator[Finding]:
    """Yield the findings as they are made; wait for each answer so long (seconds)."""
    yield from setup.settings()
    databases = {alias: setup.database(alias, timeout) for alias in outbox_aliases()}
    yield from databases.values()
    app = setup.celery_app()
    yield app
    is_set = app.verdict is Verdict.OK
    broker = setup.broker(timeout) if is_set else skipped("broker", NEEDS_THE_APP)
    yield broker
    yield setup.receivers()
    for alias, found in databases.items():
        if found.verdict is not Verdict.OK:
            yield skipped("workers", f"{alias}: needs the database")
            yield skipped("test event", f"{alias}: needs the database")
        else:
            answers = broker.verdict is Verdict.OK
            yield from _processes(alias, timeout, broker_answers=answers)


def _processes(
    alias: str, timeout: float, *, broker_answers: bool
) -> Iterator[Finding]:
    live = workers.live_when_started(alias, timeout)
    if not config.is_eager():
        yield from workers.workers(alias, live, timeout, broker_answers=broker_answers)
    if any(worker.queues for worker in live) or config.is_eager():
        yield trial.send_test_event(alias, live, timeout)
    else:
        yield skipped("test event", f"{alias}: needs a worker")
    yield from deliveries.failed(alias)
    yield from deliveries.unsettled(alias)
