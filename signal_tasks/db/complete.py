"""Write successes: the one write of a worker for receivers that did their work.

Hand-written SQL, because it is part of every transaction of a receiver, where
compiling the ORM's update costs more than running it.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from functools import lru_cache

from django.db import connections

from signal_tasks.db.sql import from_now_sql, stored_id

COMPLETE = (
    "UPDATE signal_tasks_delivery SET state = 'succeeded', reason = '', "
    "next_check_at = NULL, finished_at = {now} "
    "WHERE state = 'running' AND lease = %s AND id IN ({ids})"
)


def complete(ids: Collection[uuid.UUID], *, lease: int, database: str) -> int:
    """Finish the deliveries that still run under ``lease`` as succeeded.

    One statement, in the transaction that is open, if one is. Return the number of
    rows updated.
    """
    connection = connections[database]
    native = connection.features.has_native_uuid_field
    stored = [stored_id(pk, native=native) for pk in ids]
    with connection.cursor() as cursor:
        cursor.execute(_sql(len(stored), database), [lease, *stored])
        return int(cursor.rowcount)


@lru_cache(maxsize=256)
def _sql(ids: int, database: str) -> str:
    now, _ = from_now_sql(0.0, database)
    return COMPLETE.format(now=now, ids=", ".join(["%s"] * ids))
