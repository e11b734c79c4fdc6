"""Delete events that merged sends have left without a delivery.

# Note [Left events]
An event that no delivery has is deleted. It is locked before it is looked for among the
deliveries: a backfill that is giving it a delivery has locked it, and nobody sees that
delivery before the backfill commits. A sender does not wait for such a lock, nor for
another sender that deletes; it looks again after its commit, and waits then.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from typing import NamedTuple

from django.db import connections

from signal_tasks.db.settling import delete_unsettled
from signal_tasks.db.sql import lock_clause, stored_id

LOCK_EVENTS = "SELECT id FROM signal_tasks_event WHERE id IN ({ids}) ORDER BY id"
USED = "SELECT event_id FROM signal_tasks_delivery WHERE event_id IN ({ids})"
DELETE = "DELETE FROM signal_tasks_event WHERE id IN ({ids})"
UNSETTLED = "SELECT event_id FROM signal_tasks_unsettledevent WHERE event_id IN ({ids})"


class Left(NamedTuple):
    """Events that are still there: ``used`` by deliveries, or ``locked`` by others."""

    used: set[uuid.UUID]
    locked: set[uuid.UUID]


def delete_left(
    ids: Collection[uuid.UUID],
    *,
    database: str,
    waits: bool = False,
    settles: bool = False,
) -> Left:
    """Delete those of the events that have no delivery any more; return the others.

    In the transaction that is open: Note [Left events]. A delivery that another
    transaction has taken from its event is still seen here. Two statements look and
    delete: in one, MariaDB would lock the deliveries that it looks at. With ``settles``
    nothing waits for them to settle any more: Note [Whole scans] in ``settling``.
    """
    native = connections[database].features.has_native_uuid_field
    with connections[database].cursor() as cursor:

        def found(sql: str, ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
            cursor.execute(*_for_ids(sql, ids, native=native))
            return {uuid.UUID(str(row[0])) for row in cursor.fetchall()}

        ours = set(ids)
        if lock := lock_clause(database, waits=waits):
            ours = found(LOCK_EVENTS + lock, ids)
        used = found(USED, ours) if ours else set()
        if unused := ours - used:
            cursor.execute(*_for_ids(DELETE, unused, native=native))
            if settles:
                delete_unsettled(list(found(UNSETTLED, unused)), database=database)
    return Left(used, set(ids) - ours)


def _for_ids(
    sql: str, ids: Collection[uuid.UUID], *, native: bool
) -> tuple[str, list[str]]:
    stored = [stored_id(each, native=native) for each in ids]
    return sql.format(ids=", ".join(["%s"] * len(stored))), stored
