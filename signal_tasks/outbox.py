"""Writes events and their deliveries in the caller's transaction.

The rows exist if and only if that transaction commits. After the commit their
ids go to the publisher; whatever becomes of them there, the rows are owed.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections, models, router, transaction
from django.utils import timezone

from signal_tasks import context
from signal_tasks.broker import is_eager, run_eagerly
from signal_tasks.clock import LONGEST, uuid7
from signal_tasks.conf import settings
from signal_tasks.handles import DeliveryHandle
from signal_tasks.inserts import Batch, NewEvent, insert
from signal_tasks.models import Delivery, Event
from signal_tasks.publisher import Parcel, messages_for, publisher

#: Events written by one statement in ``send_many``.
BATCH = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class SendOptions:
    """What ``using()`` says about a send; ``delay`` is in seconds."""

    delay: float = 0.0
    at: datetime | None = None
    database: str | None = None
    headers: Mapping[str, Any] | None = None

    @property
    def immediate(self) -> bool:
        """Whether a worker may run the deliveries as soon as they are committed."""
        return self.delay == 0.0 and self.at is None


#: Of a send that ``using()`` says nothing about.
PLAIN = SendOptions()


class Letter(NamedTuple):
    """What one event says, encoded, and the names of the receivers that it is for."""

    payload: str
    receivers: Sequence[str]


def write(
    signal: str, letters: Iterable[Letter], *, options: SendOptions, database: str
) -> list[NewEvent]:
    """Write an event for each letter, with a delivery for each of its receivers.

    One transaction outside of the caller's; a constant number of statements per
    thousand events.
    """
    remaining = iter(letters)
    written: list[NewEvent] = []
    with transaction.atomic(using=database, savepoint=False):
        while batch := list(islice(remaining, BATCH)):
            written += _write(signal, batch, options, database)
    return written


def _write(
    signal: str, letters: Sequence[Letter], options: SendOptions, database: str
) -> list[NewEvent]:
    events = [
        NewEvent(uuid7(), payload, [(uuid7(), name) for name in receivers])
        for payload, receivers in letters
    ]
    due = options.at or options.delay
    batch = Batch(
        signal=signal,
        headers=json.dumps(options.headers) if options.headers else "",
        cause_id=context.cause(),
        available=due,
        watched=settings().REPUBLISH_AFTER if options.immediate else due,
        events=events,
    )
    insert(batch, database=database)
    if options.immediate:
        _publish_after_commit(events, database)
    return events


def _publish_after_commit(events: Iterable[NewEvent], database: str) -> None:
    grouped: dict[str, list[str]] = {}
    for event in events:
        for pk, receiver in event.deliveries:
            grouped.setdefault(receiver, []).append(str(pk))
    parcels = [
        Parcel(receiver=receiver, database=database, ids=ids)
        for receiver, ids in grouped.items()
    ]

    def publish() -> None:
        if is_eager():
            run_eagerly(messages_for(parcels))
            return
        for parcel in parcels:
            publisher.submit(parcel)

    transaction.on_commit(publish, using=database)


def aliases() -> list[str]:
    """The databases that hold an outbox."""
    given = settings().DATABASES
    if given is not None:
        return list(given)
    routers = tuple(router.routers)
    return [alias for alias in connections if _may_hold_an_outbox(alias, routers)]


@lru_cache(maxsize=64)
def _may_hold_an_outbox(alias: str, routers: tuple[object, ...]) -> bool:
    mirror = connections[alias].settings_dict.get("TEST", {}).get("MIRROR")
    return not mirror and bool(router.allow_migrate_model(alias, Event))


def alias_for(database: str | None, sender: object) -> str:
    """The alias of the transaction that an event belongs to.

    The one that was asked for; else the one that the routers name for writing an
    event of this sender; else, when that one has no transaction open, the only one
    that has.
    """
    candidates = aliases()
    if database is not None:
        return _known(database, candidates)
    hints = {"instance": sender} if isinstance(sender, models.Model) else {}
    preferred = router.db_for_write(Event, **hints)
    if candidates == [preferred]:
        return preferred
    open_ones = [alias for alias in candidates if _has_transaction(alias)]
    if len(open_ones) == 1:
        return open_ones[0]
    return (
        preferred if preferred in candidates else _known(DEFAULT_DB_ALIAS, candidates)
    )


def _has_transaction(alias: str) -> bool:
    """Whether one is open; not counting those that a TestCase wraps tests in."""
    blocks = connections[alias].atomic_blocks
    return any(not getattr(block, "_from_testcase", False) for block in blocks)


def _known(database: str, candidates: Sequence[str]) -> str:
    if database not in candidates:
        raise ImproperlyConfigured(
            f"The database {database!r} holds no outbox; those that do are "
            f"{', '.join(candidates)}. Add it to SIGNAL_TASKS['DATABASES'] and "
            "migrate it, or name another one with using(database=...)."
        )
    return database


def due_time(
    delay: float | timedelta | None, at: datetime | None
) -> tuple[float, datetime | None]:
    """Check ``delay`` and ``at`` of ``using()``; the delay in seconds."""
    if delay is not None and at is not None:
        raise ValueError("using(): give delay or at, not both")
    seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay or 0.0
    if not 0 <= seconds <= LONGEST:
        raise ValueError(f"using(): delay is {delay!r}; give 0 to {LONGEST:.0f}")
    moment: object = at
    if moment is not None and not isinstance(moment, datetime):
        raise TypeError(f"using(): at is {at!r}; give a datetime with a time zone")
    if at is not None and timezone.is_naive(at):
        raise ValueError(f"using(): at is {at!r}; give a datetime with a time zone")
    return seconds, at


def checked_headers(headers: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Check that ``headers`` of ``using()`` are a mapping that JSON can hold."""
    if headers is None:
        return None
    try:
        copy = dict(headers)
        json.dumps(copy, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"using(): headers have to be a mapping of JSON values: {error}"
        ) from error
    return copy


def deliveries_of(
    event_id: uuid.UUID | str, *, database: str | None = None
) -> list[DeliveryHandle]:
    """The deliveries of an event, as they stand, ordered by receiver.

    One statement; on the first outbox, unless ``database`` names another.
    """
    alias = alias_for(database, None) if database else aliases()[0]
    rows = Delivery._base_manager.using(alias).filter(event_id=event_id)
    return [DeliveryHandle.of(row, alias) for row in rows.order_by("receiver")]
