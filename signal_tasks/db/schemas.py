"""Write nothing where no worker would read: the schemas of PostgreSQL.

# Note [Schemas]
PostgreSQL looks up a table along the ``search_path`` of the connection: the outbox,
and each row that a payload refers to. Workers have the path of a new connection. An
event sent under another path would be run with equal keys of other rows, or lie in an
outbox that no worker reads.

So the statement that inserts an event inserts it only under the path of a new
connection or, where a hook carries the schemas along (Note [Context]), into the
outbox that a new connection finds. That costs no statement and leaves the transaction
usable. The path is taken to be the one that PostgreSQL comes with, until that turns
out wrong; then a connection is opened to see.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import connections

OUTBOX = "to_regclass('signal_tasks_event')::oid::bigint"


@dataclass(frozen=True, slots=True)
class Place:
    """The schemas of a new connection, and the outbox that it finds there."""

    search_path: str = '"$user", public'
    outbox: int = 0


BUILT_IN = Place()
_places: dict[str, Place] = {}


def is_readable(alias: str, *, anywhere: bool) -> str:
    """Return a condition: workers read the outbox, and the rows that are sent.

    With ``anywhere`` a hook takes care of the rows.
    """
    place = _places.get(alias, BUILT_IN)
    if anywhere:
        return f"{OUTBOX} = {place.outbox}"
    path = place.search_path.replace("'", "''").replace("%", "%%")
    return f"current_setting('search_path') = '{path}'"


def are_readable(alias: str, *, anywhere: bool) -> bool:
    """Ask whether that condition is true, for rows that take several statements."""
    connection = connections[alias]
    if connection.vendor != "postgresql":
        return True
    for _ in range(2):
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {is_readable(alias, anywhere=anywhere)}")
            if cursor.fetchone()[0]:
                return True
        look(alias)
    return False


def look(alias: str) -> None:
    """Open a new connection to see its path, and the outbox that it finds."""
    connection: Any = connections[alias].copy()
    connection.settings_dict["OPTIONS"].pop("pool", None)  # whose connections are used
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT current_setting('search_path'), {OUTBOX}")
            path, outbox = cursor.fetchone()
    finally:
        connection.close()
    _places[alias] = Place(path, outbox or 0)
