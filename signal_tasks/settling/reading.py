"""Find the events that have settled, and what has become of their deliveries."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from django.db.models import Exists, OuterRef

from signal_tasks.db.clock import from_now
from signal_tasks.db.settling import TRIED_FOR
from signal_tasks.models import Delivery, Event, UnsettledEvent
from signal_tasks.models.deliveries import IS_LIVE
from signal_tasks.registry.registry import registry
from signal_tasks.registry.settled import SettledEvent, settled_signals
from signal_tasks.states import State

#: Events that one transaction settles, and those that are looked at in one.
BATCH, LOOKED_AT = 100, 1000
LIVE = (State.PENDING, State.RUNNING)


def ready(
    ids: Sequence[uuid.UUID], names: Collection[str], database: str
) -> Iterator[Sequence[uuid.UUID]]:
    """Yield those of the events that have a row, and no delivery that is not finished.

    An event without any delivery is not settled: it was merged into a newer one. Each
    part is for one transaction: a single event if its send locks rows of keys, which
    two transactions might lock in opposite orders.
    """
    for start in range(0, len(ids), LOOKED_AT):
        yield from _ready(ids[start : start + LOOKED_AT], names, database)


def _ready(
    ids: Sequence[uuid.UUID], names: Collection[str], database: str
) -> Iterator[Sequence[uuid.UUID]]:
    deliveries = Delivery.objects.using(database).filter(event_id=OuterRef("pk"))
    rows = UnsettledEvent.objects.using(database).filter(pk__in=ids, signal__in=names)
    found = rows.filter(Exists(deliveries), ~Exists(deliveries.filter(IS_LIVE)))
    together = []
    for pk, signal in sorted(found.values_list("pk", "signal")):
        settled = settled_signals.find(signal)
        if settled is not None and settled.locks_keys:
            yield [pk]
        else:
            together.append(pk)
    for start in range(0, len(together), BATCH):
        yield together[start : start + BATCH]


def settled_events(ids: Collection[uuid.UUID], database: str) -> list[SettledEvent]:
    """Return those of the events that have settled, now that their rows are locked."""
    outcomes = _outcomes(ids, database)
    rows = Event.objects.using(database).filter(pk__in=outcomes).order_by("pk")
    return [
        SettledEvent(
            id=row.pk,
            signal=row.signal,
            payload=row.payload,
            headers=row.headers,
            subject=row.subject,
            sent_at=row.sent_at,
            database=database,
            outcomes=outcomes[row.pk],
        )
        for row in rows
    ]


def _outcomes(
    ids: Collection[uuid.UUID], database: str
) -> Mapping[uuid.UUID, Mapping[str, str]]:
    found: dict[uuid.UUID, dict[str, str]] = {}
    deliveries = Delivery.objects.using(database).filter(event_id__in=ids)
    rows = deliveries.order_by("event_id", "receiver")
    for pk, receiver, state in rows.values_list("event_id", "receiver", "state"):
        found.setdefault(pk, {})[receiver] = str(state)
    return {
        pk: _by_present_names(states)
        for pk, states in found.items()
        if not any(state in LIVE for state in states.values())
    }


def _by_present_names(states: Mapping[str, str]) -> Mapping[str, str]:
    """Name outcomes as their receivers are called now: see Note [Renames].

    Those of receivers that have become one keep the names under which they are stored.
    """
    present = {name: _present(name) for name in states}
    number = Counter(present.values())
    return {
        present[name] if number[present[name]] == 1 else name: state
        for name, state in states.items()
    }


def _present(receiver: str) -> str:
    known = registry.receiver(receiver)
    return receiver if known is None else known.name


def replayed(ids: Collection[uuid.UUID], database: str) -> set[uuid.UUID]:
    """Return those of the events that are not finished any more.

    An inline receiver of ``settled`` has replayed them; others wait for our lock.
    """
    deliveries = Delivery.objects.using(database).filter(IS_LIVE, run__gt=1)
    again = deliveries.filter(event_id__in=ids)
    return set(again.values_list("event_id", flat=True)) if ids else set()


def is_given_up(event: SettledEvent) -> bool:
    """Return True if an event has finished too long ago to try it again."""
    finished = Delivery.objects.using(event.database).filter(event_id=event.id)
    recent = from_now(-TRIED_FOR.total_seconds())
    return not finished.filter(finished_at__gt=recent).exists()
