"""Statements that are ended when they take too long, where the database can do that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.db import Error, OperationalError, connections, transaction


class TooSlow(Exception):
    """A statement took longer than it may and was stopped."""


@contextmanager
def statements_within(seconds: float, database: str) -> Iterator[None]:
    """Stop each statement in the block that takes longer; read only in it.

    The block is a transaction, or a savepoint of the caller's, whose own limit, or that
    of the session, holds again afterwards. SQLite knows no such limit.

    Raises:
        TooSlow: a statement was stopped.
    """
    connection = connections[database]
    is_nested = connection.in_atomic_block
    undo = ""
    try:
        with transaction.atomic(using=database):
            undo = _limit(connection, seconds, is_nested=is_nested)
            yield
    except OperationalError as error:
        if _is_timeout(connection.vendor, error):
            raise TooSlow(str(error)) from error
        raise
    finally:
        if undo and not connection.needs_rollback:
            # A connection that is lost has no limit any more.
            with suppress(Error), connection.cursor() as cursor:
                cursor.execute(undo)


def _limit(connection: Any, seconds: float, *, is_nested: bool) -> str:
    """Set the limit; return the statement that undoes it, if one is needed."""
    if connection.vendor == "sqlite":
        return ""
    milliseconds = int(seconds * 1000)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            return _limit_here(cursor, milliseconds, is_nested=is_nested)
        name, value = "max_execution_time", str(milliseconds)
        if connection.mysql_is_mariadb:
            name, value = "max_statement_time", str(seconds)
        before = f"@signal_tasks_limit_{len(connection.savepoint_ids)}"
        cursor.execute(f"SET {before} = @@SESSION.{name}, SESSION {name} = {value}")
    return f"SET SESSION {name} = {before}"


def _limit_here(cursor: Any, milliseconds: int, *, is_nested: bool) -> str:
    """Set the limit for the transaction on PostgreSQL, which undoes it at its end."""
    before = ""
    if is_nested:
        cursor.execute("SHOW statement_timeout")
        (before,) = cursor.fetchone()
    cursor.execute(f"SET LOCAL statement_timeout = {milliseconds}")
    return f"SET LOCAL statement_timeout = '{before}'" if is_nested else ""


#: SQLSTATE of a statement that PostgreSQL has stopped; errors of MariaDB and MySQL.
CANCELLED = "57014"
TIMED_OUT = (1969, 3024)


def _is_timeout(vendor: str, error: OperationalError) -> bool:
    if vendor == "postgresql":
        cause = error.__cause__
        code = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
        return code == CANCELLED
    return bool(error.args) and error.args[0] in TIMED_OUT
