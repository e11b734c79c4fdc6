"""Carry the PostgreSQL schemas of the sender, or its tenant, to its receivers.

For tenants in schemas, by a ``search_path`` of your own or by django-tenants. The
tables of signal_tasks stay in a schema that all of them share.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from django.db import Error, connections

from signal_tasks.db.aliases import outbox_aliases
from signal_tasks.db.session import DropIfLost


class SearchPath:
    """The schemas in which the sender's tables are looked up, for each outbox.

    With django-tenants the tenant is set as django-tenants does it; captured without
    a statement. Otherwise ``search_path`` is read by one statement in each send.
    """

    name = "search_path"
    carries_schemas = True

    def capture(self) -> dict[str, Any] | None:
        """Return the schemas of each connection that may have left its own."""
        return {
            alias: found
            for alias in outbox_aliases()
            if (found := _capture(connections[alias])) is not None
        } or None

    def key_scope(self, value: Mapping[str, Any], database: str) -> str:
        """Return the schemas, or the tenant, whose rows the keys of a send name."""
        found = value.get(database, "")
        return found["schema"] if isinstance(found, dict) else ",".join(found)

    @contextmanager
    def restore(self, value: Mapping[str, Any]) -> Iterator[None]:
        """Set the schemas, and put back those that the connections had.

        Raises:
            LookupError: a schema is gone.
        """
        with ExitStack() as stack:
            for alias, found in value.items():
                stack.enter_context(_restore(connections[alias], found))
            yield


def _capture(connection: Any) -> Any:
    if hasattr(connection, "set_tenant"):
        return _tenant(connection)
    if connection.vendor != "postgresql" or connection.connection is None:
        return None  # a connection that is not open yet has left nothing
    try:
        with DropIfLost(connection.alias), connection.cursor() as cursor:
            return _schemas(cursor)
    except AssertionError:
        return None  # a test that may not touch this database has left nothing there
    except Error as error:
        error.add_note(
            f"SearchPath asked {connection.alias!r}, whose connection is open, for its "
            "schemas: an event may refer to rows of every database that holds an outbox."
        )
        raise


def _restore(connection: Any, found: Any) -> AbstractContextManager[None]:
    if isinstance(found, dict):
        return _as_tenant(connection, **found)
    return _in_schemas(connection, found)


# -- search_path ------------------------------------------------------------------


def _schemas(cursor: Any) -> list[str]:
    """Return the schemas that are searched: those of the path that exist."""
    cursor.execute("SELECT to_json(current_schemas(false))::text")
    found: list[str] = json.loads(cursor.fetchone()[0])
    return found


@contextmanager
def _in_schemas(connection: Any, schemas: list[str]) -> Iterator[None]:
    with connection.cursor() as cursor:
        former = None if _schemas(cursor) == schemas else _change(cursor, schemas)
    try:
        if former is not None:
            _check(connection, schemas)
        yield
    finally:
        if former is not None:
            _put_back(connection, former)


def _change(cursor: Any, schemas: list[str]) -> str:
    """Search these schemas; return the path that was set before."""
    cursor.execute("SELECT current_setting('search_path')")
    (former,) = cursor.fetchone()
    path = ", ".join('"' + each.replace('"', '""') + '"' for each in schemas)
    cursor.execute("SELECT set_config('search_path', %s, FALSE)", [path])
    return str(former)


def _check(connection: Any, schemas: list[str]) -> None:
    """Raise LookupError if a schema is gone: PostgreSQL passes over it in silence."""
    with connection.cursor() as cursor:
        found = _schemas(cursor)
    if found != schemas:
        gone = ", ".join(repr(each) for each in schemas if each not in found)
        raise LookupError(
            f"database {connection.alias!r} has no schema {gone} any more"
        )


def _put_back(connection: Any, path: str) -> None:
    """Set the former path; a transaction that is broken does so by its rollback."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('search_path', %s, FALSE)", [path])
    except Error:
        if not connection.in_atomic_block:
            connection.close()


# -- django-tenants ---------------------------------------------------------------


def _tenant(connection: Any) -> dict[str, Any]:
    """Return the tenant of a connection; ``row`` if it is more than a schema's name."""
    return {
        "schema": connection.schema_name,
        "public": connection.include_public_schema,
        "row": hasattr(connection.tenant, "pk"),
    }


@contextmanager
def _as_tenant(connection: Any, schema: str, public: bool, row: bool) -> Iterator[None]:
    former = connection.tenant, connection.include_public_schema
    try:
        connection.set_schema_to_public()
        tenant = _found(connection, schema, row=row)
        connection.set_tenant(tenant, include_public=public)
        yield
    finally:
        tenant, public = former
        connection.set_tenant(tenant, include_public=public)


def _found(connection: Any, schema: str, *, row: bool) -> Any:
    from django_tenants.postgresql_backend.base import FakeTenant
    from django_tenants.utils import (
        get_public_schema_name,
        get_tenant_model,
        schema_exists,
    )

    alias = connection.alias
    if schema != get_public_schema_name() and not schema_exists(schema, database=alias):
        raise LookupError(f"database {alias!r} has no schema {schema!r} any more")
    if not row:
        return FakeTenant(schema)
    tenants = get_tenant_model()._base_manager.using(alias)
    return tenants.get(schema_name=schema)
