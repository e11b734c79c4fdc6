"""Insert events with their deliveries: the one write of a send.

Hand-written SQL, because it is on the path of every request, where the ORM's
``bulk_create`` costs more than the database does. Two ``INSERT`` statements for any
number of events; on PostgreSQL both are one statement, in one round trip.

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

from signal_tasks.db import dedupe, schemas
from signal_tasks.db.dedupe import Key
from signal_tasks.db.sql import array, array_of_ids, from_now_sql, stored_id

#: ``signal`` is a reserved word of MySQL, and has to be quoted as MySQL does.
EVENTS = (
    "INSERT INTO signal_tasks_event "
    "(id, {signal}, payload, headers, cause_id, subject, sent_at{correlation}) "
)
#: The last column, which is null unless there is something to write.
CORRELATION = ", correlation"
DELIVERIES = (
    "INSERT INTO signal_tasks_delivery (id, event_id, receiver, state, reason, run, "
    "attempts, lease, available_at, next_check_at, publish_count, isolated, orphaned) "
)
PENDING = (
    "(%s, %s, {receiver}, 'pending', '', 1, 0, 0, {due}, {checked}, 0, FALSE, FALSE)"
)
#: The same on PostgreSQL, where nothing is inserted that workers could not read.
PENDING_ROW = (
    "SELECT %s::uuid, %s::uuid, {receiver}, 'pending', '', 1, 0, 0, {due}, {checked}, "
    "0, FALSE, FALSE {guard}"
)

#: PostgreSQL reads many events from arrays several times quicker than from one
#: parameter for each value.
EVENTS_FROM_ARRAYS = """
    INSERT INTO signal_tasks_event (id, signal, payload, headers, cause_id, subject,
        sent_at, correlation)
    SELECT id, %s, payload, %s, %s, subject, STATEMENT_TIMESTAMP(), %s
    FROM unnest(%s::uuid[], %s::text[], %s::text[]) AS given(id, payload, subject)
    WHERE {readable}
"""
FROM_ARRAYS = """
WITH event AS ({event})
INSERT INTO signal_tasks_delivery (id, event_id, receiver, state, reason, run,
    attempts, lease, available_at, next_check_at, publish_count, isolated, orphaned)
SELECT id, event_id, receiver, 'pending', '', 1, 0, 0, {due}, {checked}, 0, FALSE,
    FALSE
FROM unnest(%s::uuid[], %s::uuid[], %s::text[]) AS given(id, event_id, receiver)
WHERE {readable}
"""

Statement = tuple[str, list[Any]]
#: Seconds from the database's now, or a moment.
DueTime = float | datetime


class NewEvent(NamedTuple):
    """An event, and the id of each delivery with the name of its receiver.

    It has none of its own where all are merged into deliveries that wait.
    """

    id: uuid.UUID
    payload: str
    deliveries: Sequence[tuple[uuid.UUID, str]]
    subject: str = ""


class NewRows(NamedTuple):
    """Events of one signal, whose deliveries are due at ``available``.

    The relay looks at them at ``checked``. ``anywhere``: see Note [Schemas]. On
    PostgreSQL a single event may be inserted only if it gets the key ``once``. Their
    ``correlation`` is None where it is the id of each.
    """

    signal: str
    headers: str
    cause_id: uuid.UUID | None
    available: DueTime
    checked: DueTime
    anywhere: bool
    events: Sequence[NewEvent]
    once: Key | None = None
    correlation: str | None = None


def insert(rows: NewRows, *, database: str) -> bool:
    """Insert events and deliveries in the transaction that is open.

    Databases that limit a statement's parameters get more statements. Return False
    if workers could not read the rows, and none are inserted: Note [Schemas].
    """
    if _insert(rows, database):
        return True
    schemas.look(database)
    return _insert(rows, database)


def insert_once(rows: NewRows, key: Key, *, database: str) -> uuid.UUID | None:
    """Insert a single event, unless an earlier one holds its key.

    Return the event that holds the key now; None if workers could not read the rows,
    and none are inserted. On PostgreSQL one statement, if the event is the first.
    """
    (event,) = rows.events
    if connections[database].vendor != "postgresql":
        first = dedupe.claim(key, event.id, database=database)
        return event.id if first == event.id and _insert(rows, database) else first
    for _ in range(2):
        if _insert(rows._replace(once=key), database):
            return event.id
        if (first := dedupe.holder(key, database=database)) is not None:
            return first
        schemas.look(database)
    return None


def _insert(rows: NewRows, database: str) -> bool:
    connection = connections[database]
    with connection.cursor() as cursor:
        for sql, params in _statements(rows, connection):
            cursor.execute(sql, params)
        return bool(cursor.rowcount)


def _statements(rows: NewRows, connection: Any) -> Sequence[Statement]:
    if connection.vendor == "postgresql":
        single = len(rows.events) == 1
        return [(_from_texts if single else _from_arrays)(rows, connection)]
    max_params = connection.features.max_query_params
    return [
        statement
        for events in _parts(rows.events, max_params or math.inf)
        for statement in _from_values(rows, events, connection)
    ]


def _from_texts(rows: NewRows, connection: Any) -> Statement:
    """Return the statement for one event.

    Its text holds what every event of the signal has in common.
    """
    (event,) = rows.events
    due, due_params = time_sql(rows.available, connection)
    checked, checked_params = time_sql(rows.checked, connection)
    names = tuple([name for _, name in event.deliveries])
    readable = schemas.is_readable(connection.alias, anywhere=rows.anywhere)
    key = str(event.id)
    params: list[Any] = [rows.once.key, key] if rows.once else []
    params += (key, event.payload, rows.headers, rows.cause_id and str(rows.cause_id))
    params.append(event.subject)
    if rows.correlation is not None:
        params.append(rows.correlation)
    for pk, _ in event.deliveries:
        params += (str(pk), key, *due_params, *checked_params)
    guard = (readable, rows.once and rows.once._replace(key=""))
    kind = _Kind(connection.alias, rows.signal, rows.correlation is not None)
    sql = _text(kind, names, (due, checked), guard)
    return sql, params


class _Kind(NamedTuple):
    """The database, the signal, and whether there is a correlation id."""

    alias: str
    signal: str
    correlated: bool


@lru_cache(maxsize=256)
def _text(
    kind: _Kind,
    receivers: tuple[str, ...],
    times: tuple[str, str],
    guard: tuple[str, Key | None],
) -> str:
    """Return the text of the statement that writes an event for these receivers."""
    readable, key = guard
    alias, signal, correlated = kind
    connection = connections[alias]
    now, _ = from_now_sql(0.0, alias)
    into = _into(connection, correlated=correlated)
    name = _literal(signal, connection)
    first, where = "", f"WHERE {readable}"
    if key is not None:
        held = dedupe.statement(key, alias, signal=name)
        first, where = f"key AS ({held} RETURNING event_id), ", f"FROM key {where}"
    more = ", %s" if correlated else ""
    event = f"SELECT %s::uuid, {name}, %s, %s, %s::uuid, %s, {now}{more} {where}"
    if not receivers:
        return f"{into} {event}"
    due, checked = times
    pending = " UNION ALL ".join(
        PENDING_ROW.format(
            receiver=_literal(name, connection),
            due=due,
            checked=checked,
            guard=where,
        )
        for name in receivers
    )
    return f"WITH {first}event AS ({into} {event}) {DELIVERIES} {pending}"


def _into(connection: Any, *, correlated: bool) -> str:
    signal = connection.ops.quote_name("signal")
    return EVENTS.format(signal=signal, correlation=CORRELATION if correlated else "")


def _literal(text: str, connection: Any) -> str:
    """Return the text as the driver quotes it, for a statement with parameters."""
    return str(connection.ops.compose_sql("%s", [text])).replace("%", "%%")


def _parts(events: Sequence[NewEvent], max_params: float) -> list[Sequence[NewEvent]]:
    """Split the events so that no statement has more than ``max_params`` values."""
    deliveries = sum(len(event.deliveries) for event in events)
    if 7 * max(len(events), deliveries) <= max_params or len(events) == 1:
        return [events]
    half = len(events) // 2
    return [*_parts(events[:half], max_params), *_parts(events[half:], max_params)]


def _from_values(
    rows: NewRows, events: Sequence[NewEvent], connection: Any
) -> Sequence[Statement]:
    due, due_params = time_sql(rows.available, connection)
    checked, checked_params = time_sql(rows.checked, connection)
    stored = partial(stored_id, native=connection.features.has_native_uuid_field)
    cause = rows.cause_id and stored(rows.cause_id)
    more = () if rows.correlation is None else (rows.correlation,)
    parent: list[Any] = []
    children: list[Any] = []
    count = 0
    for event in events:
        key = stored(event.id)
        parent += (key, rows.signal, event.payload, rows.headers, cause, event.subject)
        parent += more
        count += len(event.deliveries)
        for pk, receiver in event.deliveries:
            children += (stored(pk), key, receiver)
            children += (*due_params, *checked_params)
    kind = _Kind(connection.alias, "", bool(more))
    sql, more_sql = _values_sql(kind, len(events), count, due, checked)
    return [(sql, parent), (more_sql, children)][: 2 if count else 1]


@lru_cache(maxsize=64)
def _values_sql(
    kind: _Kind, events: int, deliveries: int, due: str, checked: str
) -> tuple[str, str]:
    """Return the texts of both statements for so many rows of any signal."""
    connection = connections[kind.alias]
    now, _ = from_now_sql(0.0, kind.alias)
    into = _into(connection, correlated=kind.correlated)
    event = f"(%s, %s, %s, %s, %s, %s, {now}{', %s' if kind.correlated else ''})"
    pending = PENDING.format(receiver="%s", due=due, checked=checked)
    return (
        f"{into} VALUES {', '.join([event] * events)}",
        f"{DELIVERIES} VALUES {', '.join([pending] * deliveries)}",
    )


def _from_arrays(rows: NewRows, connection: Any) -> Statement:
    due, due_params = time_sql(rows.available, connection)
    checked, checked_params = time_sql(rows.checked, connection)
    keys = [str(event.id) for event in rows.events]
    pending = [
        (str(pk), key, name)
        for key, event in zip(keys, rows.events, strict=True)
        for pk, name in event.deliveries
    ]
    readable = schemas.is_readable(connection.alias, anywhere=rows.anywhere)
    params = [
        rows.signal,
        rows.headers,
        rows.cause_id,
        rows.correlation,
        array_of_ids(keys),
        array(event.payload for event in rows.events),
        array(event.subject for event in rows.events),
    ]
    event = EVENTS_FROM_ARRAYS.format(readable=readable)
    if not pending:
        return event, params
    sql = FROM_ARRAYS.format(event=event, due=due, checked=checked, readable=readable)
    return sql, [
        *params,
        *due_params,
        *checked_params,
        array_of_ids(pk for pk, _, _ in pending),
        array_of_ids(key for _, key, _ in pending),
        array(name for _, _, name in pending),
    ]


def time_sql(due: DueTime, connection: Any) -> tuple[str, tuple[Any, ...]]:
    """Return a due time as SQL for that database, with its parameters."""
    if isinstance(due, datetime):
        given = "%s::timestamptz" if connection.vendor == "postgresql" else "%s"
        return given, (connection.ops.adapt_datetimefield_value(due),)
    return from_now_sql(due, connection.alias)
