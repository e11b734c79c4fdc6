"""Reports of workers and relays: each says every few seconds that it is at work.

# Note [Silence]
A worker that was killed as a whole leaves deliveries behind whose leases may last for
long. Its reports stop, and a relay that has watched them stand still for WORKER_TTL
lets those leases end. The relay counts that time by its own clock, from one look to
the next, and begins anew when a look comes late: after an outage of the database, or a
pause of the relay itself, everybody has been silent and nobody is gone.

Who deletes the worker's row lets its leases end, so that is done once. A worker that
was only paused has lost its leases by then, and is fenced; see Note [Fencing] in
``db.claim``.

A worker that was started again under the same name finds the row of its predecessor,
and does not wait as long. It does wait: during a deploy both are alive for a while.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from django.db import transaction

from signal_tasks.conf import settings
from signal_tasks.db.clock import DatabaseNow
from signal_tasks.models import Delivery, Worker

#: Fractions of WORKER_TTL: between two reports; the latest that the next look of a
#: relay may come; until a worker is missed, and looked for in each pass; until the
#: predecessor of the same name counts as gone.
INTERVAL, MAX_GAP, MISSED, SAME_NAME = 0.25, 0.5, 0.5, 0.7


class Report(NamedTuple):
    """The last report of a worker or relay, and its age (seconds)."""

    id: uuid.UUID
    name: str
    seen_at: datetime
    age: float


@dataclass(slots=True)
class Heartbeat:
    """The reports of one worker or relay, a row in each outbox.

    Two threads may use it: whichever comes first when a report is due writes it.
    """

    name: str
    id: uuid.UUID = field(default_factory=uuid.uuid4)
    runs_relay: bool = True
    queues: Callable[[], Iterable[str]] = tuple  # those that it consumes now
    _reported_at: dict[str, float] = field(default_factory=dict)

    def is_due(self, database: str, *, late: float = 0.0) -> bool:
        """Return True if a report is due, and has been for ``late`` seconds."""
        last = self._reported_at.get(database)
        wait = settings().WORKER_TTL * INTERVAL + late
        return last is None or time.monotonic() >= last + wait

    def report(self, database: str, **facts: object) -> None:
        """Record that this worker is at work now, and facts about its relay."""
        rows = Worker.objects.using(database)
        queues = "\n".join(sorted(name for name in self.queues() if "\n" not in name))
        changes: dict[str, Any] = {"seen_at": DatabaseNow(), "queues": queues, **facts}
        if not rows.filter(pk=self.id).update(**changes):
            same = {"runs_relay": self.runs_relay, "queues": queues}
            new = Worker(pk=self.id, name=self.name, **same)
            rows.bulk_create([new], ignore_conflicts=True)
        self._reported_at[database] = time.monotonic()

    def close(self, database: str) -> None:
        """Delete the row of a worker that stops."""
        Worker.objects.using(database).filter(pk=self.id).delete()


@dataclass(slots=True)
class Watch:
    """A relay's watch over the reports on one database; see Note [Silence]."""

    misses_somebody: bool = False  # a report has not come that was due
    _looked_at: float = 0.0
    _unchanged: dict[uuid.UUID, tuple[datetime, float]] = field(default_factory=dict)

    def look(
        self, reports: Iterable[Report], me: Heartbeat, *, now: float
    ) -> list[Report]:
        """Return the reports that have stood still for too long (``now``: monotonic)."""
        ttl = settings().WORKER_TTL
        gap = now - self._looked_at
        if gap > ttl * MAX_GAP:
            self._unchanged, gap = {}, 0.0
        self._looked_at = now
        before, self._unchanged, silent = self._unchanged, {}, []
        self.misses_somebody = False
        for report in reports:
            seen_at, since = before.get(report.id, (None, now))
            if seen_at != report.seen_at:  # it came since the last look
                since = now - min(report.age, gap)
            self._unchanged[report.id] = (report.seen_at, since)
            patience = ttl * (SAME_NAME if report.name == me.name else 1.0)
            if report.id == me.id or now - since < ttl * MISSED:
                continue
            self.misses_somebody = True
            if now - since >= patience:
                silent.append(report)
        return silent


def expire_leases_of_silent_workers(
    database: str, watch: Watch, me: Heartbeat, *, now: float
) -> int:
    """Let the leases of workers end that no longer report; see Note [Silence].

    Return the number of deliveries, which ``recover`` will find.
    """
    rows = Worker.objects.using(database)
    expired = 0
    for silent in watch.look(_reports(database), me, now=now):
        with transaction.atomic(using=database):
            still = rows.filter(pk=silent.id, seen_at__lte=silent.seen_at)
            if still.delete()[0]:
                deliveries = Delivery.objects.using(database)
                expired += deliveries.expire_leases_of(silent.id)
    return expired


def _reports(database: str) -> list[Report]:
    rows = Worker.objects.using(database).annotate(now=DatabaseNow())
    return [
        Report(pk, name, seen_at, (now - seen_at).total_seconds())
        for pk, name, seen_at, now in rows.values_list("pk", "name", "seen_at", "now")
    ]
