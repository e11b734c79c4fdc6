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

from signal_tasks import codec, context
from signal_tasks.broker.config import is_eager
from signal_tasks.broker.messages import PublishRequest, messages_for, run_eagerly
from signal_tasks.broker.publisher import publisher
from signal_tasks.conf import settings
from signal_tasks.db import sequences
from signal_tasks.db.aliases import alias_for
from signal_tasks.db.clock import uuid7
from signal_tasks.db.insert import NewEvent, NewRows, insert
from signal_tasks.db.sequences import NewTurn
from signal_tasks.db.session import DropIfLost
from signal_tasks.outbox import subjects
from signal_tasks.outbox.options import SendOptions
from signal_tasks.outbox.ordering import KeyFunction, ordering_key
from signal_tasks.registry.registry import Receiver

#: Events that one statement of ``send_many`` writes.
BATCH = 1000


@dataclass(frozen=True, slots=True)
class EncodedEvent:
    """An event ready to be written to ``database``, and its receivers.

    ``subject`` is the object that it is about, as ``app.model:pk``, or empty; ``key`` that
    of its ordered receivers, if it has any.
    """

    signal: str
    payload: str
    receivers: Sequence[Receiver]
    options: SendOptions
    database: str
    subject: str = ""
    key: str = ""


def prepare(
    signal: str,
    sender: object,
    named: Mapping[str, Any],
    receivers: Sequence[Receiver],
    options: SendOptions,
    key: KeyFunction | None = None,
) -> EncodedEvent:
    """Encode an event for these receivers; write nothing, run no query.

    ``key`` is called for the key of ordered receivers, unless the options have one.

    Raises:
        PayloadError: a value cannot travel, or there is too much of it.
        TypeError, ValueError: a receiver is ordered, and there is no key that can be
            one.
        ImproperlyConfigured: the database of the options holds no outbox.
    """
    if "signal" in named:
        raise TypeError("'signal' is handed to receivers by Django; rename it")
    limit = settings().MAX_PAYLOAD_BYTES
    payload = codec.encode(signal, sender, named, max_bytes=limit)
    database = alias_for(options.database, sender)
    subject = options.subject
    if subject is None:
        subject = subjects.default(sender, named)
    event_key = options.key
    ordered = next((each for each in receivers if each.options.ordered), None)
    if ordered is not None and not event_key:
        event_key = ordering_key(signal, ordered, key and key(sender, **named), subject)
    return EncodedEvent(
        signal, payload, receivers, options, database, subject, event_key
    )


def write(events: Iterable[EncodedEvent]) -> list[NewEvent]:
    """Write events of one signal, each with a delivery for each of its receivers.

    They share signal, options and database. In the caller's transaction, or else in
    one of their own; a constant number of statements per thousand events.

    Raises:
        ImproperlyConfigured: workers would read other rows, or another outbox: Note
            [Schemas]. Nothing is written, and the caller's transaction is usable.
    """
    remaining = iter(events)
    written: list[NewEvent] = []
    if not (batch := list(islice(remaining, BATCH))):
        return written
    database = batch[0].database
    headers = context.stored_headers(batch[0].options.headers)
    with DropIfLost(database), transaction.atomic(using=database, savepoint=False):
        turns: list[NewTurn] = []
        while batch and (new := _write(batch, headers)):
            written += new
            turns += _turns(batch, new)
            batch = list(islice(remaining, BATCH))
        if turns:
            sequences.join(turns, database=database)
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
        NewEvent(
            uuid7(),
            each.payload,
            [(uuid7(), r.name) for r in each.receivers],
            each.subject,
        )
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


def _turns(
    batch: Sequence[EncodedEvent], written: Sequence[NewEvent]
) -> Iterator[NewTurn]:
    """Yield the places in line of the deliveries whose receivers are ordered."""
    for event, new in zip(batch, written, strict=True):
        if event.key:
            for receiver, (pk, _) in zip(event.receivers, new.deliveries, strict=True):
                if receiver.options.ordered:
                    yield NewTurn(pk, receiver.sequence_name, event.key)


def _publish_after_commit(events: Iterable[NewEvent], database: str) -> None:
    grouped: dict[str, list[str]] = {}
    for event in events:
        for pk, receiver in event.deliveries:
            grouped.setdefault(receiver, []).append(str(pk))
    requests = [
        PublishRequest(receiver=receiver, database=database, ids=ids)
        for receiver, ids in grouped.items()
    ]

    def publish() -> None:
        if is_eager():
            run_eagerly(messages_for(requests))
            return
        for request in requests:
            publisher.submit(request)

    transaction.on_commit(publish, using=database)
