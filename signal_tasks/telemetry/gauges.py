"""Read from a database what waits, runs, is dead or is held: numbers of this moment.

# Note [Gauges]
No statement here reads finished deliveries that are well, and each reads at most
MAX_COUNTED rows, of those that Note [Bounded counts] tells of; beyond that numbers are
too low, and ``complete`` says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connections
from django.db.models import Q

from signal_tasks import counting
from signal_tasks.conf import settings
from signal_tasks.db.clock import DatabaseNow, from_now
from signal_tasks.db.timeouts import statements_within
from signal_tasks.models import Control, Gate, Worker
from signal_tasks.registry.registry import Receiver, registry
from signal_tasks.states import Breaker
from signal_tasks.steering.targets import targets_of

#: Rows that one statement reads.
MAX_COUNTED = counting.MAX_COUNTED
#: No statement may take longer, where the database can end it (seconds).
MAX_SECONDS = 5.0

BLOCKED = """
SELECT delivery.receiver, COUNT(DISTINCT turn.sequence_id)
FROM (
    SELECT delivery_id, sequence_id FROM signal_tasks_turn LIMIT {limit}
) AS turn
JOIN signal_tasks_delivery AS delivery ON delivery.id = turn.delivery_id
WHERE delivery.state = 'dead'
GROUP BY delivery.receiver
"""
#: The gate that a delivery waits at may be that of its signal.
HELD = """
SELECT delivery.receiver, held.why, COUNT(*)
FROM (SELECT delivery_id, why FROM signal_tasks_helddelivery LIMIT {limit}) AS held
JOIN signal_tasks_delivery AS delivery ON delivery.id = held.delivery_id
WHERE delivery.state = 'pending'
GROUP BY delivery.receiver, held.why
"""


@dataclass(slots=True, kw_only=True)
class Load:
    """The deliveries of one receiver.

    Attributes:
        pending, running, dead: deliveries in that state.
        due: pending ones that a worker may start now.
        oldest_wait: seconds for which the oldest of those has been due.
        orphaned: pending ones whose receiver no relay knows.
        parked: pending ones that cannot be published.
        held: pending ones that are held, by the reason.
        blocked_keys: keys whose next delivery is dead.
    """

    pending: int = 0
    running: int = 0
    dead: int = 0
    due: int = 0
    oldest_wait: float = 0.0
    orphaned: int = 0
    parked: int = 0
    held: dict[str, int] = field(default_factory=dict)
    blocked_keys: int = 0


@dataclass(slots=True, kw_only=True)
class Gauges:
    """The contents of a database at this moment; see Note [Gauges].

    Attributes:
        receivers: the load of each receiver that is known or has any.
        complete: False if there was more than is counted.
        workers: workers and relays that have reported lately.
        relays: those of them that run a relay.
        broker_failures: those that had to do with a broker that failed lately.
        paused: receivers that an operator has paused.
        breakers: the receivers whose breaker is not closed.
    """

    receivers: dict[str, Load] = field(default_factory=dict)
    complete: bool = True
    workers: int = 0
    relays: int = 0
    broker_failures: int = 0
    paused: list[str] = field(default_factory=list)
    breakers: list[str] = field(default_factory=list)

    def of(self, receiver: str) -> Load:
        """Return the load of a receiver."""
        return self.receivers.setdefault(receiver, Load())


def read(database: str, *, limit: int = MAX_COUNTED) -> Gauges:
    """Return the gauges of one database; a fixed number of bounded statements."""
    gauges = Gauges()
    for receiver in registry.receivers():
        gauges.of(receiver.name)
    with statements_within(MAX_SECONDS, database):
        loads = counting.loads(database, limit=limit)
        _count_live(gauges, loads)
        if loads.has_held:
            _count_held(gauges, database, limit)
        _count_dead(gauges, database, limit, is_ordered=loads.has_turns)
    _count_workers(gauges, database)
    gates = Gate.of_receivers(database)
    broken = [gate.receiver for gate in gates if gate.breaker != Breaker.CLOSED]
    gauges.breakers = broken[:limit]
    gauges.paused = _paused(database)
    return gauges


def _count_live(gauges: Gauges, loads: counting.Loads) -> None:
    gauges.complete = not loads.is_capped
    for receiver, live in loads.receivers.items():
        load = gauges.of(receiver)
        load.pending, load.running = live.pending, live.running
        load.due, load.oldest_wait = live.startable, live.oldest_wait or 0.0
        load.orphaned, load.parked = live.orphaned, live.parked


def _count_held(gauges: Gauges, database: str, limit: int) -> None:
    for receiver, why, number in _rows(database, HELD, limit=limit):
        gauges.of(receiver).held[why] = number


def _count_dead(gauges: Gauges, database: str, limit: int, *, is_ordered: bool) -> None:
    dead = counting.dead(database, limit=limit)
    for receiver, number in dead.numbers.items():
        gauges.of(receiver).dead = number
    gauges.complete = gauges.complete and not dead.is_capped
    if dead.numbers and is_ordered:
        for receiver, blocked in _rows(database, BLOCKED, limit=limit):
            gauges.of(receiver).blocked_keys = blocked


def _rows(database: str, sql: str, **parts: object) -> Sequence[Any]:
    with connections[database].cursor() as cursor:
        cursor.execute(sql.format(**parts), ())
        rows: Sequence[Any] = cursor.fetchall()
        return rows


def _count_workers(gauges: Gauges, database: str) -> None:
    recently = from_now(-settings().WORKER_TTL)
    live = Worker.objects.using(database).filter(seen_at__gte=recently)
    for runs_relay, error in live.values_list("runs_relay", "broker_error"):
        gauges.workers += 1
        gauges.relays += runs_relay
        gauges.broker_failures += bool(error)


def _paused(database: str) -> list[str]:
    """Return the receivers that are known here and paused."""
    in_force = Q(until__isnull=True) | Q(until__gt=DatabaseNow())
    rows = Control.objects.using(database).filter(in_force, kind=Control.Kind.PAUSE)
    targets = set(rows.values_list("target", flat=True))
    if not targets:
        return []
    return [
        receiver.name
        for receiver in registry.receivers()
        if targets & {*targets_of(receiver), *_signals_of(receiver)}
    ]


def _signals_of(receiver: Receiver) -> Iterator[str]:
    return (f"signal:{name}" for name in registry.signal_names(receiver))
