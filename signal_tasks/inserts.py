"""Inserts events with their deliveries: the one write of a send.

By SQL of our own, because it is on the path of every request, where the ORM's
``bulk_create`` costs more than the database does. Two ``INSERT`` statements for any
number of events, which PostgreSQL is given as one, in one round trip.

Why no foreign key is checked: docs/decisions/light-rows.md.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache, partial
from typing import Any, NamedTuple

from django.db import connections

from signal_tasks.sql import array, array_of_ids, from_now_sql, stored_id

#: ``signal`` is a word of MySQL's own, and has to be quoted in its way.
EVENTS = (
    "INSERT INTO signal_tasks_event "
    "(id, {signal}, payload, headers, cause_id, sent_at) "
)
DELIVERIES = (
    "INSERT INTO signal_tasks_delivery (id, event_id, receiver, state, reason, "
    "attempts, lease, available_at, relay_at, relays, alone, orphaned, finished_at) "
)
OWED = (
    "(%s, %s, {receiver}, 'pending', '', 0, 0, {due}, {watched}, 0, FALSE, FALSE, NULL)"
)

#: PostgreSQL reads many events out of arrays, several times quicker than a parameter
#: for each value.
FROM_ARRAYS = """
WITH event AS (
    INSERT INTO signal_tasks_event (id, signal, payload, headers, cause_id, sent_at)
    SELECT id, %s, payload, %s, %s, STATEMENT_TIMESTAMP()
    FROM unnest(%s::uuid[], %s::text[]) AS given(id, payload)
)
INSERT INTO signal_tasks_delivery (id, event_id, receiver, state, reason, attempts,
    lease, available_at, relay_at, relays, alone, orphaned, finished_at)
SELECT id, event_id, receiver, 'pending', '', 0, 0, {due}, {watched}, 0, FALSE, FALSE,
    CAST(NULL AS timestamptz)
FROM unnest(%s::uuid[], %s::uuid[], %s::text[]) AS given(id, event_id, receiver)
"""

Statement = tuple[str, list[Any]]
#: So many seconds from the database's now, or a moment.
When = float | datetime


class NewEvent(NamedTuple):
    """An event, and each delivery's id with the name of its receiver."""

    id: uuid.UUID
    payload: str
    deliveries: Sequence[tuple[uuid.UUID, str]]


class Batch(NamedTuple):
    """Events of one signal, whose deliveries are due when ``available``.

    The relay looks at them when ``watched``.
    """

    signal: str
    headers: str
    cause_id: uuid.UUID | None
    available: When
    watched: When
    events: Sequence[NewEvent]


def insert(batch: Batch, *, database: str) -> None:
    """Insert events and deliveries in the transaction that is open.

    Databases that limit a statement's parameters get more statements.
    """
    connection = connections[database]
    with connection.cursor() as cursor:
        for sql, params in _statements(batch, connection):
            cursor.execute(sql, params)


def _statements(batch: Batch, connection: Any) -> Sequence[Statement]:
    if connection.vendor == "postgresql":
        single = len(batch.events) == 1
        return [(_from_texts if single else _from_arrays)(batch, connection)]
    most = connection.features.max_query_params
    return [
        statement
        for events in _parts(batch.events, most or math.inf)
        for statement in _from_values(batch, events, connection)
    ]


def _from_texts(batch: Batch, connection: Any) -> Statement:
    """One event: the text holds what every event of its signal has in common."""
    (event,) = batch.events
    due, due_params = _time(batch.available, connection)
    watched, watched_params = _time(batch.watched, connection)
    names = tuple([name for _, name in event.deliveries])
    key = str(event.id)
    params = [key, event.payload, batch.headers, batch.cause_id and str(batch.cause_id)]
    for pk, _ in event.deliveries:
        params += (str(pk), key, *due_params, *watched_params)
    sql = _text(connection.alias, batch.signal, names, due, watched)
    return sql, params


@lru_cache(maxsize=256)
def _text(
    alias: str, signal: str, receivers: tuple[str, ...], due: str, watched: str
) -> str:
    """The statement that writes an event for these receivers."""
    connection = connections[alias]
    now, _ = from_now_sql(0.0, alias)
    into = EVENTS.format(signal=connection.ops.quote_name("signal"))
    event = f"(%s, {_literal(signal, connection)}, %s, %s, %s, {now})"
    owed = ", ".join(
        OWED.format(receiver=_literal(name, connection), due=due, watched=watched)
        for name in receivers
    )
    return f"WITH event AS ({into} VALUES {event}) {DELIVERIES} VALUES {owed}"


def _literal(text: str, connection: Any) -> str:
    """The text as the driver quotes it, in a statement that has parameters too."""
    return str(connection.ops.compose_sql("%s", [text])).replace("%", "%%")


def _parts(events: Sequence[NewEvent], most: float) -> list[Sequence[NewEvent]]:
    """The events in so many parts that no statement has more than ``most`` values."""
    deliveries = sum(len(event.deliveries) for event in events)
    if 5 * max(len(events), deliveries) <= most or len(events) == 1:
        return [events]
    half = len(events) // 2
    return [*_parts(events[:half], most), *_parts(events[half:], most)]


def _from_values(
    batch: Batch, events: Sequence[NewEvent], connection: Any
) -> tuple[Statement, Statement]:
    due, due_params = _time(batch.available, connection)
    watched, watched_params = _time(batch.watched, connection)
    stored = partial(stored_id, native=connection.features.has_native_uuid_field)
    cause = batch.cause_id and stored(batch.cause_id)
    parent: list[Any] = []
    children: list[Any] = []
    rows = 0
    for event in events:
        key = stored(event.id)
        parent += (key, batch.signal, event.payload, batch.headers, cause)
        rows += len(event.deliveries)
        for pk, receiver in event.deliveries:
            children += (stored(pk), key, receiver)
            children += (*due_params, *watched_params)
    sql, more_sql = _values_sql(connection.alias, len(events), rows, due, watched)
    return (sql, parent), (more_sql, children)


@lru_cache(maxsize=64)
def _values_sql(
    alias: str, events: int, deliveries: int, due: str, watched: str
) -> tuple[str, str]:
    """The texts of both statements for so many rows."""
    connection = connections[alias]
    now, _ = from_now_sql(0.0, alias)
    into = EVENTS.format(signal=connection.ops.quote_name("signal"))
    event = f"(%s, %s, %s, %s, %s, {now})"
    owed = OWED.format(receiver="%s", due=due, watched=watched)
    return (
        f"{into} VALUES {', '.join([event] * events)}",
        f"{DELIVERIES} VALUES {', '.join([owed] * deliveries)}",
    )


def _from_arrays(batch: Batch, connection: Any) -> Statement:
    due, due_params = _time(batch.available, connection)
    watched, watched_params = _time(batch.watched, connection)
    keys = [str(event.id) for event in batch.events]
    owed = [
        (str(pk), key, name)
        for key, event in zip(keys, batch.events, strict=True)
        for pk, name in event.deliveries
    ]
    return FROM_ARRAYS.format(due=due, watched=watched), [
        batch.signal,
        batch.headers,
        batch.cause_id,
        array_of_ids(keys),
        array(event.payload for event in batch.events),
        *due_params,
        *watched_params,
        array_of_ids(pk for pk, _, _ in owed),
        array_of_ids(key for _, key, _ in owed),
        array(name for _, _, name in owed),
    ]


def _time(when: When, connection: Any) -> tuple[str, tuple[Any, ...]]:
    if isinstance(when, datetime):
        return "%s", (connection.ops.adapt_datetimefield_value(when),)
    return from_now_sql(when, connection.alias)
