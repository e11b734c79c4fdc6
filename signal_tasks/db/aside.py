"""Move away what waits for its turn, on PostgreSQL: Note [Waiting] in ``steering.turns``.

One statement, since every message that names what waits comes to it.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from typing import NamedTuple

from django.db import connections

from signal_tasks.db.sql import array_of_ids

#: The update finds what was changed since the statement began: it locks the first turns
#: before, and whoever makes the next one due deletes one of these.
MOVE_AWAY = """
WITH named AS MATERIALIZED (
    SELECT delivery_id, sequence_id, position FROM signal_tasks_turn
    WHERE delivery_id = ANY(%s::uuid[])
), head AS MATERIALIZED (
    SELECT turn.delivery_id, turn.sequence_id, turn.position
    FROM (SELECT DISTINCT sequence_id FROM named) AS given
    CROSS JOIN LATERAL (
        SELECT delivery_id FROM signal_tasks_turn AS earliest
        WHERE earliest.sequence_id = given.sequence_id ORDER BY position LIMIT 1
    ) AS first JOIN signal_tasks_turn AS turn ON turn.delivery_id = first.delivery_id
    FOR UPDATE OF turn SKIP LOCKED
), behind AS MATERIALIZED (
    SELECT named.delivery_id FROM head
    JOIN named ON named.sequence_id = head.sequence_id AND named.position > head.position
), waiting AS MATERIALIZED (
    SELECT id FROM signal_tasks_delivery
    WHERE id = ANY(ARRAY(SELECT delivery_id FROM behind))
        AND state = 'pending' AND available_at <= STATEMENT_TIMESTAMP()
    FOR UPDATE SKIP LOCKED
), moved AS (
    UPDATE signal_tasks_delivery AS delivery SET
        next_check_at = STATEMENT_TIMESTAMP() + INTERVAL '1 second'
            * LEAST(%s * POWER(2, LEAST(publish_count, 30)), %s),
        publish_count = LEAST(publish_count + 1, 30), orphaned = FALSE
    FROM waiting WHERE delivery.id = waiting.id
)
SELECT head.delivery_id, head.position, COALESCE(delivery.isolated, FALSE),
    COALESCE(delivery.state, 'discarded'), COALESCE(delivery.receiver, ''),
    COALESCE(delivery.available_at <= STATEMENT_TIMESTAMP(), FALSE), FALSE
FROM head LEFT JOIN signal_tasks_delivery AS delivery ON delivery.id = head.delivery_id
UNION ALL
SELECT delivery_id, position, FALSE, '', '', FALSE, TRUE
FROM named WHERE sequence_id NOT IN (SELECT sequence_id FROM head)
"""


class Head(NamedTuple):
    """The first turn of a sequence, which was locked, and its delivery as it was.

    Or one of the named deliveries, if somebody else has locked
    the first turn of its sequence: then it ``is_undecided``.
    """

    id: uuid.UUID
    position: int
    isolated: bool
    state: str
    receiver: str
    is_due: bool
    is_undecided: bool = False


def move_away(
    ids: Collection[uuid.UUID], database: str, *, after: float, longest: float
) -> list[Head]:
    """Keep relays from those of ``ids`` that wait; return the first of each sequence.

    Leave those alone, and return them, that are in a sequence whose first turn somebody
    else has locked.
    """
    named = array_of_ids(map(str, ids))
    with connections[database].cursor() as cursor:
        cursor.execute(MOVE_AWAY, [named, after, longest])
        return [Head(*row) for row in cursor.fetchall()]
