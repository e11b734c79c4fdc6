"""Bounds of what a page reads: numbers up to a limit, statements up to a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import OperationalError, connections, transaction
from django.db.models import QuerySet

#: Rows that are counted; beyond it a page says "more than".
MAX_COUNTED = 10_000
#: Longest time of one statement of a page (seconds).
STATEMENT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Count:
    """A number of rows, exact up to a limit.

    Attributes:
        number: of rows; the limit if there are more.
        is_more: there are more.
    """

    number: int
    is_more: bool = False

    def __str__(self) -> str:
        return f"more than {self.number:,}" if self.is_more else f"{self.number:,}"

    def __bool__(self) -> bool:
        return self.number > 0


def count(rows: QuerySet[Any], limit: int = MAX_COUNTED) -> Count:
    """Count rows up to ``limit``."""
    number = rows.order_by()[: limit + 1].count()
    return Count(min(number, limit), is_more=number > limit)


class TooSlow(Exception):
    """A statement of a page took longer than STATEMENT_SECONDS and was stopped."""


@contextmanager
def bounded_statements(database: str) -> Iterator[None]:
    """Stop each statement in the block that takes too long; change nothing.

    One read-only view of the database for the whole page. SQLite knows no such limit.

    Raises:
        TooSlow: a statement was stopped.
    """
    connection = connections[database]
    with transaction.atomic(using=database):
        undo = _limit(connection)
        try:
            yield
        except OperationalError as error:
            if _is_timeout(connection.vendor, error):
                raise TooSlow(str(error)) from error
            raise
        finally:
            if undo and not connection.needs_rollback:
                with connection.cursor() as cursor:
                    cursor.execute(undo)


def _limit(connection: Any) -> str:
    """Set the time limit; return the statement that undoes it, if one is needed."""
    if connection.vendor == "sqlite":
        return ""
    milliseconds = int(STATEMENT_SECONDS * 1000)
    statement, undo = f"SET LOCAL statement_timeout = {milliseconds}", ""
    if connection.vendor == "mysql":
        if connection.mysql_is_mariadb:
            statement = f"SET SESSION max_statement_time = {STATEMENT_SECONDS}"
            undo = "SET SESSION max_statement_time = DEFAULT"
        else:
            statement = f"SET SESSION max_execution_time = {milliseconds}"
            undo = "SET SESSION max_execution_time = DEFAULT"
    with connection.cursor() as cursor:
        cursor.execute(statement)
    return undo


#: SQLSTATE of a statement that PostgreSQL has stopped; errors of MariaDB and MySQL.
CANCELLED = "57014"
TIMED_OUT = (1969, 3024)


def _is_timeout(vendor: str, error: OperationalError) -> bool:
    if vendor == "postgresql":
        cause = error.__cause__
        code = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
        return code == CANCELLED
    return bool(error.args) and error.args[0] in TIMED_OUT
