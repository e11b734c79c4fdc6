"""Relays of several processes tell of each problem once, and remember it."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import F

from signal_tasks.models import Gate, OpenAlert, Worker
from tests.integration.conftest import StartWorker
from tests.integration.workers import eventually, runs

ALERTS = {"CALL": ["tests.testapp.alerts.note"], "AFTER": 0, "COOLDOWN": 600}


def told() -> list[str]:
    return [run.key for run in runs("alerts")]


def all_have_passed(workers: int) -> bool:
    """Return True if so many relays have reported twice, so have ended a pass."""
    return Worker.objects.filter(seen_at__gt=F("started_at")).count() == workers


def test_of_two_relays_one_tells_and_after_a_power_cut_another_tells_the_end(
    start_worker: StartWorker,
) -> None:
    Gate.objects.create(receiver="t.mail", breaker="open", failures=5)
    setting = {"ALERTS": ALERTS, "WORKER_TTL": 2}
    first = [start_worker(ready=False, SIGNAL_TASKS=setting) for _ in range(2)]
    eventually(lambda: all_have_passed(2) and told())
    assert told() == ["new:breaker_open"]
    eventually(OpenAlert.objects.filter(told=True).exists)
    for worker in first:
        worker.kill()
    Gate.objects.update(breaker="closed")
    OpenAlert.objects.update(due_at=F("due_at") - timedelta(hours=1))
    start_worker(ready=False, SIGNAL_TASKS=setting)
    eventually(lambda: len(told()) > 1)
    assert told() == ["new:breaker_open", "over:breaker_open"]
