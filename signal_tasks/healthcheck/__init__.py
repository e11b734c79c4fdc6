"""Report from the databases what is pending, what is wrong, which workers are alive.

Any process can do so, and the web process reports a stack without a live worker. Not
named ``health``: that is the public function ``signal_tasks.health``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, cast

from signal_tasks.conf import settings
from signal_tasks.db.aliases import outbox_aliases
from signal_tasks.db.clock import from_now
from signal_tasks.health_report import HealthReport
from signal_tasks.healthcheck.problems import (
    notices,
    oldest_waits,
    overdue,
    problems,
    reporters,
)
from signal_tasks.models import Delivery, Worker
from signal_tasks.registry.registry import registry
from signal_tasks.states import State

KEYS = (*State.values, "orphaned", "parked")


def health() -> HealthReport:
    """Return counts by state and receiver, the oldest wait, the live workers.

    ``problems`` says what is wrong and what an operator has decided, a sentence each,
    with the command that mends it. ``healthy`` is true when nothing is wrong: what is
    paused, or a limit that has expired, is told and does not count. Orphans count as
    pending and as orphaned, likewise what is parked.

    ``rescued`` is the number of deliveries that relays have published late in the last
    five minutes, ``broker_errors`` what relays had to do with the broker meanwhile;
    if no worker is alive, what the last ones had.
    """
    receivers = {receiver.name: _no_counts() for receiver in registry.receivers()}
    ages: list[float] = []
    workers: list[Worker] = []
    errors: set[str] = set()
    wrong: list[str] = []
    told: list[str] = []
    for database in outbox_aliases():
        _count(receivers, Delivery.objects.using(database).counts())
        waits = oldest_waits(database)
        ages += waits.values()
        live = live_workers(database)
        workers += live
        errors |= {worker.broker_error for worker in reporters(database, live)}
        found = [*problems(database, live), *overdue(waits)]
        wrong += [problem.text for problem in found]
        told += notices(database)
    totals = Counter(_no_counts())
    for counts in receivers.values():
        totals.update(counts)
    report = {
        **totals,
        "oldest_pending_age_s": max(ages, default=None),
        "workers": sorted({worker.name for worker in workers}),
        "rescued": sum(worker.rescued for worker in workers),
        "broker_errors": sorted(errors - {""}),
        "receivers": receivers,
        "healthy": not wrong,
        "problems": [*wrong, *told],
    }
    return cast("HealthReport", report)


def without_relay() -> list[str]:
    """Return the aliases of the outboxes on which no relay is alive."""
    return [
        database
        for database in outbox_aliases()
        if not any(worker.runs_relay for worker in live_workers(database))
    ]


def _no_counts() -> dict[str, int]:
    return dict.fromkeys(KEYS, 0)


def _count(
    receivers: dict[str, dict[str, int]], rows: Iterable[dict[str, Any]]
) -> None:
    for row in rows:
        counts = receivers.setdefault(row["receiver"], _no_counts())
        state = row["state"]  # maybe one of a newer release, during a deploy
        counts[state] = counts.get(state, 0) + row["n"]
        if row["orphaned"]:
            counts["orphaned"] += row["n"]
        if row["is_parked"] and row["state"] == State.PENDING:
            counts["parked"] += row["n"]


def live_workers(database: str) -> list[Worker]:
    """Return the workers and relays that have reported lately."""
    recently = from_now(-settings().WORKER_TTL)
    return list(Worker.objects.using(database).filter(seen_at__gte=recently))
