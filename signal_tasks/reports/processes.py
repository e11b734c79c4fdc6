"""Workers and relays: who is at work, on what, and who is gone."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.db.models import BooleanField, Case, Value, When

from signal_tasks.conf import settings
from signal_tasks.db.clock import from_now
from signal_tasks.models import Delivery, Worker
from signal_tasks.reports import bounds
from signal_tasks.states import State

#: Workers, and deliveries of one of them, that the page shows.
MAX_WORKERS, MAX_HELD = 200, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLine:
    """One worker or relay.

    Attributes:
        row: its last report.
        is_live: it has reported within WORKER_TTL.
        held: the deliveries that it runs, those whose lease ends first.
        number: of them.
    """

    row: Worker
    is_live: bool
    held: Sequence[Delivery]
    number: int

    @property
    def host(self) -> str:
        """The host, as its name tells it."""
        _, at, host = self.row.name.partition("@")
        return host if at else self.row.name

    @property
    def queues(self) -> list[str]:
        """The queues that it consumes."""
        return self.row.queues.split()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPage:
    """The workers, live ones first; ``is_capped``: more run than were read."""

    lines: Sequence[WorkerLine]
    is_capped: bool

    @property
    def live(self) -> int:
        """The number of live ones."""
        return sum(line.is_live for line in self.lines)


def workers(database: str) -> WorkerPage:
    """Return the workers and relays with what they hold; two statements."""
    recently = from_now(-settings().WORKER_TTL)
    is_live = Case(
        When(seen_at__gte=recently, then=Value(True)),
        default=Value(False),
        output_field=BooleanField(),
    )
    rows = Worker.objects.using(database).annotate(is_live=is_live)
    found = list(rows.order_by("-is_live", "name", "-seen_at")[:MAX_WORKERS])
    held, is_capped = _held(database)
    lines = [
        WorkerLine(
            row=row,
            is_live=bool(row.is_live),
            held=held.get(row.pk, [])[:MAX_HELD],
            number=len(held.get(row.pk, [])),
        )
        for row in found
    ]
    return WorkerPage(lines=lines, is_capped=is_capped)


def _held(database: str) -> tuple[Mapping[uuid.UUID, list[Delivery]], bool]:
    held: dict[uuid.UUID, list[Delivery]] = {}
    most = bounds.MAX_COUNTED
    running = Delivery.objects.using(database).filter(state=State.RUNNING)
    # The index of what has finished, and when, finds the others by their state, too.
    ordered = running.filter(finished_at__isnull=True).order_by("next_check_at")
    rows = list(ordered[:most])
    for delivery in rows:
        if delivery.claimed_by is not None:
            held.setdefault(delivery.claimed_by, []).append(delivery)
    return held, len(rows) == most
