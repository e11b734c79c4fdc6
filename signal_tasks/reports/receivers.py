"""Receivers: where their code is, how much they have to do, and what holds them."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, Min, Q

from signal_tasks.db.clock import DatabaseNow
from signal_tasks.models import Delivery, Gate
from signal_tasks.registry.registry import Receiver, registry
from signal_tasks.reports import bounds
from signal_tasks.states import State

#: Deliveries of each list of a receiver's page.
MAX_ROWS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The live deliveries of a receiver, counted up to ``bounds.MAX_COUNTED``.

    Attributes:
        due: may start now.
        waiting: for their time.
        running: are claimed.
        retrying: are pending and have failed before.
        is_capped: there are more than were counted.
        oldest_due_at: since when the one that waits longest is due.
    """

    due: int
    waiting: int
    running: int
    retrying: int
    is_capped: bool
    oldest_due_at: datetime | None

    @property
    def number(self) -> int:
        """The number of all that were counted."""
        return self.due + self.waiting + self.running


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverReport:
    """Everything about one receiver in one outbox."""

    name: str
    receiver: Receiver | None
    source: str
    signals: Sequence[str]
    load: Load
    dead: bounds.Count
    live: Sequence[Delivery]
    letters: Sequence[Delivery]
    gate: Gate | None

    @property
    def takes_past_events(self) -> bool:
        """True if this process can backfill it: it is known here, and in no order."""
        return self.receiver is not None and not self.receiver.options.ordered


def receiver(database: str, name: str) -> ReceiverReport:
    """Return everything about a receiver, known here or not; five statements."""
    known = registry.receiver(name)
    rows = Delivery.objects.using(database).filter(receiver=name)
    dead = rows.dead()
    return ReceiverReport(
        name=name,
        receiver=known,
        source=source_of(name),
        signals=sorted(registry.names_of_signals(known)) if known else [],
        load=_load(rows.live()),
        dead=bounds.count(dead),
        live=list(rows.live().order_by("next_check_at")[:MAX_ROWS]),
        letters=list(dead.order_by("-finished_at")[:MAX_ROWS]),
        gate=Gate.objects.using(database).filter(pk=name).first(),
    )


def source_of(name: str) -> str:
    """Return the module and line of a receiver's function, if it is known here."""
    known = registry.receiver(name)
    function = known.function() if known else None
    if function is None:
        return ""
    inner: Any = inspect.unwrap(function)
    code = getattr(inner, "__code__", None)
    module = getattr(inner, "__module__", "?")
    return f"{module}, line {code.co_firstlineno}" if code else str(module)


def _load(live: Any) -> Load:
    counted = live.order_by()[: bounds.MAX_COUNTED + 1]
    is_due = Q(state=State.PENDING, available_at__lte=DatabaseNow())
    pending = Q(state=State.PENDING)
    found = counted.aggregate(
        number=Count("pk"),
        due=Count("pk", filter=is_due),
        waiting=Count("pk", filter=pending & ~is_due),
        running=Count("pk", filter=Q(state=State.RUNNING)),
        retrying=Count("pk", filter=pending & Q(attempts__gt=0)),
        oldest_due_at=Min("available_at", filter=is_due),
    )
    is_capped = found.pop("number") > bounds.MAX_COUNTED
    return Load(is_capped=is_capped, **found)
