"""Inserts events with their deliveries: the one write of a send.

By SQL of our own, because it is on the path of every request, where the ORM's
``bulk_create`` costs more than the database does. Two ``INSERT`` statements for any
number of events, which PostgreSQL is given as one, in one round trip.

Why no foreign key is checked: docs/decisions/light-rows.md.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from typing import Any, NamedTuple

from django.db import connections

from signal_tasks.clock import from_now_sql, stored_id

#: ``signal`` is a word of MySQL's own, and has to be quoted in its way.
EVENTS = (
    "INSERT INTO signal_tasks_event "
    "(id, {signal}, payload, headers, cause_id, sent_at) "
)
DELIVERIES = (
    "INSERT INTO signal_tasks_delivery (id, event_id, receiver, state, reason, "
    "attempts, lease, available_at, relay_at, relays, alone, orphaned, finished_at) "
)
OWED = "(%s, %s, %s, 'pending', '', 0, 0, {due}, {watched}, 0, FALSE, FALSE, NULL)"

#: As many events are written as they come, by a list of ``VALUES``; PostgreSQL reads
#: more of them out of arrays, which is several times quicker than a parameter each.
FEW = 5
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
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
    if connection.vendor != "postgresql":
        most = connection.features.max_query_params
        return [
            statement
            for events in _parts(batch.events, most or math.inf)
            for statement in _from_values(batch, events, connection)
        ]
    if len(batch.events) > FEW:
        return [_from_arrays(batch, connection)]
    (sql, params), (more_sql, more_params) = _from_values(
        batch, batch.events, connection
    )
    return [(f"WITH event AS ({sql}) {more_sql}", params + more_params)]


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
    owed = OWED.format(due=due, watched=watched)
    return (
        f"{into} VALUES {', '.join([event] * events)}",
        f"{DELIVERIES} VALUES {', '.join([owed] * deliveries)}",
    )


def _from_arrays(batch: Batch, connection: Any) -> Statement:
    due, due_params = _time(batch.available, connection)
    watched, watched_params = _time(batch.watched, connection)
    owed = [(pk, e.id, name) for e in batch.events for pk, name in e.deliveries]
    return FROM_ARRAYS.format(due=due, watched=watched), [
        batch.signal,
        batch.headers,
        batch.cause_id,
        _array(str(event.id) for event in batch.events),
        _array(event.payload for event in batch.events),
        *due_params,
        *watched_params,
        _array(str(pk) for pk, _, _ in owed),
        _array(str(event_id) for _, event_id, _ in owed),
        _array(name for _, _, name in owed),
    ]


def _array(texts: Iterable[str]) -> str:
    """An array as PostgreSQL reads it; the driver would look at each item's type."""
    escaped = (text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
    return '{"' + '","'.join(escaped) + '"}'


def _time(when: When, connection: Any) -> tuple[str, tuple[Any, ...]]:
    if isinstance(when, datetime):
        return "%s", (connection.ops.adapt_datetimefield_value(when),)
    return from_now_sql(when, connection.alias)
