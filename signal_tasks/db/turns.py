"""Turns: which deliveries of a sequence may run, and which ones are next.

A turn is never put between others, so one that a statement does not see, because its
transaction has not committed, comes after all those that it does see.

Each of these looks at the index of sequence and position, at one place for each delivery
or sequence: how many wait behind them does not matter.

# Note [Turns not seen]
Under REPEATABLE READ and SERIALIZABLE a transaction does not see a turn that was added since
it began, behind the one that it gives up, though that delivery may be moved away already.
So it looks again after its commit, and until then says that a delivery may come next.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from django.db import connections, transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Greatest, Least

from signal_tasks.db.clock import from_now
from signal_tasks.db.sql import array_of_ids, skip_locked, stored_id
from signal_tasks.states import State

#: Sequences that one statement looks at, where each needs a part of its own.
BATCH = 100

#: Of turns that could start: how many of their sequence come before each and could not.
GAPS = """
SELECT delivery_id, sequence_id, position, SUM(gap) OVER (
    PARTITION BY sequence_id ORDER BY position
) AS gaps FROM (
    SELECT delivery_id, sequence_id, position, CASE WHEN EXISTS (
        SELECT 1 FROM signal_tasks_turn AS other
        WHERE other.sequence_id = wanted.sequence_id
            AND other.position > wanted.previous AND other.position < wanted.position
    ) THEN 1 ELSE 0 END AS gap FROM ({wanted}) AS wanted
) AS seen
"""
WANTED = """
SELECT delivery_id, sequence_id, position,
    COALESCE(LAG(position) OVER (PARTITION BY sequence_id ORDER BY position), 0)
        AS previous
FROM signal_tasks_turn WHERE delivery_id IN ({ids})
"""
NEXT = """
SELECT turn.delivery_id, COALESCE(delivery.isolated, FALSE), turn.sequence_id, turn.position FROM (
    SELECT delivery_id, sequence_id, position FROM signal_tasks_turn
    WHERE sequence_id = %s AND position > %s ORDER BY position LIMIT %s
) AS turn LEFT JOIN signal_tasks_delivery AS delivery ON delivery.id = turn.delivery_id
"""
NEXT_ON_POSTGRESQL = """
SELECT turn.delivery_id, COALESCE(delivery.isolated, FALSE), turn.sequence_id, turn.position
FROM unnest(%s::bigint[], %s::bigint[]) AS given(sequence_id, position)
CROSS JOIN LATERAL (
    SELECT delivery_id, sequence_id, position FROM signal_tasks_turn AS turn
    WHERE turn.sequence_id = given.sequence_id AND turn.position > given.position
    ORDER BY position LIMIT %s
) AS turn LEFT JOIN signal_tasks_delivery AS delivery ON delivery.id = turn.delivery_id
"""
#: The first turn of each, if it has one, and whether this may be out of date.
HEADS_ON_POSTGRESQL = """
SELECT given.sequence_id, turn.delivery_id,
    current_setting('transaction_isolation') <> 'read committed'
FROM unnest(%s::bigint[], %s::bigint[]) AS given(sequence_id, position)
LEFT JOIN LATERAL (
    SELECT delivery_id FROM signal_tasks_turn AS turn
    WHERE turn.sequence_id = given.sequence_id AND turn.position > given.position
    ORDER BY position LIMIT 1
) AS turn ON TRUE
"""
WAKE_ON_POSTGRESQL = """
WITH pending AS MATERIALIZED (
    SELECT id FROM signal_tasks_delivery
    WHERE id = ANY(%s::uuid[]) AND state = 'pending' FOR UPDATE SKIP LOCKED
)
UPDATE signal_tasks_delivery AS delivery
SET next_check_at = LEAST(delivery.next_check_at, GREATEST(delivery.available_at,
    STATEMENT_TIMESTAMP() + %s * INTERVAL '1 second')), publish_count = 1
FROM pending WHERE delivery.id = pending.id
"""

#: Sequences, each with a position; what comes behind that is meant.
Positions = Mapping[int, int]


class Place(NamedTuple):
    """The sequence and position of a delivery; zeros if it has no turn."""

    sequence: int = 0
    position: int = 0


NOWHERE = Place()


class Heads(NamedTuple):
    """The next delivery of each sequence that has one.

    They ``are_old`` if one may have come since this transaction began: Note [Turns not seen].
    """

    ids: Mapping[int, uuid.UUID]
    are_old: bool


def startable(ids: Collection[uuid.UUID], database: str) -> dict[uuid.UUID, Place]:
    """Return those of the deliveries, which could all start now, whose turn it is.

    A delivery without a turn has given it up, and is not kept from starting.
    """
    places = dict.fromkeys(ids, NOWHERE)
    if not places:
        return places
    sql = GAPS.format(wanted=WANTED.format(ids=_marks(places)))
    for pk, sequence, position, gaps in _rows(sql, _stored(places, database), database):
        if gaps:
            del places[pk]
        else:
            places[pk] = Place(sequence, position)
    return places


class Next(NamedTuple):
    """A delivery whose turn comes next in its sequence."""

    id: uuid.UUID
    isolated: bool
    sequence: int = 0


def following(after: Positions, database: str, *, each: int = 1) -> list[Next]:
    """Return the first deliveries of each sequence, ``each`` at most, in their order.

    Those after a position before which nothing waits any more: a look at the beginning
    of a sequence passes over all turns that were lately deleted there.
    """
    rows = sorted(_following(after, each, database), key=itemgetter(2, 3))
    return [Next(pk, bool(isolated), sequence) for pk, isolated, sequence, _ in rows]


def _following(after: Positions, each: int, database: str) -> Iterator[tuple[Any, ...]]:
    if after and connections[database].vendor == "postgresql":
        params = [*_arrays(after), each]
        yield from _rows(NEXT_ON_POSTGRESQL, params, database)
        return
    pairs = sorted(after.items())
    for start in range(0, len(pairs), BATCH):
        some = pairs[start : start + BATCH]
        parts = [f"SELECT * FROM ({NEXT}) AS part"] * len(some)
        params = [value for pair in some for value in (*pair, each)]
        yield from _rows(" UNION ALL ".join(parts), params, database)


def _arrays(positions: Positions) -> list[str]:
    """Return sequences and their positions as two arrays of PostgreSQL."""
    return [array_of_ids(map(str, each)) for each in (positions, positions.values())]


def give_up(
    ids: Collection[uuid.UUID], deliveries: QuerySet[Any], *, after: float = 0.0
) -> None:
    """Delete the turns of these deliveries; relays look at the next ones soon.

    In the transaction that is open. ``deliveries`` is a plain queryset of the table.
    Look again after the commit: if somebody else gives up the next turn at the same
    time, neither sees what the other has deleted, and who commits last finds what is
    behind both.
    """
    positions = dict.fromkeys(_delete(ids, deliveries.db), 0) if ids else {}
    if positions:
        heads = _heads(positions, deliveries.db)
        _make_due(heads, deliveries, after)
        _wake_after_commit(positions, deliveries, after)


def wake(
    positions: Positions,
    deliveries: QuerySet[Any],
    *,
    after: float = 0.0,
    heads: Heads | None = None,
) -> Collection[int]:
    """Have relays look at the next delivery of each sequence in ``after`` seconds.

    One that is locked is left out: whoever holds that lock wakes the sequence too.
    ``heads`` were read in this transaction, after the turns were given up. Return the
    sequences in which a delivery comes next, or may do so: Note [Turns not seen].
    """
    if not positions:
        return []
    if heads is None:
        heads = _heads(positions, deliveries.db)
    _make_due(heads, deliveries, after)
    if not (heads.are_old and connections[deliveries.db].in_atomic_block):
        return heads.ids.keys()
    _wake_after_commit(positions, deliveries, after)
    return positions.keys()


def _wake_after_commit(
    positions: Positions, deliveries: QuerySet[Any], after: float
) -> None:
    transaction.on_commit(
        lambda: wake(positions, deliveries, after=after), deliveries.db, robust=True
    )


def _make_due(heads: Heads, deliveries: QuerySet[Any], after: float) -> None:
    ids = list(heads.ids.values())
    if not ids:
        return
    if connections[deliveries.db].vendor == "postgresql":
        with connections[deliveries.db].cursor() as cursor:
            cursor.execute(WAKE_ON_POSTGRESQL, [array_of_ids(map(str, ids)), after])
        return
    soon = Greatest(F("available_at"), from_now(after))
    with transaction.atomic(using=deliveries.db, savepoint=False):
        rows = deliveries.filter(pk__in=ids, state=State.PENDING)
        locked = list(skip_locked(rows).values_list("pk", flat=True))
        if locked:
            deliveries.filter(pk__in=locked, state=State.PENDING).update(
                next_check_at=Least(F("next_check_at"), soon), publish_count=1
            )


def _heads(positions: Positions, database: str) -> Heads:
    connection: Any = connections[database]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(*look_on_postgresql(positions))
            return heads_of(cursor)
    are_old = (
        connection.vendor == "mysql" and connection.isolation_level != "read committed"
    )
    found = following(positions, database)
    return Heads({each.sequence: each.id for each in found}, are_old)


def look_on_postgresql(positions: Positions) -> tuple[str, list[str]]:
    """Return the statement that ``heads_of`` reads, with its parameters."""
    return HEADS_ON_POSTGRESQL, _arrays(positions)


def heads_of(cursor: Any) -> Heads:
    """Return the result of the statement that ``look_on_postgresql`` is."""
    rows = cursor.fetchall()
    found = {sequence: pk for sequence, pk, _ in rows if pk is not None}
    return Heads(found, any(is_old for *_, is_old in rows))


def _delete(ids: Collection[uuid.UUID], database: str) -> list[int]:
    """Delete turns; return their sequences."""
    marks, params = _marks(ids), _stored(ids, database)
    doomed = f"FROM signal_tasks_turn WHERE delivery_id IN ({marks})"
    connection = connections[database]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(f"DELETE {doomed} RETURNING sequence_id", params)
            return sorted({sequence for (sequence,) in cursor.fetchall()})
        cursor.execute(f"SELECT DISTINCT sequence_id {doomed}", params)
        sequences = sorted(sequence for (sequence,) in cursor.fetchall())
        if sequences:
            cursor.execute(f"DELETE {doomed}", params)
        return sequences


def _marks(ids: Collection[uuid.UUID]) -> str:
    return ", ".join(["%s"] * len(ids))


def _stored(ids: Iterable[uuid.UUID], database: str) -> list[str]:
    native = connections[database].features.has_native_uuid_field
    return [stored_id(pk, native=native) for pk in ids]


def _rows(sql: str, params: Sequence[Any], database: str) -> list[tuple[Any, ...]]:
    """Return rows that begin with an id, as a UUID on every database."""
    with connections[database].cursor() as cursor:
        cursor.execute(sql, params)
        rows = cursor.fetchall()
    return [
        (pk if isinstance(pk, uuid.UUID) else uuid.UUID(pk), *rest)
        for pk, *rest in rows
    ]
