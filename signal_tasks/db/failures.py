"""Count failures into their groups.

# Note [Failure groups]
All workers count into the row of a group, so its lock is taken as late as can be: last
before the commit, and in the order of the fingerprints, so that no two transactions
wait for each other. Only the gate of a breaker is locked later, always. One statement adds to the row or makes it, so that no failure is
lost between those who do either at the same time.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple

from django.db import connections

from signal_tasks.db.sql import from_now_sql
from signal_tasks.fingerprints import Fingerprint

NEW_GROUP = (
    "INSERT INTO signal_tasks_failuregroup (fingerprint, receiver, error_type, "
    "location, sample, failures, first_seen_at, last_seen_at, note) "
    "VALUES (%s, %s, %s, %s, %s, %s, {now}, {now}, '') "
)
#: On PostgreSQL and SQLite. Who has waited for the row is not later for it.
OR_ADD = """
ON CONFLICT (fingerprint) DO UPDATE SET
    failures = signal_tasks_failuregroup.failures + excluded.failures,
    last_seen_at = CASE
        WHEN excluded.last_seen_at > signal_tasks_failuregroup.last_seen_at
        THEN excluded.last_seen_at ELSE signal_tasks_failuregroup.last_seen_at END
"""
#: On MariaDB and MySQL.
OR_ADD_MYSQL = """
ON DUPLICATE KEY UPDATE failures = failures + %s,
    last_seen_at = GREATEST(last_seen_at, {now})
"""


class Failure(NamedTuple):
    """A failed attempt of a receiver; ``text`` is what the error said."""

    fingerprint: Fingerprint
    receiver: str
    text: str


def count(failures: Iterable[Failure], *, database: str) -> None:
    """Add failures to their groups, in the transaction that is open.

    One statement for each group, in order; has to be the last thing before the
    commit: Note [Failure groups].
    """
    first: dict[str, Failure] = {}
    numbers: dict[str, int] = {}
    for failure in failures:
        value = failure.fingerprint.value
        first.setdefault(value, failure)
        numbers[value] = numbers.get(value, 0) + 1
    if not first:
        return
    connection = connections[database]
    with connection.cursor() as cursor:
        for value in sorted(first):
            sql, params = _statement(first[value], numbers[value], connection)
            cursor.execute(sql, params)


def _statement(failure: Failure, number: int, connection: Any) -> tuple[str, list[Any]]:
    value, error_type, location = failure.fingerprint
    params = [value, failure.receiver, error_type, location, failure.text, number]
    is_mysql = connection.vendor == "mysql"
    return _sql(connection.alias), [*params, number] if is_mysql else params


@lru_cache(maxsize=64)
def _sql(database: str) -> str:
    now, _ = from_now_sql(0.0, database)
    is_mysql = connections[database].vendor == "mysql"
    add = OR_ADD_MYSQL.format(now=now) if is_mysql else OR_ADD
    return NEW_GROUP.format(now=now) + add
