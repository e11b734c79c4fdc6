"""Database connections of this process: drop them, and use them without a pool.

Django's own rules close a connection that does not answer. A server that answers but
cannot write any more, and a session that a receiver has changed, are ours to leave.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from django.db import connections

from signal_tasks.db.errors import Fault, fault_of

#: How long a connection outside of Django's pool is kept (seconds).
UNPOOLED_MAX_AGE = 60


def drop(database: str) -> None:
    """Close the connection, so that what follows is sent over a new one.

    Those that wait in Django's pool are closed too: they lead to the same server.
    While a transaction is open around us, Django closes it afterwards, as a
    connection that has reached CONN_MAX_AGE.
    """
    connection: Any = connections[database]
    pool = connection.pool if is_pooled(connection) else None
    if pool is not None:
        with suppress(Exception):
            renew = getattr(pool, "drain", pool.check)  # psycopg_pool before 3.3
            renew()
    if connection.in_atomic_block:
        connection.close_at = time.monotonic()
        return
    # Else Django would leave it, as one that was closed in a block that is never left.
    connection.closed_in_transaction = False
    with suppress(Exception):  # it may be broken: that is why it goes
        if pool is not None and connection.connection is not None:
            connection.connection.close()  # else the pool might keep it
        connection.close()


class DropIfLost:
    """Drop the connection when a block ends with the loss of it, or of its server."""

    __slots__ = ("_database",)

    def __init__(self, database: str) -> None:
        self._database = database

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is not None and fault_of(error) is Fault.CONNECTION:
            drop(self._database)


def is_pooled(connection: Any) -> bool:
    """Return True if Django takes this connection from a pool."""
    return bool(connection.settings_dict["OPTIONS"].get("pool"))


def forget_transaction(connection: Any) -> None:
    """Have Django forget blocks that were entered and not left, before a close."""
    connection.atomic_blocks.clear()
    connection.savepoint_ids.clear()
    connection.in_atomic_block = False


def leave_pool(database: str) -> None:
    """Have this thread connect by itself, whatever other threads take from the pool.

    For a thread that must not wait until others give a connection back.
    """
    connection: Any = connections[database]
    if connection.connection is not None or not is_pooled(connection):
        return
    shared = connection.settings_dict  # with the connections of all other threads
    options = {key: value for key, value in shared["OPTIONS"].items() if key != "pool"}
    age = {"CONN_MAX_AGE": UNPOOLED_MAX_AGE}
    connection.settings_dict = {**shared, **age, "OPTIONS": options}
