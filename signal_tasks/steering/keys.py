"""Keys of ordered receivers: what blocks them, what waits there, and the way out.

An ordered receiver keeps an order-preserving dead letter: what comes behind it in its
sequence waits until it is replayed, discarded or skipped.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import OuterRef, Subquery

from signal_tasks.db.aliases import alias_for, outbox_aliases
from signal_tasks.db.sql import from_now_sql
from signal_tasks.db.turns import following
from signal_tasks.models import Attempt, Delivery, Turn
from signal_tasks.models import Sequence as Counter

#: Waiting deliveries are counted up to here.
MAX_WAITING = 10_000

#: Deliveries that are the first ones of their sequences. By the CASE and its first
#: condition, all databases look at the sequences of these deliveries, and at no others.
STOPPING = """
SELECT delivery.*, turn.sequence_id, turn.position
FROM signal_tasks_delivery AS delivery
JOIN signal_tasks_turn AS turn ON turn.delivery_id = delivery.id
WHERE {stops} AND CASE WHEN delivery.id <> turn.delivery_id THEN 0
    WHEN EXISTS (
        SELECT 1 FROM signal_tasks_turn AS other
        WHERE other.sequence_id = turn.sequence_id AND other.position < turn.position
    ) THEN 0
    WHEN {is_enough} THEN 1 ELSE 0 END = 1
"""
HAS_MORE = """EXISTS (
    SELECT 1 FROM signal_tasks_turn AS other
    WHERE other.sequence_id = turn.sequence_id AND other.position > turn.position
)"""
DEAD = "delivery.state = 'dead'"
#: Pending, and such that those behind it wait for more than a worker.
LATE = """delivery.state = 'pending' AND delivery.next_check_at IS NOT NULL
    AND (delivery.available_at > {now} OR delivery.attempts > 0 OR delivery.orphaned
        OR delivery.parked <> '')"""
#: No index has this order: by one that has, PostgreSQL would look for the few first ones
#: among all turns.
FIRST = "{stopping} {of_receiver} ORDER BY turn.sequence_id + 0 LIMIT {limit}"
#: Of each receiver those that died first, and the one that died last.
NUMBERED = """
SELECT * FROM (
    SELECT stopping.*, COUNT(*) OVER (PARTITION BY receiver) AS number,
        ROW_NUMBER() OVER (PARTITION BY receiver ORDER BY finished_at, id) AS place
    FROM ({stopping}) AS stopping
) AS numbered
WHERE place <= {names} OR place = number
ORDER BY receiver, place
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockedKey:
    """A key of a receiver in which nothing runs, because of one delivery.

    Attributes:
        receiver: its name.
        key: as it is stored; see ``using(key=...)``.
        database: alias of the database.
        delivery_id: the delivery that blocks, of ``event_id``.
        state: of that delivery: ``dead``, or ``pending`` if it waits for a retry, is
            delayed, orphaned or parked.
        reason: why it is dead.
        error: its last error.
        waiting: how many deliveries wait behind it, at most 10,000.
        since: since when it is in that state, as far as that is known.
    """

    receiver: str
    key: str
    database: str
    delivery_id: uuid.UUID
    event_id: uuid.UUID
    state: str
    reason: str
    error: str
    waiting: int
    since: datetime

    def __str__(self) -> str:
        why = f"{self.state} {self.reason}".rstrip()
        number = "10,000 or more" if self.waiting >= MAX_WAITING else str(self.waiting)
        return f"{self.receiver} {self.key}: {number} behind {self.delivery_id} ({why})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blockade:
    """The keys of a receiver in which deliveries wait behind a dead letter.

    Attributes:
        number: how many keys.
        names: some of them, those that were blocked first.
        first: the first of those.
        latest: when the last one of the dead letters died.
    """

    number: int
    names: Sequence[str]
    first: BlockedKey
    latest: datetime


def blocked_keys(
    *,
    receiver: str | Collection[str] | None = None,
    limit: int = 100,
    database: str | None = None,
) -> list[BlockedKey]:
    """Return keys whose first delivery is dead, or delayed; dead ones first.

    Those after the dead ones are delayed, retried, parked or orphans, which ``skip()``
    refuses. Of every outbox, up to ``limit`` in all; a delivery that nothing waits
    behind is shown only if it is dead.

    Args:
        receiver: only those of this receiver, or of these.
        limit: the most keys that are returned.
        database: only those of this outbox; ask so while another one is down.

    Raises:
        ImproperlyConfigured: the database holds no outbox.
    """
    names = [receiver] if isinstance(receiver, str) else receiver
    found: list[BlockedKey] = []
    if names is not None and not names:
        return found
    for alias in [alias_for(database, None)] if database else outbox_aliases():
        if len(found) < limit:
            found += _blocked(alias, names, limit - len(found))
    return found


def blockades(database: str, *, names: int) -> list[Blockade]:
    """Return the blockades of one outbox, each with so many names of keys.

    One statement if nothing is blocked.
    """
    stopping = STOPPING.format(stops=DEAD, is_enough=HAS_MORE)
    sql = NUMBERED.format(stopping=stopping, names=names)
    alike: dict[str, list[Any]] = {}
    for each in Delivery.objects.using(database).raw(sql):
        alike.setdefault(each.receiver, []).append(each)
    return list(_blockades(list(alike.values()), database, names)) if alike else []


def _blockades(
    alike: Sequence[Sequence[Any]], database: str, names: int
) -> Iterator[Blockade]:
    ids = [each.sequence_id for rows in alike for each in rows]
    keys = Counter.objects.using(database).in_bulk(ids)
    firsts = _described([rows[0] for rows in alike], database)
    for rows, first in zip(alike, firsts, strict=True):
        named = [each.sequence_id for each in rows[:names]]
        yield Blockade(
            number=rows[0].number,
            names=[keys[each].key for each in named if each in keys],
            first=first,
            latest=rows[-1].finished_at,
        )


def is_blocked(database: str, receiver: str) -> bool:
    """Return True if deliveries of a receiver wait behind a dead letter; one statement."""
    stopping = STOPPING.format(stops=DEAD, is_enough=HAS_MORE)
    of_receiver = "AND delivery.receiver = %s"
    sql = FIRST.format(stopping=stopping, of_receiver=of_receiver, limit=1)
    return bool(list(Delivery.objects.using(database).raw(sql, [receiver])))


def _blocked(
    database: str, receivers: Collection[str] | None, limit: int
) -> list[BlockedKey]:
    now, _ = from_now_sql(0.0, database)
    params = list(receivers or ())
    marks = ", ".join(["%s"] * len(params))
    of_receiver = f"AND delivery.receiver IN ({marks})" if params else ""
    found: list[Any] = []
    for stops, is_enough in ((DEAD, "1 = 1"), (LATE.format(now=now), HAS_MORE)):
        sql = FIRST.format(
            stopping=STOPPING.format(stops=stops, is_enough=is_enough),
            of_receiver=of_receiver,
            limit=limit - len(found),
        )
        if len(found) < limit:
            found += Delivery.objects.using(database).raw(sql, params)
    return list(_described(found, database))


def _first(sequence: int, database: str) -> uuid.UUID | None:
    return next((each.id for each in following({sequence: 0}, database)), None)


def _waiting(delivery: Any, database: str) -> int:
    turns = Turn.objects.using(database).filter(
        sequence_id=delivery.sequence_id, position__gt=delivery.position
    )
    return len(turns.values_list("pk")[:MAX_WAITING])


def _described(found: Sequence[Any], database: str) -> Iterator[BlockedKey]:
    keys = Counter.objects.using(database).in_bulk([each.sequence_id for each in found])
    failures = Attempt.last_of([each.pk for each in found], database=database)
    for each in found:
        last = failures.get(each.pk)
        sequence = keys.get(each.sequence_id)
        yield BlockedKey(
            receiver=each.receiver,
            key="" if sequence is None else sequence.key,
            database=database,
            delivery_id=each.pk,
            event_id=each.event_id,
            state=each.state,
            reason=each.reason,
            error="" if last is None else f"{last.error_type}: {last.error}",
            waiting=_waiting(each, database),
            since=_since(each, last),
        )


def _since(delivery: Any, last: Attempt | None) -> datetime:
    since: datetime = delivery.available_at if last is None else last.failed_at
    return delivery.finished_at or since


def blocked_by(pk: uuid.UUID, database: str) -> BlockedKey | None:
    """Return the key of a dead letter that has kept its turn; None if this is none.

    Four statements.
    """
    turns = Turn.objects.using(database).filter(pk=OuterRef("pk"))
    rows = Delivery.objects.using(database).dead().filter(pk=pk)
    found = rows.annotate(
        sequence_id=Subquery(turns.values("sequence_id")),
        position=Subquery(turns.values("position")),
    ).filter(sequence_id__isnull=False)
    return next(_described(list(found), database), None) if found else None


def place_of(pk: uuid.UUID, database: str) -> Mapping[str, Any]:
    """Return the key of a delivery that has a turn, and what it waits behind, as JSON.

    Empty for one that has none: it is not ordered, or has given its turn up.
    """
    turn = Turn.objects.using(database).filter(pk=pk).first()
    if turn is None:
        return {}
    sequence = Counter.objects.using(database).filter(pk=turn.sequence_id).first()
    place: dict[str, Any] = {
        "key": "" if sequence is None else sequence.key,
        "waits_behind": None,
    }
    first = _first(turn.sequence_id, database)
    if first is not None and first != pk:
        place["waits_behind"] = _shown(first, database)
    return place


def _shown(pk: uuid.UUID, database: str) -> Mapping[str, Any]:
    row = Delivery.objects.using(database).filter(pk=pk).first()
    state = "deleted" if row is None else row.state
    reason = "" if row is None else row.reason
    return {"delivery": str(pk), "state": state, "reason": reason}
