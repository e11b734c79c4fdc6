"""Keys of ordered receivers: what blocks them, what waits there, and the way out.

An ordered receiver keeps an order-preserving dead letter: what comes behind it in its
sequence waits until it is replayed, discarded or skipped.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Exists, OuterRef, Q, Subquery

from signal_tasks.db.aliases import outbox_aliases
from signal_tasks.db.clock import DatabaseNow
from signal_tasks.db.turns import following
from signal_tasks.models import Attempt, Delivery, Turn
from signal_tasks.models import Sequence as Counter
from signal_tasks.states import State

#: Waiting deliveries are counted up to here.
MAX_WAITING = 10_000


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


def blocked_keys(*, receiver: str | None = None, limit: int = 100) -> list[BlockedKey]:
    """Return keys whose first delivery is dead, or is not due; dead ones first.

    Of every outbox, up to ``limit`` in all; a delivery that nothing waits behind is
    shown only if it is dead.

    Args:
        receiver: only those of this receiver.
        limit: the most keys that are returned.
    """
    found: list[BlockedKey] = []
    for database in outbox_aliases():
        if len(found) < limit:
            found += _blocked(database, receiver, limit - len(found))
    return found


def _blocked(database: str, receiver: str | None, limit: int) -> Iterator[BlockedKey]:
    own = Turn.objects.using(database).filter(pk=OuterRef("pk"))
    places = {
        "sequence_id": Subquery(own.values("sequence_id")),
        "position": Subquery(own.values("position")),
    }
    rows = Delivery.objects.using(database).filter(_stops(), Exists(own))
    if receiver is not None:
        rows = rows.filter(receiver=receiver)
    found: Any = rows.annotate(**places).order_by("state", "pk")  # "dead" comes first
    yielded = 0
    for delivery in found.iterator():
        if yielded >= limit:
            return
        if _first(delivery.sequence_id, database) != delivery.pk:
            continue
        waiting = _waiting(delivery, database)
        if waiting or delivery.state == State.DEAD:
            yielded += 1
            yield _blocked_key(delivery, waiting, database)


def _stops() -> Q:
    """Return the condition of deliveries that keep those behind them waiting."""
    late = Q(available_at__gt=DatabaseNow()) | Q(attempts__gt=0) | Q(orphaned=True)
    pending = Q(late | ~Q(parked=""), state=State.PENDING)
    return Q(state=State.DEAD) | Q(pending, next_check_at__isnull=False)


def _first(sequence: int, database: str) -> uuid.UUID | None:
    return next((each.id for each in following({sequence: 0}, database)), None)


def _waiting(delivery: Any, database: str) -> int:
    turns = Turn.objects.using(database).filter(
        sequence_id=delivery.sequence_id, position__gt=delivery.position
    )
    return len(turns.values_list("pk")[:MAX_WAITING])


def _blocked_key(delivery: Any, waiting: int, database: str) -> BlockedKey:
    last = Attempt.objects.using(database).filter(delivery=delivery).last()
    sequence = Counter.objects.using(database).filter(pk=delivery.sequence_id).first()
    return BlockedKey(
        receiver=delivery.receiver,
        key="" if sequence is None else sequence.key,
        database=database,
        delivery_id=delivery.pk,
        event_id=delivery.event_id,
        state=delivery.state,
        reason=delivery.reason,
        error="" if last is None else f"{last.error_type}: {last.error}",
        waiting=waiting,
        since=_since(delivery, last),
    )


def _since(delivery: Any, last: Attempt | None) -> datetime:
    since: datetime = delivery.available_at if last is None else last.failed_at
    return delivery.finished_at or since


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
