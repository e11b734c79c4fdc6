"""Ids, times, lists and locks in the form that our own SQL needs."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeVar

from django.db import connections, transaction
from django.db.models import QuerySet
from django.db.models.sql import Query

from signal_tasks.db.clock import from_now

Rows = TypeVar("Rows", bound=QuerySet[Any])


@lru_cache(maxsize=64)
def from_now_sql(seconds: float, alias: str) -> tuple[str, tuple[Any, ...]]:
    """Return ``from_now`` as SQL for that database, with its parameters.

    On PostgreSQL the driver writes the parameters into the text, once; its connection
    has to be open then.
    """
    query = Query(None)
    expression: Any = from_now(seconds)
    resolved = expression.resolve_expression(query, for_save=True)
    connection: Any = connections[alias]
    sql, params = query.get_compiler(connection=connection).compile(resolved)
    if params and connection.vendor == "postgresql":
        return connection.ops.compose_sql(sql, params), ()
    return sql, tuple(params)


def stored_id(value: uuid.UUID, *, native: bool) -> str:
    """Return an id as a parameter, for a database with or without a type for it.

    Text in both cases: drivers are slower with anything else.
    """
    return str(value) if native else value.hex


def array(texts: Iterable[str]) -> str:
    """Return a PostgreSQL array; quicker than the driver, which looks at each item."""
    escaped = (text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
    return "{" + ",".join([f'"{text}"' for text in escaped]) + "}"


def array_of_ids(ids: Iterable[str]) -> str:
    """Return a PostgreSQL array of items that need no quotes."""
    return "{" + ",".join(ids) + "}"


def skip_locked(rows: Rows) -> Rows:
    """Lock these rows in this transaction; skip rows locked by other transactions.

    On SQLite the transaction itself keeps all other writers out.
    """
    features = connections[rows.db].features
    if not features.has_select_for_update:
        return rows
    return rows.select_for_update(
        skip_locked=features.has_select_for_update_skip_locked
    )


@contextmanager
def seeing_commits(database: str) -> Iterator[None]:
    """Open a transaction whose statements see what others have committed before each.

    Whatever the project's isolation level: on PostgreSQL it is told so, if this is the
    outermost transaction. MariaDB's statements that write see it in any case.
    """
    connection = connections[database]
    told = connection.vendor == "postgresql" and not connection.in_atomic_block
    with transaction.atomic(using=database):
        if told:
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        yield


def lock_clause(database: str, *, waits: bool) -> str:
    """Return how to lock rows; nothing on SQLite, which has one writer at a time."""
    features = connections[database].features
    if not features.has_select_for_update:
        return ""
    skips = features.has_select_for_update_skip_locked and not waits
    return " FOR UPDATE SKIP LOCKED" if skips else " FOR UPDATE"
