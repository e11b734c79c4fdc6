"""Receivers: where their code is, how much they have to do, and what holds them."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Prefetch, prefetch_related_objects

from signal_tasks import counting
from signal_tasks.models import Delivery, Event, Gate
from signal_tasks.registry.registry import Receiver, registry
from signal_tasks.reports import bounds
from signal_tasks.reports.keyed import key_of
from signal_tasks.steering.keys import is_blocked

#: Deliveries of each list of a receiver's page.
MAX_ROWS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverReport:
    """Everything about one receiver in one outbox.

    ``load`` counts its live deliveries; ``is_capped``: not all live ones were read.
    ``why_kept`` says in words why some that are due may not start, and ``is_blocked``
    that some wait behind a dead letter.
    """

    name: str
    receiver: Receiver | None
    source: str
    signals: Sequence[str]
    load: counting.Load
    why_kept: str
    is_blocked: bool
    is_capped: bool
    dead: bounds.Count
    live: Sequence[Delivery]
    letters: Sequence[Delivery]
    gate: Gate | None

    @property
    def takes_past_events(self) -> bool:
        """True if this process can backfill it: it is known here, and in no order."""
        return self.receiver is not None and not self.receiver.options.ordered


def receiver(database: str, name: str) -> ReceiverReport:
    """Return everything about a receiver, known here or not; at most seven statements."""
    known = registry.receiver(name)
    dead = Delivery.objects.using(database).filter(receiver=name).dead()
    loads = counting.loads(database)
    load = loads.of(name)
    live = counting.first_live(database, name, limit=MAX_ROWS) if load.number else []
    subjects = Event.objects.using(database).only("subject")
    prefetch_related_objects(live, Prefetch("event", subjects))
    last = dead.order_by("-finished_at").annotate(turn_key=key_of(database))
    return ReceiverReport(
        name=name,
        receiver=known,
        source=source_of(name),
        signals=sorted(registry.names_of_signals(known)) if known else [],
        load=load,
        why_kept=loads.why_kept,
        is_blocked=bool(load.kept and loads.has_turns) and is_blocked(database, name),
        is_capped=loads.is_capped,
        dead=bounds.count(dead),
        live=live,
        letters=list(last.select_related("event")[:MAX_ROWS]),
        gate=Gate.objects.using(database)
        .filter(pk=known.oldest_name if known else name)
        .first(),
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
