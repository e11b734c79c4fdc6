"""Write events and their deliveries in the caller's transaction.

The rows exist if and only if that transaction commits. After the commit their ids go
to the publisher; whatever becomes of them there, the rows stay pending.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import transaction

from signal_tasks import codec, context, spans
from signal_tasks.broker.config import is_eager
from signal_tasks.broker.messages import PublishRequest, messages_for, run_eagerly
from signal_tasks.broker.publisher import publisher
from signal_tasks.conf import settings
from signal_tasks.db import schemas, sequences
from signal_tasks.db.aliases import alias_for, outbox_aliases
from signal_tasks.db.clock import uuid7
from signal_tasks.db.dedupe import Key, claim
from signal_tasks.db.insert import NewEvent, NewRows, insert, insert_once
from signal_tasks.db.sequences import NewTurn
from signal_tasks.db.session import DropIfLost
from signal_tasks.db.settling import insert_unsettled
from signal_tasks.outbox import subjects
from signal_tasks.outbox.causes import check_depth
from signal_tasks.outbox.merge import NOTHING, merge_events
from signal_tasks.outbox.options import Dedupe, SendOptions
from signal_tasks.outbox.ordering import ordering_key, turns_of
from signal_tasks.outbox.scopes import capture, key_in, scoped
from signal_tasks.registry.registry import Receiver

#: Events that one statement of ``send_many`` writes.
BATCH = 1000


@dataclass(frozen=True, slots=True)
class EncodedEvent:
    """An event ready to be written to ``database``, and its receivers.

    ``subject`` is the object that it is about, as ``app.model:pk``, or empty; ``key`` is
    that of its ordered receivers, if it has any;
    ``coalesced`` holds the key of each receiver that coalesces.
    """

    signal: str
    payload: str
    receivers: Sequence[Receiver]
    options: SendOptions
    database: str
    subject: str = ""
    key: str = ""
    coalesced: Mapping[str, str] = field(default_factory=dict)


def prepare(
    signal: str,
    sender: object,
    named: Mapping[str, Any],
    receivers: Sequence[Receiver],
    options: SendOptions,
    coalesced: Mapping[str, str] = NOTHING,
) -> EncodedEvent:
    """Encode an event for these receivers; write nothing, run no query.

    Raises:
        PayloadError: a value cannot travel, or there is too much of it.
        ValueError: a receiver is ordered, and there is no key; or ``delay`` or ``at`` for a receiver that coalesces.
        SignalLoop: its chain of causes is too long.
        ImproperlyConfigured: the database of the options holds no outbox.
    """
    if "signal" in named:
        raise TypeError("'signal' is handed to receivers by Django; rename it")
    check_depth(signal)
    hidden = options.sensitive
    payload = codec.encode(
        signal,
        sender,
        named,
        max_bytes=settings().MAX_PAYLOAD_BYTES,
        sensitive=hidden,
        rows=codec.Rows(outbox_aliases(), options.snapshot),
    )
    database = alias_for(options.database, sender)
    if coalesced and not options.immediate:
        raise ValueError(_delayed(signal, next(iter(coalesced))))
    subject = options.subject
    if subject is None:
        subject = subjects.default(sender, named, hidden)
    key = ordering_key(signal, options.key or subject, receivers)
    return EncodedEvent(
        signal, payload, receivers, options, database, subject, key, coalesced
    )


def _delayed(signal: str, receiver: str) -> str:
    """Return the error for a time of its own of what is merged with other sends."""
    return (
        f"{signal}: using(delay=...) and using(at=...) mean nothing for {receiver}, whose "
        "coalesce= says when it runs; send without them, or with a signal of its own"
    )


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
    with _traced(every):
        return _write_all(iter(every))


def _traced(events: Sequence[EncodedEvent]) -> AbstractContextManager[Any]:
    """Return the span of a send, if sends are traced."""
    if spans.active is None:
        return nullcontext()
    facts = {"messaging.batch.message_count": len(events)}
    return spans.active.send(events[0].signal, facts)


def _write_all(remaining: Iterator[EncodedEvent]) -> list[NewEvent]:
    written: list[NewEvent] = []
    if not (batch := list(islice(remaining, BATCH))):
        return written
    database = batch[0].database
    stored = capture(batch[0])
    with DropIfLost(database), transaction.atomic(using=database, savepoint=False):
        turns: list[NewTurn] = []
        while batch:
            if stored.scope:
                batch = [scoped(each, stored.scope) for each in batch]
            if not (new := _insert(batch, _rows(batch, stored), turns)):
                break
            written += new
            batch = list(islice(remaining, BATCH))
        sequences.join(turns, database=database)
    if batch:  # not raised inside of the block, which would break the transaction
        raise ImproperlyConfigured(_unreadable(batch[0]))
    return written


def write_once(event: EncodedEvent, dedupe: Dedupe) -> NewEvent | uuid.UUID:
    """Write an event, unless its signal was sent under the same key already.

    Return the id of the first event then. In the caller's transaction, or else in one
    of its own; waits at most for the transaction of another send of the key.

    Raises:
        ImproperlyConfigured: as ``write`` does.
    """
    with _traced([event]):
        return _write_once(event, dedupe)


def _write_once(event: EncodedEvent, dedupe: Dedupe) -> NewEvent | uuid.UUID:
    stored = capture(event)
    if stored.scope:
        event = scoped(event, stored.scope)
    database = event.database
    with DropIfLost(database), transaction.atomic(using=database, savepoint=False):
        rows = _rows([event], stored)
        turns: list[NewTurn] = []
        (new,) = rows.events
        once = key_in(stored.scope, dedupe.key)
        key = Key(event.signal, once, dedupe.seconds, rows.anywhere)
        if event.coalesced:
            holder = claim(key, new.id, database=database)
            written = _insert([event], rows, turns) if holder == new.id else []
        else:
            holder = insert_once(rows, key, database=database)
            written = [new] if holder == new.id else []
            turns += turns_of([event], written, rows)
            _note_unsettled(written, event, rows)
            _publish_after_commit(written, event)
        sequences.join(turns, database=database)
    if holder is None:  # as above
        raise ImproperlyConfigured(_unreadable(event))
    return written[0] if written else holder


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


def _insert(
    batch: Sequence[EncodedEvent], rows: NewRows, turns: list[NewTurn]
) -> list[NewEvent]:
    """Insert the events of a batch; return them with the deliveries that they have.

    Nothing is returned if workers could not read them. ``turns`` gets the places in line
    that ordered deliveries are to take.
    """
    database = batch[0].database
    written, all_of_them = list(rows.events), rows
    if any(each.coalesced for each in batch):
        if not schemas.are_readable(database, anywhere=rows.anywhere):
            return []
        merged = merge_events(batch, rows.events, database=database)
        rows, written = rows._replace(events=merged.to_insert), merged.written
    if not insert(rows, database=database):
        return []
    turns += turns_of(batch, rows.events, all_of_them)
    _note_unsettled(written, batch[0], rows)
    _publish_after_commit(rows.events, batch[0])
    return written


def _rows(batch: Sequence[EncodedEvent], stored: context.StoredContext) -> NewRows:
    first = batch[0]
    options = first.options
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
    return NewRows(
        signal=first.signal,
        headers=stored.headers,
        correlation=stored.correlation,
        cause_id=context.cause(),
        available=due,
        checked=settings().REPUBLISH_AFTER if options.immediate else due,
        anywhere=context.carries_schemas(),
        events=events,
    )


def _note_unsettled(
    events: Sequence[NewEvent], first: EncodedEvent, rows: NewRows
) -> None:
    """Have ``settled`` sent when the deliveries of these events have finished."""
    if first.options.settles and events:
        ids = [event.id for event in events]
        insert_unsettled(ids, first.signal, rows.available, database=first.database)


def _publish_after_commit(events: Iterable[NewEvent], first: EncodedEvent) -> None:
    """Give deliveries that a worker may run at once to the publisher."""
    if not first.options.immediate:
        return
    database = first.database
    grouped: dict[str, list[str]] = {}
    for event in events:
        for pk, receiver in event.deliveries:
            grouped.setdefault(receiver, []).append(str(pk))
    if not grouped:
        return
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
