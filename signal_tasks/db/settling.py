"""Insert, lock and delete the rows of events that are to settle.

Inserting them is one statement more of a send; it is hand-written for the reason that
``insert`` gives.

# Note [Whole scans]
MariaDB reads the whole of a small table, or of an index that has all it needs, and locks
each row on its way: workers would skip each other's events, and wait for each other
where they delete. So a lock and an UPDATE name the primary key, and the lock asks for a
column that this does not have; a DELETE takes no such hint, and gets one id. Whatever
else chooses rows selects them first, without a lock. It deletes only what is there: of
an id that is not, the gap would be locked, and others could insert nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import connections

from signal_tasks.db.insert import DueTime, time_sql
from signal_tasks.db.sql import array_of_ids, from_now_sql, lock_clause, stored_id

#: Relays look at an event so long after its deliveries are due (seconds).
CHECK_AFTER = 10.0
#: What has finished is tried for so long, if ``settled`` cannot be sent, and deliveries
#: of an event that has not settled are kept for so long beyond their age.
TRIED_FOR = timedelta(days=7)
#: Rows of one statement, but for PostgreSQL, which takes any number.
BATCH = 200
INTO = "INSERT INTO signal_tasks_unsettledevent (event_id, {signal}, check_at, checks) "
FROM_ARRAY = "SELECT id, %s, {check}, 0 FROM unnest(%s::uuid[]) AS given(id)"
ROW = "(%s, %s, {check}, 0)"
LOCK = (
    "SELECT event_id, checks FROM signal_tasks_unsettledevent{hint} "
    "WHERE event_id IN ({ids}){due}{lock}"
)
PUT_OFF = (
    "UPDATE signal_tasks_unsettledevent{hint} SET check_at = {later}, checks = %s "
    "WHERE event_id IN ({ids})"
)
DELETE = "DELETE FROM signal_tasks_unsettledevent WHERE event_id IN ({ids})"

Statement = tuple[str, list[Any]]


def insert_unsettled(
    ids: Sequence[uuid.UUID], signal: str, due: DueTime, *, database: str
) -> None:
    """Insert the rows of these events, whose deliveries are due then.

    In the transaction that is open.
    """
    connection = connections[database]
    with connection.cursor() as cursor:
        for sql, params in _statements(ids, signal, _later(due), connection):
            cursor.execute(sql, params)


def _later(due: DueTime) -> DueTime:
    if isinstance(due, datetime):
        return due + timedelta(seconds=CHECK_AFTER)
    return due + CHECK_AFTER


def _statements(
    ids: Sequence[uuid.UUID], signal: str, check: DueTime, connection: Any
) -> Iterator[Statement]:
    check_sql, params = time_sql(check, connection)
    into = INTO.format(signal=connection.ops.quote_name("signal"))
    if connection.vendor == "postgresql":
        sql = into + FROM_ARRAY.format(check=check_sql)
        yield sql, [signal, *params, array_of_ids(str(pk) for pk in ids)]
        return
    native = connection.features.has_native_uuid_field
    row = ROW.format(check=check_sql)
    for start in range(0, len(ids), BATCH):
        some = ids[start : start + BATCH]
        values: list[Any] = []
        for pk in some:
            values += (stored_id(pk, native=native), signal, *params)
        yield f"{into}VALUES {', '.join([row] * len(some))}", values


def lock_unsettled(ids: Sequence[uuid.UUID], *, database: str) -> list[uuid.UUID]:
    """Lock the rows of these events; return those that nobody else has locked.

    In the transaction that is open: Note [Whole scans].
    """
    return [pk for pk, _ in _lock(ids, "", database)]


def lock_due(
    ids: Sequence[uuid.UUID], *, database: str
) -> Mapping[int, list[uuid.UUID]]:
    """Lock those of the rows that are still due; return them by their ``checks``."""
    now, _ = from_now_sql(0.0, database)
    by_checks: dict[int, list[uuid.UUID]] = {}
    for pk, checks in _lock(ids, f" AND check_at <= {now}", database):
        by_checks.setdefault(checks, []).append(pk)
    return by_checks


def _lock(
    ids: Sequence[uuid.UUID], due: str, database: str
) -> list[tuple[uuid.UUID, int]]:
    connection = connections[database]
    lock = lock_clause(database, waits=False)
    sql, params = _of(LOCK, ids, connection, hint=_hint(connection), due=due, lock=lock)
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return [(uuid.UUID(str(pk)), checks) for pk, checks in cursor.fetchall()]


def put_off(
    ids: Sequence[uuid.UUID], *, wait: float, checks: int, database: str
) -> None:
    """Have relays look later at these events, whose rows are locked."""
    connection = connections[database]
    later, params = from_now_sql(wait, database)
    sql, stored = _of(PUT_OFF, ids, connection, hint=_hint(connection), later=later)
    with connection.cursor() as cursor:
        cursor.execute(sql, [*params, checks, *stored])


def _hint(connection: Any) -> str:
    return " FORCE INDEX (PRIMARY)" if connection.vendor == "mysql" else ""


def delete_unsettled(ids: Sequence[uuid.UUID], *, database: str) -> None:
    """Delete the rows of these events, which are there: Note [Whole scans]."""
    connection = connections[database]
    parts = [[pk] for pk in ids] if connection.vendor == "mysql" else [ids]
    with connection.cursor() as cursor:
        for part in parts:
            if part:
                cursor.execute(*_of(DELETE, part, connection))


def _of(
    sql: str, ids: Sequence[uuid.UUID], connection: Any, **more: str
) -> tuple[str, list[str]]:
    native = connection.features.has_native_uuid_field
    stored = [stored_id(pk, native=native) for pk in ids]
    return sql.format(ids=", ".join(["%s"] * len(stored)), **more), stored
