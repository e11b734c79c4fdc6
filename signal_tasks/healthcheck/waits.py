"""Find which receivers wait for too long, and which queues nobody consumes.

What is paused, held or behind another of its key may wait.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from django.db.models import Q

from signal_tasks import counting
from signal_tasks.broker.config import celery_command, is_eager, queue_of
from signal_tasks.conf import settings
from signal_tasks.counting import Loads
from signal_tasks.db.clock import DatabaseNow
from signal_tasks.healthcheck.problem import Kind, Problem
from signal_tasks.healthcheck.wording import length_text
from signal_tasks.models import Control, Worker
from signal_tasks.registry.registry import registry
from signal_tasks.steering.targets import EVERYTHING, names_of_signal, targets_of


def overdue(waits: Mapping[str, float]) -> Iterator[Problem]:
    """Yield a problem for each receiver that is late, the latest one first."""
    longest = settings().MAX_PENDING_AGE
    late = {name: wait for name, wait in waits.items() if wait > longest}
    for name in sorted(late, key=lambda name: (-late[name], name)):
        yield Problem(
            kind=Kind.WAIT,
            subject=name,
            page=f"receivers/{name}/",
            text=f"the oldest due delivery of {name} has waited for "
            f"{length_text(late[name])}: are there enough workers for its queue, and "
            "does the receiver hang?",
        )


def oldest_waits(database: str, loads: Loads) -> dict[str, float]:
    """Return how long what may start and is not paused waits, by receiver (seconds)."""
    names, signals = paused(database)
    waits: Mapping[str, float | None] = {
        name: load.oldest_wait for name, load in loads.receivers.items()
    }
    if signals:
        waits = counting.waits_besides(database, signals)
    return {
        name: wait
        for name, wait in waits.items()
        if wait is not None and names is not None and name not in names
    }


def unserved(live: Collection[Worker], loads: Loads) -> Iterator[Problem]:
    """Yield a problem for each queue with due deliveries that no live worker consumes.

    Nothing if no worker is alive, which is another problem.
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
    every = loads.numbers("unserved")
    waiting = {name: number for name, number in every.items() if name in queues}
    for queue in sorted({queues[name] for name in waiting}):
        here = {name: n for name, n in waiting.items() if queues[name] == queue}
        yield Problem(
            kind=Kind.NO_WORKER,
            subject=queue,
            page="workers/",
            text=f"no live worker consumes the queue {queue!r}; due deliveries that "
            f"wait in it: {sum(here.values())} ({', '.join(here)}). Start a worker with "
            f"-Q {queue}, or have one consume it again: "
            f"{celery_command()} control add_consumer {queue}",
        )


def paused(database: str) -> tuple[set[str] | None, list[str]]:
    """Return the names of the paused receivers, None for all; and the paused signals.

    All names of both, since rows may have former ones.
    """
    rows = Control.objects.using(database).filter(
        Q(until__isnull=True) | Q(until__gt=DatabaseNow()), kind=Control.Kind.PAUSE
    )
    targets = set(rows.values_list("target", flat=True))
    if EVERYTHING in targets:
        return None, []
    kinds = [target.partition(":")[::2] for target in targets]
    names = {name for kind, name in kinds if kind == "receiver"}
    for receiver in registry.receivers() if targets else ():
        if targets & {*targets_of(receiver)}:
            names |= {*receiver.names}
    signals = {
        each
        for kind, name in kinds
        if kind == "signal"
        for each in names_of_signal(name)
    }
    return names, sorted(signals)
