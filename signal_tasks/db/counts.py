"""SQL that counts deliveries; see Note [Bounded counts] in ``counting``."""

#: Seconds from a column to now, by the database's clock.
from __future__ import annotations

SINCE = {
    "postgresql": "EXTRACT(EPOCH FROM STATEMENT_TIMESTAMP() - {})",
    "mysql": "TIMESTAMPDIFF(MICROSECOND, {}, UTC_TIMESTAMP(6)) / 1000000.0",
    "sqlite": "(JULIANDAY('now') - JULIANDAY({})) * 86400.0",
}
#: One look at the turns of a delivery that is due, and none at those of others.
MAY_START = """CASE WHEN live.state = 'pending' AND live.available_at <= {now}
    {besides} THEN 1 ELSE 0 END"""
#: What is left out of what may start now, each by a join and a condition that are in the
#: statement only if there is any of it.
HELD = (
    "LEFT JOIN signal_tasks_helddelivery AS held ON held.delivery_id = live.id",
    "AND held.delivery_id IS NULL",
)
#: Behind another delivery of its key, which no worker more would help.
BEHIND = (
    "LEFT JOIN signal_tasks_turn AS own ON own.delivery_id = live.id",
    "AND NOT EXISTS (SELECT 1 FROM signal_tasks_turn AS other "
    "WHERE other.sequence_id = own.sequence_id AND other.position < own.position)",
)
#: The limit that reaches nothing keeps PostgreSQL from looking at the turns of each
#: delivery once for every column.
LIVE = """
SELECT receiver, state, COUNT(*), SUM(is_due), SUM(may_start), {wait},
    SUM(is_unserved * may_start),
    SUM(CASE WHEN attempts > 0 THEN 1 ELSE 0 END),
    SUM(CASE WHEN orphaned THEN 1 ELSE 0 END),
    SUM(CASE WHEN orphaned THEN is_unserved ELSE 0 END),
    SUM(CASE WHEN parked = '' THEN 0 ELSE 1 END),
    MAX(parked)
FROM (
    SELECT live.*,
        CASE WHEN available_at <= {now} THEN 1 ELSE 0 END AS is_due,
        CASE WHEN available_at <= {late} THEN 1 ELSE 0 END AS is_unserved,
        {may_start} AS may_start
    FROM (
        SELECT id, receiver, state, attempts, orphaned, parked, available_at
        FROM signal_tasks_delivery WHERE next_check_at IS NOT NULL {bound}
    ) AS live {joins}
    LIMIT {most}
) AS seen
GROUP BY receiver, state
"""
FACTS = """
SELECT COUNT(*), EXISTS (SELECT 1 FROM signal_tasks_turn),
    EXISTS (SELECT 1 FROM signal_tasks_helddelivery)
FROM (
    SELECT 1 FROM signal_tasks_delivery WHERE next_check_at IS NOT NULL LIMIT {limit}
) AS live
"""
OLDEST = "MIN(CASE WHEN may_start = 1 THEN available_at END)"
DEAD = """
SELECT receiver, COUNT(*) FROM (
    SELECT receiver FROM signal_tasks_delivery WHERE state = 'dead'
    ORDER BY finished_at DESC LIMIT {limit}
) AS latest
GROUP BY receiver
"""
#: For a database without partial indexes: each dead letter has an attempt that was its
#: last. Those of what was replayed since have no receiver here: they were read, too.
DEAD_BY_ATTEMPTS = """
SELECT delivery.receiver, COUNT(*)
FROM (
    SELECT delivery_id, run FROM signal_tasks_attempt WHERE consequence = 'dead'
    ORDER BY consequence DESC, delivery_id DESC LIMIT {limit}
) AS last
LEFT JOIN signal_tasks_delivery AS delivery
    ON delivery.id = last.delivery_id AND delivery.run = last.run
    AND delivery.state = 'dead'
GROUP BY delivery.receiver
"""
FINISHED = """
SELECT receiver, state, COUNT(*) FROM (
    SELECT receiver, state FROM signal_tasks_delivery WHERE finished_at IS NOT NULL
    ORDER BY finished_at DESC LIMIT {limit}
) AS latest
GROUP BY receiver, state
"""
WAITS_BESIDES = """
SELECT live.receiver, MAX({wait})
FROM (
    SELECT id, receiver, event_id, state, available_at
    FROM signal_tasks_delivery WHERE next_check_at IS NOT NULL {bound}
) AS live
JOIN signal_tasks_event AS event ON event.id = live.event_id {joins}
WHERE {may_start} = 1 AND event.signal NOT IN ({signals})
GROUP BY live.receiver
"""
FIRST_LIVE = """
SELECT delivery.*, counter.key AS turn_key, CASE WHEN EXISTS (
    SELECT 1 FROM signal_tasks_turn AS other
    WHERE other.sequence_id = own.sequence_id AND other.position < own.position
) THEN 1 ELSE 0 END AS is_behind
FROM (
    SELECT live.id FROM (
        SELECT id, receiver, next_check_at FROM signal_tasks_delivery
        WHERE next_check_at IS NOT NULL ORDER BY next_check_at LIMIT {most}
    ) AS live
    WHERE live.receiver = %s ORDER BY live.next_check_at LIMIT {limit}
) AS found
JOIN signal_tasks_delivery AS delivery ON delivery.id = found.id
LEFT JOIN signal_tasks_turn AS own ON own.delivery_id = delivery.id
LEFT JOIN signal_tasks_sequence AS counter ON counter.id = own.sequence_id
ORDER BY delivery.next_check_at
"""
