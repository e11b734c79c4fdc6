"""Backfill: deliver past events to a receiver that was connected after they were sent.

# Note [Past events]
An event is stored while it has deliveries, so only what another receiver got can be
found, and not longer than finished deliveries are kept. Its id begins with the time of
the sending process, so that looking for events of a time reads only those; the clock of
that process may be wrong by up to ``CLOCK_ERROR``.

The unique constraint of event and receiver makes a second backfill harmless.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import connections, transaction
from django.db.models import Exists, F, OuterRef, QuerySet
from django.utils import timezone

from signal_tasks import codec, context
from signal_tasks.conf import settings
from signal_tasks.db.clock import DatabaseNow, id_at, uuid7
from signal_tasks.db.errors import fault_of
from signal_tasks.db.leftovers import Watch
from signal_tasks.error_text import chain_of, line_of
from signal_tasks.interrupt import is_stop
from signal_tasks.models import Delivery, Event, Operation, OperationItem
from signal_tasks.registry.registry import DurableSignal, Receiver, registry
from signal_tasks.relay.changes import Batch, selection_of
from signal_tasks.selection import Selection, moment

CLOCK_ERROR = timedelta(hours=1)
#: Events that are counted, or decoded, in one transaction.
COUNTED, DECODED = 1000, 200
#: A transaction that has decoded for this long is ended (seconds).
DECODE_SECONDS = 0.5
#: What is asked for may be older than what is kept by this much, as time goes by.
SLACK = timedelta(minutes=1)
KEPT = ("KEEP_SUCCEEDED", "KEEP_DISCARDED", "KEEP_DEAD")


class ConnectionSpoilt(transaction.TransactionManagementError):
    """Code of the project that was asked about an event has spoilt our connection.

    It is to be dropped once the transaction is rolled back.
    """


def check(receiver: Receiver, selection: Selection) -> None:
    """Check that a backfill is possible.

    Raises:
        ValueError: it is not; says why, and what would be.
    """
    if receiver.options.ordered:
        raise ValueError(
            f"{receiver.name} is connected with ordered=True: past events would come "
            "after newer ones of their key."
        )
    signals = _signals(selection)
    if not signals:
        raise ValueError(f"{receiver.name} is not connected to {selection.signal}.")
    for signal in signals:
        if not signal.shares_events(receiver.name):
            raise ValueError(
                f"The receivers of {signal.names[0]} differ in exclude=, snapshot= or "
                "raw=, so one send may have left several events: none is certain to be "
                "meant for this receiver."
            )
    since, until = moment(selection.since), moment(selection.until)
    assert since is not None  # noqa: S101 - a required argument
    if until is not None and until <= since:
        raise ValueError("until is not after since; there is no time between them.")
    _check_kept(since)


def _check_kept(since: datetime) -> None:
    """Refuse a time whose events may have been pruned with their deliveries."""
    ages = {name: getattr(settings(), name) for name in KEPT}
    pruned = {name: age for name, age in ages.items() if age is not None}
    if not pruned:
        return
    name = min(pruned, key=lambda name: pruned[name])
    earliest = timezone.now() - pruned[name]
    if since < earliest - SLACK:
        raise ValueError(
            f"SIGNAL_TASKS[{name!r}] keeps finished deliveries for {pruned[name]}, and "
            f"events no longer than that: since can be {_second(earliest)} at the "
            "earliest, or events would be left out."
        )


def _second(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


def events(selection: Selection, database: str) -> QuerySet[Event]:
    """Return the events of the selection of which its receiver has no delivery.

    Whatever their senders and keywords; its times are moments.
    """
    receiver = _receiver(selection)
    names = [name for signal in _signals(selection) for name in signal.names]
    rows = Event.objects.using(database).filter(signal__in=names)
    if isinstance(selection.since, datetime):
        rows = rows.filter(sent_at__gte=selection.since)
        if _sorts_by_time(database):
            rows = rows.filter(pk__gte=id_at(selection.since - CLOCK_ERROR))
    if selection.until is not None:
        rows = rows.filter(sent_at__lt=selection.until)
    deliveries = Delivery.objects.using(database).filter(
        event_id=OuterRef("pk"), receiver__in=receiver.names
    )
    return rows.filter(~Exists(deliveries))


def _sorts_by_time(database: str) -> bool:
    """Return False for a MariaDB that sorts ids of our version by their last bytes."""
    connection: Any = connections[database]
    is_mariadb = getattr(connection, "mysql_is_mariadb", False)
    return not is_mariadb or connection.mysql_version >= (10, 11, 5)


def _receiver(selection: Selection) -> Receiver:
    receiver = registry.receiver(selection.receiver or "")
    assert receiver is not None, selection  # noqa: S101 - the caller has asked
    return receiver


def _signals(selection: Selection) -> Sequence[DurableSignal]:
    """Return the signals of the receiver, or the one that the selection names."""
    signals = registry.signals_of(_receiver(selection).name)
    wanted = selection.signal
    return [each for each in signals if wanted is None or wanted in each.names]


def collect(
    operation: Operation, selection: Selection, key: str, database: str
) -> Batch:
    """Count one batch of the events; see ``changes.collect``."""
    rows = _next(operation, selection, key, database)
    ids = list(rows.values_list("pk", flat=True)[:COUNTED])
    key = str(ids[-1]) if ids else key
    return Batch(changed=len(ids), key=key, is_last=len(ids) < COUNTED)


def _next(
    operation: Operation, selection: Selection, key: str, database: str
) -> QuerySet[Event]:
    rows = events(selection, database).filter(sent_at__lte=operation.cutoff_at)
    if key:
        rows = rows.filter(pk__gt=uuid.UUID(key))
    return rows.order_by("pk")


def work(operation: Operation, limit: int, key: str, database: str) -> Batch:
    """Deliver up to ``limit`` of the events behind ``key``; see ``changes.work``."""
    limit = min(limit, DECODED)
    selection = selection_of(operation)
    rows = _next(operation, selection, key, database)
    ids = list(rows.values_list("pk", flat=True)[: limit + 1])
    is_last, ids = len(ids) <= limit, ids[:limit]
    heard, errors, seen = _hear(_locked(ids, database), ids, selection, database)
    changed = insert(operation, heard, selection, database)
    return Batch(
        changed=changed,
        failed=len(errors),
        skipped=seen - changed - len(errors),
        key=str(ids[seen - 1]) if seen else key,
        is_last=is_last and seen == len(ids),
        error=errors[-1] if errors else "",
    )


def _locked(ids: Sequence[uuid.UUID], database: str) -> Mapping[uuid.UUID, Event]:
    """Lock events, so that nobody prunes them before they have another delivery."""
    rows = Event.objects.using(database).filter(pk__in=ids).order_by("pk")
    return {event.pk: event for event in rows.select_for_update()}


def _mark_as_changed(ids: Sequence[uuid.UUID], database: str) -> None:
    """Change events without changing them, for PostgreSQL.

    A transaction that does not see their new deliveries, since its snapshot is older,
    then fails when it would delete them. A lock that is gone would not stop it.
    """
    if connections[database].vendor == "postgresql":
        rows = Event.objects.using(database).filter(pk__in=ids)
        rows.update(signal=F("signal"))


def _hear(
    found: Mapping[uuid.UUID, Event],
    ids: Sequence[uuid.UUID],
    selection: Selection,
    database: str,
) -> tuple[list[Event], list[str], int]:
    """Decode events until time is over.

    Return those that the receiver hears, the errors, and how many were looked at.
    """
    receiver, signals = _receiver(selection), _signals(selection)
    until = time.monotonic() + DECODE_SECONDS
    heard: list[Event] = []
    errors: list[str] = []
    for seen, pk in enumerate(ids, 1):
        event = found.get(pk)
        if event is not None:
            answer = _answer(event, receiver, signals, database)
            if isinstance(answer, BaseException):
                errors.append(f"event {pk}: {line_of(answer)}")
            elif answer:
                heard.append(event)
        if time.monotonic() > until:
            return heard, errors, seen
    return heard, errors, len(ids)


def _answer(
    event: Event, receiver: Receiver, signals: Sequence[DurableSignal], database: str
) -> bool | BaseException:
    """Return True if the receiver hears an event, or the error that keeps us from asking.

    Raises what loses our transaction, or is to end the process. A fault of another
    database concerns that event alone.
    """
    watch = Watch(connections[database])
    answer: bool | BaseException
    try:
        with transaction.atomic(using=database):
            answer = _is_heard(event, receiver, signals)
    # The payload is data of any age, and ``when`` a project's own code.
    except BaseException as error:  # noqa: BLE001 - raised below, if it is not its own
        answer = error
    left = watch.close()
    own = answer if isinstance(answer, BaseException) else None
    if own is not None and is_stop(own):
        raise own
    if left:
        sentence = left.replace("the receiver", "when=", 1)
        raise ConnectionSpoilt(sentence) from own
    if own is not None and (fault := watch.fault_behind(own)):
        raise next(each for each in chain_of(own) if fault_of(each) is fault)
    return answer


def _is_heard(
    event: Event, receiver: Receiver, signals: Sequence[DurableSignal]
) -> bool:
    with context.restored(event.context_mapping()):
        payload = codec.decode_unless_skipped(
            event.payload, on_missing=receiver.options.on_missing
        )
        return payload is not None and any(
            each.would_deliver(receiver.name, payload.sender, payload.kwargs)
            for each in signals
            if event.signal in each.names
        )


def insert(
    operation: Operation, heard: Sequence[Event], selection: Selection, database: str
) -> int:
    """Insert pending deliveries of these events, and their items.

    An event that has got a delivery meanwhile keeps that one. Return the number of
    new deliveries.
    """
    name = _receiver(selection).name
    new = [
        Delivery(
            pk=uuid7(),
            event_id=event.pk,
            receiver=name,
            available_at=DatabaseNow(),
            next_check_at=DatabaseNow(),
        )
        for event in heard
    ]
    rows = Delivery.objects.using(database)
    _mark_as_changed([event.pk for event in heard], database)
    rows.bulk_create(new, ignore_conflicts=True)
    ids = rows.filter(pk__in=[delivery.pk for delivery in new])
    items = [
        OperationItem(
            delivery_id=pk,
            operation_id=operation.pk,
            state=OperationItem.State.CHANGED,
            step=operation.step,
        )
        for pk in ids.values_list("pk", flat=True)
    ]
    OperationItem.objects.using(database).bulk_create(items)
    return len(items)
