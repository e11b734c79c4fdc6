"""Inserts events with their deliveries: the one write of a send.

By SQL of our own, because it is on the path of every request, where the ORM's
``bulk_create`` costs more than the database does. Two ``INSERT`` statements for any
number of events, which PostgreSQL is given as one, in one round trip.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from django.db import connections
from django.db.models.sql import Query

from signal_tasks.clock import from_now

#: ``signal`` is a word of MySQL's own, and has to be quoted in its way.
EVENTS = (
    "INSERT INTO signal_tasks_event "
    "(id, {signal}, payload, headers, cause_id, sent_at) VALUES "
)
DELIVERIES = (
    "INSERT INTO signal_tasks_delivery (id, event_id, receiver, state, reason, "
    "attempts, lease, available_at, relay_at, relays, alone, orphaned, finished_at) "
    "VALUES "
)

Statement = tuple[str, list[Any]]
#: So many seconds from the database's now, or a moment.
When = float | datetime


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """A delivery that is owed to ``receiver``."""

    id: uuid.UUID
    receiver: str


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event with its deliveries."""

    id: uuid.UUID
    signal: str
    payload: str
    headers: str
    cause_id: uuid.UUID | None
    deliveries: Sequence[NewDelivery]


def insert(
    events: Sequence[NewEvent], *, available: When, watched: When, database: str
) -> None:
    """Insert the events and deliveries in the transaction that is open.

    The deliveries are due when ``available``; the relay looks at them when
    ``watched``. Databases that limit a statement's parameters get more statements.
    """
    connection = connections[database]
    parent = _events(events, connection)
    children = _deliveries(events, available, watched, connection)
    most = connection.features.max_query_params
    if most and len(events) > 1 and max(len(parent[1]), len(children[1])) > most:
        half = len(events) // 2
        for part in (events[:half], events[half:]):
            insert(part, available=available, watched=watched, database=database)
        return
    with connection.cursor() as cursor:
        for sql, params in _statements(parent, children, connection):
            cursor.execute(sql, params)


def _statements(
    parent: Statement, children: Statement, connection: Any
) -> Sequence[Statement]:
    if connection.vendor != "postgresql":
        return (parent, children)
    sql = f"WITH event AS ({parent[0]}) {children[0]}"
    return ((sql, parent[1] + children[1]),)


def _events(events: Sequence[NewEvent], connection: Any) -> Statement:
    now, _ = _time(0.0, connection)
    row = f"(%s, %s, %s, %s, %s, {now})"
    params: list[Any] = []
    for event in events:
        cause = event.cause_id and _uuid(event.cause_id, connection)
        key = _uuid(event.id, connection)
        params += (key, event.signal, event.payload, event.headers, cause)
    into = EVENTS.format(signal=connection.ops.quote_name("signal"))
    return into + ", ".join([row] * len(events)), params


def _deliveries(
    events: Sequence[NewEvent], available: When, watched: When, connection: Any
) -> Statement:
    due, due_params = _time(available, connection)
    look, look_params = _time(watched, connection)
    row = f"(%s, %s, %s, 'pending', '', 0, 0, {due}, {look}, 0, FALSE, FALSE, NULL)"
    params: list[Any] = []
    rows = 0
    for event in events:
        event_id = _uuid(event.id, connection)
        for delivery in event.deliveries:
            key = _uuid(delivery.id, connection)
            params += (key, event_id, delivery.receiver, *due_params, *look_params)
            rows += 1
    return DELIVERIES + ", ".join([row] * rows), params


def _uuid(value: uuid.UUID, connection: Any) -> Any:
    return value if connection.features.has_native_uuid_field else value.hex


def _time(when: When, connection: Any) -> tuple[str, tuple[Any, ...]]:
    if isinstance(when, datetime):
        return "%s", (connection.ops.adapt_datetimefield_value(when),)
    return _from_now(when, connection.alias)


@lru_cache(maxsize=64)
def _from_now(seconds: float, alias: str) -> tuple[str, tuple[Any, ...]]:
    """Django's SQL for a time by the database's clock; the same every time."""
    connection = connections[alias]
    query = Query(None)
    expression: Any = from_now(seconds)
    resolved = expression.resolve_expression(query, for_save=True)
    sql, params = query.get_compiler(connection=connection).compile(resolved)
    return sql, tuple(params)
