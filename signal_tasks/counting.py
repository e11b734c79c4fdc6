"""Count the deliveries of each receiver: each statement reads a bounded number of rows.

# Note [Bounded counts]
What is live is found by the index of ``next_check_at``, dead letters by an index of theirs
(or by that of the attempts that were the last ones, where the database has no partial
indexes), and what has finished by the index of ``finished_at``. Each statement reads at
most MAX_COUNTED rows, or MAX_DEAD entries of the index of dead letters, so it takes a
fraction of a second however much there is; beyond that numbers are too low, and
``is_capped`` says so.

Of the live ones, those are read that relays look at next. They look at a delivery again
after as long as it has waited, so these rows are of all ages, the oldest ones too. Of the
others, those are read that have finished last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import connections
from django.utils import timezone

from signal_tasks.db.sql import from_now_sql
from signal_tasks.models import Delivery
from signal_tasks.states import State

#: Rows that one statement reads.
MAX_COUNTED = 100_000
#: The same of dead letters, where their index alone is read.
MAX_DEAD = 200_000
#: Deliveries that have been due for this long show that nobody consumes their queue,
#: or knows their receiver.
UNSERVED_SECONDS = 30.0

#: Seconds from a column to now, by the database's clock.
SINCE = {
    "postgresql": "EXTRACT(EPOCH FROM STATEMENT_TIMESTAMP() - {})",
    "mysql": "TIMESTAMPDIFF(MICROSECOND, {}, UTC_TIMESTAMP(6)) / 1000000.0",
    "sqlite": "(JULIANDAY('now') - JULIANDAY({})) * 86400.0",
}
#: One look at the turns of a delivery that is due, and none at those of others.
MAY_START = """CASE WHEN live.state = 'pending' AND live.available_at <= {now}
    {besides} THEN 1 ELSE 0 END"""
#: What is left out of what may start now, each by a join and a condition that are in the
#: statement only if there is any of it.
HELD = (
    "LEFT JOIN signal_tasks_helddelivery AS held ON held.delivery_id = live.id",
    "AND held.delivery_id IS NULL",
)
#: Behind another delivery of its key, which no worker more would help.
BEHIND = (
    "LEFT JOIN signal_tasks_turn AS own ON own.delivery_id = live.id",
    "AND NOT EXISTS (SELECT 1 FROM signal_tasks_turn AS other "
    "WHERE other.sequence_id = own.sequence_id AND other.position < own.position)",
)
#: The limit that reaches nothing keeps PostgreSQL from looking at the turns of each
#: delivery once for every column.
LIVE = """
SELECT receiver, state, COUNT(*), SUM(is_due), SUM(may_start), {wait},
    SUM(is_unserved * may_start),
    SUM(CASE WHEN attempts > 0 THEN 1 ELSE 0 END),
    SUM(CASE WHEN orphaned THEN 1 ELSE 0 END),
    SUM(CASE WHEN orphaned THEN is_unserved ELSE 0 END),
    SUM(CASE WHEN parked = '' THEN 0 ELSE 1 END),
    MAX(parked)
FROM (
    SELECT live.*,
        CASE WHEN available_at <= {now} THEN 1 ELSE 0 END AS is_due,
        CASE WHEN available_at <= {late} THEN 1 ELSE 0 END AS is_unserved,
        {may_start} AS may_start
    FROM (
        SELECT id, receiver, state, attempts, orphaned, parked, available_at
        FROM signal_tasks_delivery WHERE next_check_at IS NOT NULL {bound}
    ) AS live {joins}
    LIMIT {most}
) AS seen
GROUP BY receiver, state
"""
FACTS = """
SELECT COUNT(*), EXISTS (SELECT 1 FROM signal_tasks_turn),
    EXISTS (SELECT 1 FROM signal_tasks_helddelivery)
FROM (
    SELECT 1 FROM signal_tasks_delivery WHERE next_check_at IS NOT NULL LIMIT {limit}
) AS live
"""
OLDEST = "MIN(CASE WHEN may_start = 1 THEN available_at END)"
DEAD = """
SELECT receiver, COUNT(*) FROM (
    SELECT receiver FROM signal_tasks_delivery WHERE state = 'dead'
    ORDER BY finished_at DESC LIMIT {limit}
) AS latest
GROUP BY receiver
"""
#: For a database without partial indexes: each dead letter has an attempt that was its
#: last. Those of what was replayed since have no receiver here: they were read, too.
DEAD_BY_ATTEMPTS = """
SELECT delivery.receiver, COUNT(*)
FROM (
    SELECT delivery_id, run FROM signal_tasks_attempt WHERE consequence = 'dead'
    ORDER BY consequence DESC, delivery_id DESC LIMIT {limit}
) AS last
LEFT JOIN signal_tasks_delivery AS delivery
    ON delivery.id = last.delivery_id AND delivery.run = last.run
    AND delivery.state = 'dead'
GROUP BY delivery.receiver
"""
FINISHED = """
SELECT receiver, state, COUNT(*) FROM (
    SELECT receiver, state FROM signal_tasks_delivery WHERE finished_at IS NOT NULL
    ORDER BY finished_at DESC LIMIT {limit}
) AS latest
GROUP BY receiver, state
"""
WAITS_BESIDES = """
SELECT live.receiver, MAX({wait})
FROM (
    SELECT id, receiver, event_id, state, available_at
    FROM signal_tasks_delivery WHERE next_check_at IS NOT NULL {bound}
) AS live
JOIN signal_tasks_event AS event ON event.id = live.event_id {joins}
WHERE {may_start} = 1 AND event.signal NOT IN ({signals})
GROUP BY live.receiver
"""
FIRST_LIVE = """
SELECT delivery.* FROM (
    SELECT id, receiver, next_check_at FROM signal_tasks_delivery
    WHERE next_check_at IS NOT NULL ORDER BY next_check_at LIMIT {most}
) AS live
JOIN signal_tasks_delivery AS delivery ON delivery.id = live.id
WHERE live.receiver = %s ORDER BY live.next_check_at LIMIT {limit}
"""


@dataclass(slots=True, kw_only=True)
class Load:
    """The live deliveries of one receiver.

    Attributes:
        due: pending ones whose time has come.
        startable: those of them that are neither held nor behind another of their key.
        waiting: pending ones whose time has not come.
        running: are claimed.
        retrying: pending ones that have failed before.
        oldest_wait: seconds for which the oldest startable one has been due, or None.
        unserved: startable ones that have been due for UNSERVED_SECONDS.
        orphaned: pending ones whose receiver no relay knows.
        unserved_orphans: those of them that have been due for so long.
        parked: pending ones that cannot be published.
        why_parked: the reason of one of them.
    """

    due: int = 0
    startable: int = 0
    waiting: int = 0
    running: int = 0
    retrying: int = 0
    oldest_wait: float | None = None
    unserved: int = 0
    orphaned: int = 0
    unserved_orphans: int = 0
    parked: int = 0
    why_parked: str = ""

    @property
    def pending(self) -> int:
        """All that are pending."""
        return self.due + self.waiting

    @property
    def number(self) -> int:
        """All that were counted."""
        return self.pending + self.running

    @property
    def oldest_due_at(self) -> datetime | None:
        """Since when the oldest startable one is due."""
        if self.oldest_wait is None:
            return None
        return timezone.now() - timedelta(seconds=self.oldest_wait)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loads:
    """The load of each receiver that has any; see Note [Bounded counts].

    Attributes:
        receivers: the loads, by the receivers' names.
        is_capped: not all that is live was counted.
        has_turns: some deliveries are in an order.
        has_held: some deliveries may be held.
    """

    receivers: Mapping[str, Load] = field(default_factory=dict)
    is_capped: bool = False
    has_turns: bool = False
    has_held: bool = False

    def of(self, receiver: str) -> Load:
        """Return the load of a receiver."""
        return self.receivers.get(receiver, Load())


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Numbers of deliveries by receiver, or by receiver and state."""

    numbers: Mapping[Any, int]
    is_capped: bool


def loads(database: str, *, limit: int | None = None) -> Loads:
    """Count what is live, two statements."""
    wait = SINCE[connections[database].vendor].format(OLDEST)
    late, params = from_now_sql(-UNSERVED_SECONDS, database)
    facts = _facts(database, limit)
    parts = {"late": late, "wait": wait, **facts.parts()}
    found: dict[str, Load] = {}
    for receiver, state, number, *counts in _rows(database, LIVE, params, **parts):
        load = found.setdefault(receiver, Load())
        if state == State.RUNNING:
            load.running = number
        else:
            _add_pending(load, number, *counts)
    return Loads(
        receivers=found,
        is_capped=bool(facts.bound),
        has_turns=facts.has_turns,
        has_held=facts.has_held,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """What a statement that reads live deliveries has to be made for.

    ``bound`` is its end, empty if all are few: to find the first ones of all takes
    longer than to read all.
    """

    database: str
    most: int
    bound: str
    has_turns: bool
    has_held: bool

    def parts(self) -> dict[str, str]:
        """Return the parts of such a statement."""
        some = ((HELD, self.has_held), (BEHIND, self.has_turns))
        kept = [each for each, is_there in some if is_there]
        now, _ = from_now_sql(0.0, self.database)
        besides = " ".join(condition for _, condition in kept)
        return {
            "now": now,
            "most": str(self.most),
            "bound": self.bound,
            "joins": " ".join(join for join, _ in kept),
            "may_start": MAY_START.format(now=now, besides=besides),
        }


def _facts(database: str, limit: int | None) -> _Facts:
    most = MAX_COUNTED if limit is None else limit
    ((number, has_turns, has_held),) = _rows(database, FACTS, limit=most)
    return _Facts(
        database=database,
        most=most,
        bound=f"ORDER BY next_check_at LIMIT {most}" if number >= most else "",
        has_turns=bool(has_turns),
        has_held=bool(has_held),
    )


def waits_besides(
    database: str, signals: Sequence[str], *, limit: int | None = None
) -> dict[str, float]:
    """Return the oldest wait of each receiver, but for the events of some signals.

    Two statements.
    """
    wait = SINCE[connections[database].vendor].format("live.available_at")
    marks = ", ".join(["%s"] * len(signals))
    parts = {"wait": wait, "signals": marks, **_facts(database, limit).parts()}
    found = _rows(database, WAITS_BESIDES, signals, **parts)
    return {receiver: max(float(seconds), 0.0) for receiver, seconds in found}


def _add_pending(load: Load, number: int, *counts: Any) -> None:
    due, startable, wait, unserved, retrying, *others = counts
    orphaned, unserved_orphans, parked, why = others
    load.due, load.waiting = int(due), number - int(due)
    load.startable = int(startable)
    load.oldest_wait = None if wait is None else max(float(wait), 0.0)
    load.unserved, load.retrying = int(unserved), int(retrying)
    load.orphaned, load.unserved_orphans = int(orphaned), int(unserved_orphans)
    load.parked, load.why_parked = int(parked), why


def first_live(database: str, receiver: str, *, limit: int) -> list[Delivery]:
    """Return the live deliveries of a receiver that relays look at next.

    They are looked for among the first MAX_COUNTED.
    """
    sql = FIRST_LIVE.format(most=MAX_COUNTED, limit=limit)
    return list(Delivery.objects.using(database).raw(sql, [receiver]))


def dead(database: str, *, limit: int | None = None) -> Counted:
    """Count the dead letters of each receiver, one statement."""
    has_index = connections[database].features.supports_partial_indexes
    sql, most = (DEAD, MAX_DEAD) if has_index else (DEAD_BY_ATTEMPTS, MAX_COUNTED)
    most = most if limit is None else limit
    numbers = dict(_rows(database, sql, limit=most))
    is_capped = sum(numbers.values()) >= most
    numbers.pop(None, None)
    return Counted(numbers=numbers, is_capped=is_capped)


def finished(database: str, *, limit: int | None = None) -> Counted:
    """Count what has finished, by receiver and state, one statement."""
    most = MAX_COUNTED if limit is None else limit
    rows = _rows(database, FINISHED, limit=most)
    numbers = {(receiver, state): number for receiver, state, number in rows}
    return Counted(numbers=numbers, is_capped=sum(numbers.values()) >= most)


def _rows(
    database: str, sql: str, params: Sequence[Any] = (), **parts: object
) -> Iterator[Any]:
    with connections[database].cursor() as cursor:
        cursor.execute(
            sql.format(**parts), params
        )  # also if none: %% is a percent sign
        yield from cursor.fetchall()
