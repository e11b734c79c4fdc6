"""Write successes: the one write of a worker for receivers that did their work.

Hand-written SQL, because it is part of every transaction of a receiver, where
compiling the ORM's update costs more than running it.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from functools import lru_cache
from typing import Any

from django.db import connections

from signal_tasks.db import turns
from signal_tasks.db.sql import from_now_sql, stored_id
from signal_tasks.db.turns import Heads, Positions

COMPLETE = (
    "UPDATE signal_tasks_delivery SET state = 'succeeded', reason = '', "
    "next_check_at = NULL, finished_at = {now} "
    "WHERE state = 'running' AND lease = %s AND id IN ({ids})"
)
DELETE_TURNS = "DELETE FROM signal_tasks_turn WHERE delivery_id IN ({ids})"
#: Both on PostgreSQL. Where nothing is finished, no turn is deleted.
COMPLETE_IN_ORDER = f"""
WITH done AS ({COMPLETE} RETURNING 1), moved AS (
    {DELETE_TURNS} AND EXISTS (SELECT 1 FROM done)
)
SELECT COUNT(*) FROM done
"""  # noqa: S608 - of our own text


def complete(
    ids: Collection[uuid.UUID], *, lease: int, database: str, ordered: bool = False
) -> int:
    """Finish the deliveries that still run under ``lease`` as succeeded.

    In the transaction that is open. Return the number of rows updated; unless it is that
    of the ids, a caller whose deliveries are ``ordered`` has to roll back: those that
    finish give up their turns with it. One statement, but for these on other databases
    than PostgreSQL.
    """
    connection = connections[database]
    native = connection.features.has_native_uuid_field
    stored = [stored_id(pk, native=native) for pk in ids]
    with connection.cursor() as cursor:
        if ordered and is_one_statement(database):
            sql = _sql(COMPLETE_IN_ORDER, len(stored), database)
            cursor.execute(sql, [lease, *stored, *stored])
            return int(cursor.fetchone()[0])
        cursor.execute(_sql(COMPLETE, len(stored), database), [lease, *stored])
        done = int(cursor.rowcount)
        if ordered and done:
            cursor.execute(_sql(DELETE_TURNS, len(stored), database), stored)
        return done


def complete_and_look(
    ids: Collection[uuid.UUID], behind: Positions, *, lease: int, database: str
) -> tuple[int, Heads | None]:
    """Finish ordered deliveries, and look at what comes next behind these positions.

    Both in one round trip if the cursor takes several statements, else None instead of
    the second. They are two statements, since the first may wait for a lock: the look
    has to see what whoever held it has moved away.
    """
    connection = connections[database]
    with connection.cursor() as cursor:
        if behind and _takes_several(cursor, connection):
            stored = [str(pk) for pk in ids]
            sql = _sql(COMPLETE_IN_ORDER, len(stored), database)
            look, positions = turns.look_on_postgresql(behind)
            cursor.execute(f"{sql};{look}", [lease, *stored, *stored, *positions])
            done = int(cursor.fetchone()[0])
            if not cursor.nextset():
                raise RuntimeError("the driver has one result of two statements")
            return done, turns.heads_of(cursor)
    return complete(ids, lease=lease, database=database, ordered=True), None


def _takes_several(cursor: Any, connection: Any) -> bool:
    """Return True for psycopg 3, unless the server fills in the parameters.

    Not where something is wrapped around statements: it may put its own before ours,
    and go on to the last result.
    """
    client: Any = getattr(connection.Database, "ClientCursor", ())
    is_bare = not connection.execute_wrappers
    return is_bare and isinstance(getattr(cursor, "cursor", None), client)


def is_one_statement(database: str) -> bool:
    """Return True if ordered deliveries finish in one statement, too."""
    return connections[database].vendor == "postgresql"


@lru_cache(maxsize=512)
def _sql(template: str, ids: int, database: str) -> str:
    now, _ = from_now_sql(0.0, database)
    return template.format(now=now, ids=", ".join(["%s"] * ids))
