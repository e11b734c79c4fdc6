"""Ids, times and lists as the SQL that we write ourselves has them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from django.db import connections
from django.db.models.sql import Query

from signal_tasks.clock import from_now


@lru_cache(maxsize=64)
def from_now_sql(seconds: float, alias: str) -> tuple[str, tuple[Any, ...]]:
    """``from_now`` as Django writes it for that database, with its parameters.

    PostgreSQL's driver writes them out once and for all; its connection is open then.
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
    """An id as a parameter, for a database with a type for it or without.

    A text in both cases: drivers look twice at anything else.
    """
    return str(value) if native else value.hex


def array(texts: Iterable[str]) -> str:
    """An array as PostgreSQL reads it; the driver would look at each item's type."""
    escaped = (text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
    return "{" + ",".join([f'"{text}"' for text in escaped]) + "}"


def array_of_ids(ids: Iterable[str]) -> str:
    """An array of what needs no quoting."""
    return "{" + ",".join(ids) + "}"
