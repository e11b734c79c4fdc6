"""Ends what succeeded: the one write of a worker for receivers that did their work.

By SQL of our own, because it stands in every transaction of a receiver, where
compiling the ORM's update costs more than running it.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable
from functools import lru_cache

from django.db import connections

from signal_tasks.sql import from_now_sql, stored_id

SUCCEED = (
    "UPDATE signal_tasks_delivery SET state = 'succeeded', reason = '', "
    "relay_at = NULL, finished_at = {now} "
    "WHERE state = 'running' AND lease = %s AND id IN ({ids})"
)


def succeed(held: Iterable[tuple[uuid.UUID, int]], *, database: str) -> int:
    """End those of ``held`` that still run under their lease; how many it were.

    In the transaction that is open, if one is; a statement for each lease number,
    which is that of the attempt.
    """
    by_lease: dict[int, list[uuid.UUID]] = {}
    for pk, lease in held:
        by_lease.setdefault(lease, []).append(pk)
    return sum(_succeed(lease, pks, database) for lease, pks in by_lease.items())


def _succeed(lease: int, pks: Collection[uuid.UUID], database: str) -> int:
    connection = connections[database]
    native = connection.features.has_native_uuid_field
    ids = [stored_id(pk, native=native) for pk in pks]
    with connection.cursor() as cursor:
        cursor.execute(_sql(len(ids), database), [lease, *ids])
        return int(cursor.rowcount)


@lru_cache(maxsize=256)
def _sql(ids: int, database: str) -> str:
    now, _ = from_now_sql(0.0, database)
    return SUCCEED.format(now=now, ids=", ".join(["%s"] * ids))
