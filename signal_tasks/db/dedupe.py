"""Dedupe keys: a signal is sent once under a key, until the key expires.

The unique row of a key decides. Whoever comes second waits for the transaction of the
first one, and for nothing else; no error is raised, so the transaction stays usable.
An expired key is taken over in the same statement.
"""

from __future__ import annotations

import uuid
from typing import Any, NamedTuple

from django.db import connections

from signal_tasks.db import schemas
from signal_tasks.db.sql import from_now_sql, stored_id
from signal_tasks.db.waiting import locks_no_gap, one_waits

INTO = "INSERT INTO signal_tasks_dedupekey ({signal}, {key}, event_id, expires_at) "
#: On PostgreSQL and SQLite, after the values; no row is written while the key is held.
UNLESS_HELD = (
    " ON CONFLICT ({signal}, {key}) DO UPDATE "
    "SET event_id = EXCLUDED.event_id, expires_at = EXCLUDED.expires_at "
    "WHERE signal_tasks_dedupekey.expires_at <= {now}"
)
#: On MariaDB and MySQL, which assign from left to right.
UNLESS_HELD_ON_MYSQL = (
    " ON DUPLICATE KEY UPDATE "
    "event_id = IF(expires_at <= {now}, VALUES(event_id), event_id), "
    "expires_at = IF(expires_at <= {now}, VALUES(expires_at), expires_at)"
)
RENEW = (
    "UPDATE signal_tasks_dedupekey SET event_id = %s, expires_at = {expires} "
    "WHERE {signal} = %s AND {key} = %s"
)
HOLDER = (
    "SELECT event_id FROM signal_tasks_dedupekey "
    "WHERE {signal} = %s AND {key} = %s{guard}"
)


class Key(NamedTuple):
    """A key under which a signal is sent once in so many seconds.

    ``anywhere``: see Note [Schemas].
    """

    signal: str
    key: str
    seconds: float
    anywhere: bool


def claim(key: Key, event_id: uuid.UUID, *, database: str) -> uuid.UUID | None:
    """Let this event hold the key, unless an earlier one does.

    Return the event that holds it now; None if workers could not read what is
    written here, and nothing is: Note [Schemas]. In the transaction that is open.
    """
    vendor = connections[database].vendor
    if vendor == "mysql":
        return _claim_on_mysql(key, event_id, database)
    if vendor == "sqlite":
        _insert(key, event_id, database)
        return holder(key, database=database)
    for _ in range(2):
        _claim_on_postgresql(key, event_id, database)
        if (found := holder(key, database=database)) is not None:
            return found
        schemas.look(database)
    return None


def _claim_on_postgresql(key: Key, event_id: uuid.UUID, database: str) -> None:
    connection: Any = connections[database]
    signal = connection.ops.compose_sql("%s", [key.signal]).replace("%", "%%")
    with connection.cursor() as cursor:
        sql = statement(key, database, signal=signal)
        cursor.execute(sql, [key.key, str(event_id)])


def _claim_on_mysql(key: Key, event_id: uuid.UUID, database: str) -> uuid.UUID | None:
    """See Note [One waits]."""
    connection = connections[database]
    now, _ = from_now_sql(0.0, database)
    unexpired = f" AND expires_at > {now}"
    if first := _holder(key, database, unexpired):
        return first
    with one_waits(connection, *key[:2]):
        if not (locks_no_gap(connection) and holder(key, database=database)):
            _insert(key, event_id, database)
        elif not (first := _holder(key, database, unexpired)):
            _renew(key, event_id, database)
    return first or holder(key, database=database)


def _insert(key: Key, event_id: uuid.UUID, database: str) -> None:
    """Insert the key, unless it is there and has not expired."""
    connection = connections[database]
    expires, params = from_now_sql(key.seconds, database)
    stored = stored_id(event_id, native=connection.features.has_native_uuid_field)
    sql = f"{_into(database)} VALUES (%s, %s, %s, {expires}) {_unless_held(database)}"
    with connection.cursor() as cursor:
        cursor.execute(sql, [key.signal, key.key, stored, *params])


def _renew(key: Key, event_id: uuid.UUID, database: str) -> None:
    """Give an expired key, which is locked, to this event."""
    connection = connections[database]
    expires, params = from_now_sql(key.seconds, database)
    stored = stored_id(event_id, native=connection.features.has_native_uuid_field)
    with connection.cursor() as cursor:
        sql = RENEW.format(**_names(connection), expires=expires)
        cursor.execute(sql, [stored, *params, key.signal, key.key])


def statement(key: Key, database: str, *, signal: str) -> str:
    """Return PostgreSQL's statement; its parameters are the key and the event's id.

    ``signal`` is the name of the signal as SQL.
    """
    expires, _ = from_now_sql(key.seconds, database)
    readable = schemas.is_readable(database, anywhere=key.anywhere)
    values = f"SELECT {signal}, %s, %s::uuid, {expires} WHERE {readable}"
    return _into(database) + values + _unless_held(database)


def holder(key: Key, *, database: str) -> uuid.UUID | None:
    """Return the event that holds the key; None if no worker would read that row."""
    connection = connections[database]
    if connection.vendor == "postgresql":
        readable = schemas.is_readable(database, anywhere=key.anywhere)
        return _holder(key, database, f" AND {readable}")
    # With a lock the newest row is read, whatever the isolation level.
    locked = connection.features.has_select_for_update
    return _holder(key, database, " FOR UPDATE" if locked else "")


def _holder(key: Key, database: str, guard: str) -> uuid.UUID | None:
    connection = connections[database]
    with connection.cursor() as cursor:
        sql = HOLDER.format(**_names(connection), guard=guard)
        cursor.execute(sql, [key.signal, key.key])
        row = cursor.fetchone()
    return uuid.UUID(str(row[0])) if row else None


def _into(database: str) -> str:
    return INTO.format(**_names(connections[database]))


def _unless_held(database: str) -> str:
    connection = connections[database]
    now, _ = from_now_sql(0.0, database)
    text = UNLESS_HELD_ON_MYSQL if connection.vendor == "mysql" else UNLESS_HELD
    return text.format(**_names(connection), now=now)


def _names(connection: Any) -> dict[str, str]:
    """Return the columns whose names are reserved words of MySQL, quoted."""
    return {each: connection.ops.quote_name(each) for each in ("signal", "key")}
