"""A ``flush`` that is quick, with a second try: Django's tests call it after each test.

Django's own truncates every table and makes all permissions anew, which takes longer
than most tests. PostgreSQL ends one of two transactions that wait for each other, and a
live worker may be in the other one. A failed flush would fail the test, and leave
Django's guards on the other databases behind for every later test.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from django.core.management.commands import flush
from django.db import DatabaseError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

#: Rows that migrations make, which no test changes.
KEPT = {"django_migrations", "django_content_type", "auth_permission"}

#: PostgreSQL keeps the place of deleted rows, which later scans would read, in bytes.
LARGE = 1 << 16


class Command(flush.Command):
    """Delete all rows, and try it once more where the first try failed."""

    def handle(self, **options: Any) -> None:
        alias = options["database"]
        try:
            empty(alias)
        except DatabaseError:
            connections[alias].close()
            empty(alias)


def empty(alias: str) -> None:
    """Delete the rows of all tables in one transaction, whatever refers to them."""
    connection = connections[alias]
    with transaction.atomic(alias), connection.cursor() as cursor:
        large = _large(connection, cursor)
        if large:
            cursor.execute(f"TRUNCATE {', '.join(large)} CASCADE")
        with connection.constraint_checks_disabled():
            for table in tables(alias):
                if table not in large:
                    cursor.execute(f"DELETE FROM {connection.ops.quote_name(table)}")


def _large(connection: BaseDatabaseWrapper, cursor: Any) -> list[str]:
    """Return PostgreSQL's tables that are better begun anew."""
    if connection.vendor != "postgresql":
        return []
    cursor.execute(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname = ANY(%s)"
        " AND pg_relation_size(oid) > %s",
        [list(tables(connection.alias)), LARGE],
    )
    return [name for (name,) in cursor.fetchall()]


@cache
def tables(alias: str) -> tuple[str, ...]:
    """Return the names of the tables that tests fill."""
    names = connections[alias].introspection.django_table_names(
        only_existing=True, include_views=False
    )
    return tuple(sorted(set(names) - KEPT))
