"""Claim deliveries together with their events.

On PostgreSQL in one statement, in place of the five round trips elsewhere. Its commit
does not wait for the disk: a claim that a crash of the server undoes has left no trace
that could be repeated, and the finish of the delivery, which does wait, comes after it.

# Note [Fencing]
Each claim draws a random token of 63 bits, the lease, which every later write of the
worker has to match. A counter would not do: a server that forgets a claim in a crash
or a failover would give the same number to the next worker.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connections, transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from signal_tasks.db import turns
from signal_tasks.db.clock import DatabaseNow, from_now
from signal_tasks.db.sql import array, array_of_ids, skip_locked
from signal_tasks.states import State

CLAIM = """
WITH due AS MATERIALIZED (
    SELECT id, event_id, available_at FROM signal_tasks_delivery
    WHERE id = ANY(%s::uuid[]) AND receiver = ANY(%s::text[])
        AND (%s OR NOT isolated)
        AND state = 'pending' AND available_at <= STATEMENT_TIMESTAMP()
    FOR UPDATE SKIP LOCKED
), unsynced AS MATERIALIZED (
    SELECT set_config('synchronous_commit', 'off', TRUE)
)
UPDATE signal_tasks_delivery AS delivery
SET state = 'running', attempts = delivery.attempts + 1, lease = %s, claimed_by = %s,
    next_check_at = STATEMENT_TIMESTAMP() + %s * INTERVAL '1 second',
    publish_count = 0, isolated = %s, orphaned = FALSE, parked = ''
FROM unsynced, due LEFT JOIN signal_tasks_event AS event ON event.id = due.event_id
WHERE delivery.id = due.id
RETURNING delivery.id, delivery.event_id, delivery.receiver, delivery.run,
    delivery.attempts,
    CAST(EXTRACT(EPOCH FROM STATEMENT_TIMESTAMP() - due.available_at) AS float8),
    event.signal, event.payload, event.headers, event.cause_id, event.sent_at,
    CAST(EXTRACT(EPOCH FROM STATEMENT_TIMESTAMP() - event.sent_at) AS float8)
"""

#: The same for receivers whose deliveries are ordered: of what is due, only those which
#: no turn of their sequence comes before but those that are claimed with them. What waits
#: for others than these is not even locked: whoever goes on with it would pass it over.
CLAIM_ORDERED = """
WITH named AS MATERIALIZED (
    SELECT turn.delivery_id, sequence_id, position, before.delivery_id AS previous,
        BOOL_OR(before.delivery_id <> ALL(%s::uuid[])) OVER (
            PARTITION BY sequence_id ORDER BY position
        ) AS waits
    FROM signal_tasks_turn AS turn LEFT JOIN LATERAL (
        SELECT other.delivery_id FROM signal_tasks_turn AS other
        WHERE other.sequence_id = turn.sequence_id AND other.position < turn.position
        ORDER BY other.position DESC LIMIT 1
    ) AS before ON TRUE
    WHERE turn.delivery_id = ANY(%s::uuid[])
), due AS MATERIALIZED (
    SELECT id, event_id, available_at, sequence_id, position, previous
    FROM signal_tasks_delivery AS delivery LEFT JOIN named ON delivery_id = id
    WHERE id = ANY(%s::uuid[]) AND receiver = ANY(%s::text[])
        AND (%s OR NOT isolated)
        AND state = 'pending' AND available_at <= STATEMENT_TIMESTAMP()
        AND waits IS NOT TRUE
    FOR UPDATE OF delivery SKIP LOCKED
), place AS MATERIALIZED (
    SELECT id, event_id, available_at, sequence_id, position, SUM(CASE
        WHEN previous IS NULL OR previous IN (SELECT id FROM due) THEN 0 ELSE 1 END
    ) OVER (PARTITION BY sequence_id ORDER BY position) AS gaps FROM due
), unsynced AS MATERIALIZED (
    SELECT set_config('synchronous_commit', 'off', TRUE)
)
UPDATE signal_tasks_delivery AS delivery
SET state = 'running', attempts = delivery.attempts + 1, lease = %s, claimed_by = %s,
    next_check_at = STATEMENT_TIMESTAMP() + %s * INTERVAL '1 second',
    publish_count = 0, isolated = %s, orphaned = FALSE, parked = ''
FROM unsynced, place LEFT JOIN signal_tasks_event AS event ON event.id = place.event_id
WHERE delivery.id = place.id AND place.gaps = 0
RETURNING delivery.id, delivery.event_id, delivery.receiver, delivery.run,
    delivery.attempts,
    CAST(EXTRACT(EPOCH FROM STATEMENT_TIMESTAMP() - place.available_at) AS float8),
    event.signal, event.payload, event.headers, event.cause_id, event.sent_at,
    CAST(EXTRACT(EPOCH FROM STATEMENT_TIMESTAMP() - event.sent_at) AS float8),
    COALESCE(place.sequence_id, 0), COALESCE(place.position, 0)
"""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that this worker has claimed, with its event.

    An event that somebody deleted by hand has no payload. Times are in seconds by
    the database's clock: ``waited`` from the due time to the claim, ``age`` from the
    send to the claim. A ``probe`` finds out whether a receiver works again whose
    breaker is open. ``sequence`` and ``position`` are those of its turn; zero for a
    receiver that is not ordered, and for a delivery that has given its turn up.
    """

    lease: int
    database: str
    id: uuid.UUID
    event_id: uuid.UUID
    receiver: str
    run: int
    attempt: int
    waited: float
    signal: str
    payload: str
    headers: str
    cause_id: uuid.UUID | None
    sent_at: datetime
    age: float
    sequence: int = 0
    position: int = 0
    probe: bool = False

    @property
    def is_first(self) -> bool:
        """True for the first attempt since the send."""
        return self.run == 1 and self.attempt == 1

    def __str__(self) -> str:
        return f"{self.receiver} {self.id}"


class Claim(NamedTuple):
    """The deliveries to claim, and on what terms."""

    ids: Collection[uuid.UUID]
    receivers: Collection[str]
    lease_seconds: float
    worker: uuid.UUID | None
    ordered: bool = False

    @property
    def isolated(self) -> bool:
        """True for a single delivery, which harms no other if it kills its worker."""
        return len(self.ids) == 1


def claim(
    wanted: Claim, *, deliveries: QuerySet[Any], events: QuerySet[Any]
) -> list[Claimed]:
    """Claim those of the wanted deliveries that are pending and due.

    Committed before this returns. The querysets are plain ones of the two tables; a
    delivery that is to run isolated is claimed as the only one or not at all. What is
    ordered is returned in that order.
    """
    lease = secrets.randbits(63) or 1
    if connections[deliveries.db].vendor == "postgresql":
        rows = _claim_on_postgresql(wanted, lease, deliveries.db)
    else:
        rows = _claim_portably(wanted, lease, deliveries, events)
    rows = _with_new_events(list(rows), events)
    won = [_claimed(row, lease, deliveries.db) for row in rows]
    order = {pk: place for place, pk in enumerate(wanted.ids)}
    return sorted(won, key=lambda claimed: (claimed.position, order[claimed.id]))


def _claim_on_postgresql(
    wanted: Claim, lease: int, database: str
) -> Iterable[Sequence[Any]]:
    ids = array_of_ids(str(pk) for pk in wanted.ids)
    with connections[database].cursor() as cursor:
        cursor.execute(
            CLAIM_ORDERED if wanted.ordered else CLAIM,
            (
                *((ids, ids, ids) if wanted.ordered else (ids,)),
                array(wanted.receivers),
                wanted.isolated,
                lease,
                wanted.worker and str(wanted.worker),
                wanted.lease_seconds,
                wanted.isolated,
            ),
        )
        rows: list[Sequence[Any]] = cursor.fetchall()
        return rows


def _claim_portably(
    wanted: Claim, lease: int, deliveries: QuerySet[Any], events: QuerySet[Any]
) -> Iterable[Sequence[Any]]:
    due = Q(state=State.PENDING, available_at__lte=DatabaseNow())
    rows = deliveries.filter(due, pk__in=wanted.ids, receiver__in=wanted.receivers)
    if not wanted.isolated:
        rows = rows.filter(isolated=False)
    with transaction.atomic(using=deliveries.db):
        won = list(skip_locked(rows).annotate(claimed_at=DatabaseNow()))
        places: dict[uuid.UUID, turns.Place] = {}
        if wanted.ordered:
            places = turns.startable([each.pk for each in won], deliveries.db)
            won = [each for each in won if each.pk in places]
        deliveries.filter(pk__in=[delivery.pk for delivery in won]).update(
            state=State.RUNNING,
            attempts=F("attempts") + 1,
            lease=lease,
            claimed_by=wanted.worker,
            next_check_at=from_now(wanted.lease_seconds),
            publish_count=0,
            isolated=wanted.isolated,
            orphaned=False,
            parked="",
        )
    if not won:
        _refuse_read_only(deliveries)
    by_id = events.in_bulk([delivery.event_id for delivery in won])
    return [
        (
            *_row(delivery, by_id.get(delivery.event_id)),
            *places.get(delivery.pk, turns.NOWHERE),
        )
        for delivery in won
    ]


def _refuse_read_only(deliveries: QuerySet[Any]) -> None:
    """Raise the server's error if it only reads: nothing is due on a former primary.

    PostgreSQL refuses the claim itself; MySQL lets a standby lock rows, of which it
    finds none.
    """
    connection = connections[deliveries.db]
    if connection.vendor == "mysql":
        table = connection.ops.quote_name(deliveries.model._meta.db_table)
        with connection.cursor() as cursor:
            cursor.execute(f"UPDATE {table} SET lease = lease WHERE 1 = 0")


def _row(delivery: Any, event: Any) -> Sequence[Any]:
    now = delivery.claimed_at
    waited = (now - delivery.available_at).total_seconds()
    head = (delivery.pk, delivery.event_id, delivery.receiver, delivery.run)
    row = (*head, delivery.attempts + 1, waited)
    if event is None:
        return (*row, None, None, None, None, None, None)
    return (*row, *_body(event, now))


def _body(event: Any, now: datetime) -> Sequence[Any]:
    age = (now - event.sent_at).total_seconds()
    body = (event.signal, event.payload, event.headers, event.cause_id, event.sent_at)
    return (*body, age)


def _with_new_events(
    rows: Sequence[Sequence[Any]], events: QuerySet[Any]
) -> Sequence[Sequence[Any]]:
    """Look again for events that are not there.

    PostgreSQL locks the newest row of a delivery, but finds its event as of the start
    of the statement. A sender may have merged a newer event into it in between.
    """
    missing = [row[1] for row in rows if row[6] is None]
    if not missing:
        return rows
    found = events.annotate(now=DatabaseNow()).in_bulk(missing)
    return [_with_event(row, found.get(row[1])) for row in rows]


def _with_event(row: Sequence[Any], event: Any) -> Sequence[Any]:
    return row if event is None else (*row[:6], *_body(event, event.now), *row[12:])


def _claimed(row: Sequence[Any], lease: int, database: str) -> Claimed:
    if row[6] is None:
        row = (*row[:6], "", "", "", None, timezone.now(), 0.0, *row[12:])
    return Claimed(lease, database, *row)
