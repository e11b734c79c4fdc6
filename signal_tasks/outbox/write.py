"""Write events and their deliveries in the caller's transaction.

The rows exist if and only if that transaction commits. After the commit their ids go
to the publisher; whatever becomes of them there, the rows stay pending.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import transaction

from signal_tasks import codec, context, spans
from signal_tasks.broker.config import is_eager
from signal_tasks.broker.messages import PublishRequest, messages_for, run_eagerly
from signal_tasks.broker.publisher import publisher
from signal_tasks.conf import settings
from signal_tasks.db.aliases import alias_for
from signal_tasks.db.clock import uuid7
from signal_tasks.db.insert import NewEvent, NewRows, insert
from signal_tasks.db.session import DropIfLost
from signal_tasks.outbox.options import SendOptions
from signal_tasks.registry.registry import Receiver

#: Events that one statement of ``send_many`` writes.
BATCH = 1000


@dataclass(frozen=True, slots=True)
class EncodedEvent:
    """An event ready to be written to ``database``, and its receivers."""

    signal: str
    payload: str
    receivers: Sequence[Receiver]
    options: SendOptions
    database: str


def prepare(
    signal: str,
    sender: object,
    named: Mapping[str, Any],
    receivers: Sequence[Receiver],
    options: SendOptions,
) -> EncodedEvent:
    """Encode an event for these receivers; write nothing, run no query.

    Raises:
        PayloadError: a value cannot travel, or there is too much of it.
        ImproperlyConfigured: the database of the options holds no outbox.
    """
    if "signal" in named:
        raise TypeError("'signal' is handed to receivers by Django; rename it")
    limit = settings().MAX_PAYLOAD_BYTES
    payload = codec.encode(signal, sender, named, max_bytes=limit)
    database = alias_for(options.database, sender)
    return EncodedEvent(signal, payload, receivers, options, database)


def write(events: Iterable[EncodedEvent]) -> list[NewEvent]:
    """Write events of one signal, each with a delivery for each of its receivers.

    They share signal, options and database. In the caller's transaction, or else in
    one of their own; a constant number of statements per thousand events.

    Raises:
        ImproperlyConfigured: workers would read other rows, or another outbox: Note
            [Schemas]. Nothing is written, and the caller's transaction is usable.
    """
    if spans.active is None:
        return _write_all(iter(events))
    every = list(events)
    if not every:
        return []
    facts = {"messaging.batch.message_count": len(every)}
    with spans.active.send(every[0].signal, facts):
        return _write_all(iter(every))


def _write_all(remaining: Iterator[EncodedEvent]) -> list[NewEvent]:
    written: list[NewEvent] = []
    if not (batch := list(islice(remaining, BATCH))):
        return written
    database = batch[0].database
    headers = context.stored_headers(batch[0].options.headers)
    with DropIfLost(database), transaction.atomic(using=database, savepoint=False):
        while batch and (new := _write(batch, headers)):
            written += new
            batch = list(islice(remaining, BATCH))
    if batch:  # not raised inside of the block, which would break the transaction
        raise ImproperlyConfigured(_unreadable(batch[0]))
    return written


def _unreadable(event: EncodedEvent) -> str:
    """Return the error for schemas that no worker looks at."""
    sent = f"{event.signal} was sent on {event.database!r} under a search_path"
    if context.carries_schemas():
        return (
            f"{sent} whose table signal_tasks_event is not the one that workers read. "
            "Keep the tables of signal_tasks in a schema that all tenants share, and "
            "nowhere else."
        )
    return (
        f"{sent} that a new connection does not have: a worker would read rows of "
        "other schemas. Let it be carried along: add "
        "'signal_tasks.contrib.schemas.SearchPath' to SIGNAL_TASKS['CONTEXT']."
    )


def _write(batch: Sequence[EncodedEvent], headers: str) -> list[NewEvent]:
    """Write one batch; return nothing if workers could not read it."""
    first = batch[0]
    options, database = first.options, first.database
    events = [
        NewEvent(uuid7(), each.payload, [(uuid7(), r.name) for r in each.receivers])
        for each in batch
    ]
    due = options.at or options.delay
    rows = NewRows(
        signal=first.signal,
        headers=headers,
        cause_id=context.cause(),
        available=due,
        checked=settings().REPUBLISH_AFTER if options.immediate else due,
        anywhere=context.carries_schemas(),
        events=events,
    )
    if not insert(rows, database=database):
        return []
    if options.immediate:
        _publish_after_commit(events, database)
    return events


def _publish_after_commit(events: Iterable[NewEvent], database: str) -> None:
    grouped: dict[str, list[str]] = {}
    for event in events:
        for pk, receiver in event.deliveries:
            grouped.setdefault(receiver, []).append(str(pk))
    trace = spans.traceparent()
    requests = [
        PublishRequest(receiver=receiver, database=database, ids=ids, trace=trace)
        for receiver, ids in grouped.items()
    ]

    def publish() -> None:
        if is_eager():
            run_eagerly(messages_for(requests))
            return
        for request in requests:
            publisher.submit(request)

    transaction.on_commit(publish, using=database)
