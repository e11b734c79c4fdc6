"""Takes deliveries together with their events, in one statement of PostgreSQL's.

What ``DeliveryQuerySet.take`` does in five round trips elsewhere. The commit does not
wait for the disk: a take that a crash of the server undoes has left no trace to be
done twice, and the end of the delivery, which does wait, is written after it.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from typing import Any

from django.db import connections

from signal_tasks.sql import array, array_of_ids

TAKE = """
WITH due AS MATERIALIZED (
    SELECT id, event_id FROM signal_tasks_delivery
    WHERE id = ANY(%s::uuid[]) AND receiver = ANY(%s::text[]) AND (%s OR NOT alone)
        AND state = 'pending' AND available_at <= STATEMENT_TIMESTAMP()
    FOR UPDATE SKIP LOCKED
), unsynced AS MATERIALIZED (
    SELECT set_config('synchronous_commit', 'off', TRUE)
)
UPDATE signal_tasks_delivery AS delivery
SET state = 'running', attempts = delivery.attempts + 1, lease = delivery.lease + 1,
    relay_at = STATEMENT_TIMESTAMP() + %s * INTERVAL '1 second',
    relays = 0, alone = %s, orphaned = FALSE
FROM unsynced, due LEFT JOIN signal_tasks_event AS event ON event.id = due.event_id
WHERE delivery.id = due.id
RETURNING delivery.id, delivery.event_id, delivery.receiver, delivery.state,
    delivery.attempts, delivery.lease, delivery.alone,
    event.id, event.signal, event.payload, event.headers, event.cause_id, event.sent_at
"""

#: The columns of a taken delivery, then those of its event, in the models' order.
DELIVERY = ("id", "event_id", "receiver", "state", "attempts", "lease", "alone")
EVENT = ("id", "signal", "payload", "headers", "cause_id", "sent_at")


def take(
    ids: Collection[uuid.UUID],
    *,
    names: Collection[str],
    lease: float,
    alone: bool,
    database: str,
) -> list[tuple[tuple[Any, ...], tuple[Any, ...]]]:
    """The values of each taken delivery and its event, as named above."""
    with connections[database].cursor() as cursor:
        wanted = array_of_ids(str(pk) for pk in ids)
        cursor.execute(TAKE, (wanted, array(names), alone, lease, alone))
        columns = len(DELIVERY)
        return [(row[:columns], row[columns:]) for row in cursor.fetchall()]
