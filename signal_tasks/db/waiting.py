"""Let those who insert the same unique row wait one at a time: MariaDB and MySQL.

# Note [One waits]
Whoever inserts a row that another transaction has inserted waits for it. When that
transaction is rolled back, InnoDB lets all who wait lock the gap that the row leaves;
each then waits for the gap of the others, and all but one are deadlocked. So only one
of them waits for the row; the others wait for a lock of the server with the name of
the row, which is free again as soon as the one that holds it has inserted.

A transaction that finds the row when it inserts also locks the gap before it, and with
it other keys. Under READ COMMITTED, which Django sets, one that locks the row first, by
SELECT, locks nothing else. So whoever waits does so by a SELECT.

Whoever has the row already must not ask for the lock again in the same transaction:
the one that holds it waits for that transaction. So look for the row first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.db import Error

#: After this long whoever waits for the lock goes on without it (seconds). The server
#: sees no deadlock between such a lock and rows: it has to end well before a wait for a
#: row does, even several times in a row.
PATIENCE = 3


@contextmanager
def one_waits(connection: Any, *row: str) -> Iterator[None]:
    """Hold the lock of a row while it is inserted: Note [One waits].

    A server that refuses such locks, as some clusters do, does without.
    """
    if connection.vendor != "mysql":
        yield
        return
    name = "\0".join((str(connection.settings_dict["NAME"]), *row))
    lock = (
        f"signal_tasks:{hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()}"
    )
    held = _ask(connection, "SELECT GET_LOCK(%s, %s)", lock, PATIENCE)
    try:
        yield
    finally:
        if held:
            _ask(connection, "SELECT RELEASE_LOCK(%s)", lock)


def locks_no_gap(connection: Any) -> bool:
    """Return True if a SELECT locks the rows that it finds, and nothing beside them."""
    return bool(
        connection.vendor == "mysql" and connection.isolation_level == "read committed"
    )


def _ask(connection: Any, sql: str, *params: object) -> bool:
    with suppress(Error), connection.cursor() as cursor:
        cursor.execute(sql, params)
        return bool(cursor.fetchone()[0])
    return False
