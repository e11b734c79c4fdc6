"""Report from the databases what is pending, and which workers are alive.

Any process can do so, and the web process reports a stack without a live worker. Not
named ``health``: that is the public function ``signal_tasks.health``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any

from django.utils import timezone

from signal_tasks.broker.config import is_eager, queue_of
from signal_tasks.conf import settings
from signal_tasks.db.aliases import outbox_aliases
from signal_tasks.db.clock import from_now
from signal_tasks.models import Delivery, Worker
from signal_tasks.registry.registry import registry
from signal_tasks.states import State

#: Deliveries that have been due for this long show that nobody consumes their queue.
UNSERVED_SECONDS = 30.0

KEYS = (*State.values, "orphaned", "parked")


def health() -> dict[str, Any]:
    """Return counts by state and receiver, the oldest wait, the live workers.

    ``healthy`` is true when a worker or relay was seen within ``WORKER_TTL`` on
    every outbox and nothing that is due has waited for longer than
    ``MAX_PENDING_AGE`` and everything can be published; ``problems`` says what is wrong,
    a sentence each. Orphans count as pending and as orphaned, likewise what is parked.

    ``rescued`` is the number of deliveries that relays have published late in the last
    five minutes, ``broker_errors`` what relays had to do with the broker meanwhile.
    """
    receivers = {receiver.name: _no_counts() for receiver in registry.receivers()}
    ages: list[float] = []
    workers: list[Worker] = []
    problems: list[str] = []
    for database in outbox_aliases():
        for row in Delivery.objects.using(database).counts():
            counts = receivers.setdefault(row["receiver"], _no_counts())
            state = row["state"]  # maybe one of a newer release, during a deploy
            counts[state] = counts.get(state, 0) + row["n"]
            if row["orphaned"]:
                counts["orphaned"] += row["n"]
            if row["is_parked"] and row["state"] == State.PENDING:
                counts["parked"] += row["n"]
        ages += _oldest_age(database)
        live = _live_workers(database)
        workers += live
        if not any(worker.runs_relay for worker in live):
            problems.append(f"no live worker or relay was seen on {database!r}")
        problems += _unserved(database, live)
    oldest = max(ages, default=None)
    if oldest is not None and oldest > settings().MAX_PENDING_AGE:
        problems.append(f"the oldest due delivery has waited for {oldest:.0f} s")
    totals = Counter(_no_counts())
    for counts in receivers.values():
        totals.update(counts)
    problems += _parked(totals["parked"])
    return {
        **totals,
        "oldest_pending_age_s": oldest,
        "workers": sorted({worker.name for worker in workers}),
        "rescued": sum(worker.rescued for worker in workers),
        "broker_errors": sorted({w.broker_error for w in workers if w.broker_error}),
        "receivers": receivers,
        "healthy": not problems,
        "problems": problems,
    }


def _no_counts() -> dict[str, int]:
    return dict.fromkeys(KEYS, 0)


def _parked(number: int) -> list[str]:
    if not number:
        return []
    return [
        f"{row['n']} deliveries of {row['receiver']} cannot be published: "
        f"{row['reason']}"
        for database in outbox_aliases()
        for row in Delivery.objects.using(database).parked()
    ]


def _unserved(database: str, live: Collection[Worker]) -> Iterator[str]:
    """Yield a sentence for each queue with due deliveries that no live worker consumes.

    Nothing if no worker is alive, which is another problem. Asks the database only if there is such a queue of a receiver that is known here.
    """
    served = {name for worker in live for name in worker.queues.splitlines()}
    queues = {
        name: queue
        for receiver in registry.receivers()
        if (queue := queue_of(receiver)) is not None and queue not in served
        for name in receiver.names
    }
    if not live or not queues or is_eager():
        return
    rows = Delivery.objects.using(database)
    waiting = rows.waiting(list(queues), seconds=UNSERVED_SECONDS)
    for queue in sorted({queues[name] for name in waiting}):
        here = {name: n for name, n in waiting.items() if queues[name] == queue}
        yield (
            f"no live worker consumes the queue {queue!r}; due deliveries that wait in "
            f"it: {sum(here.values())} ({', '.join(here)}). Start a worker with "
            f"-Q {queue}, or have one consume it again: "
            f"celery -A <app> control add_consumer {queue}"
        )


def _oldest_age(database: str) -> list[float]:
    since = Delivery.objects.using(database).oldest_due()
    if since is None:
        return []
    return [max((timezone.now() - since).total_seconds(), 0.0)]


def _live_workers(database: str) -> list[Worker]:
    recently = from_now(-settings().WORKER_TTL)
    return list(Worker.objects.using(database).filter(seen_at__gte=recently))
