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

from signal_tasks.db.counts import (
    BEHIND,
    DEAD,
    DEAD_BY_ATTEMPTS,
    FACTS,
    FINISHED,
    FIRST_LIVE,
    HELD,
    LIVE,
    MAY_START,
    OLDEST,
    SINCE,
    WAITS_BESIDES,
)
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
    def kept(self) -> int:
        """Due ones that may not start: held, or behind another of their key."""
        return self.due - self.startable

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

    @property
    def why_kept(self) -> str:
        """Why due deliveries may not start, as a verb of theirs."""
        if not self.has_held:
            return "wait for their turn"
        return "are held, or wait for their turn" if self.has_turns else "are held"

    def numbers(self, name: str) -> dict[str, int]:
        """Return one number of the loads, of the receivers of which it is not zero."""
        found = {each: getattr(load, name) for each, load in self.receivers.items()}
        return {each: found[each] for each in sorted(found) if found[each]}


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
    """The facts that a statement which reads live deliveries is made for.

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

    They are looked for among the first MAX_COUNTED. Each has its ``turn_key``, None if it has
    no turn, and ``is_behind``: another one of the key has to run before it.
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
        # With parameters also if there are none: %% is a percent sign.
        cursor.execute(sql.format(**parts), params)
        yield from cursor.fetchall()
