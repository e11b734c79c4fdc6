"""Keys of ordered receivers: what blocks them, what waits there, and the way out.

An ordered receiver keeps an order-preserving dead letter: what comes behind it in its
sequence waits until it is replayed, discarded or skipped.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import (
    Count,
    Exists,
    F,
    Max,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Window,
)
from django.db.models.functions import RowNumber

from signal_tasks.db.aliases import alias_for, outbox_aliases
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
    *, receiver: str | None = None, limit: int = 100, database: str | None = None
) -> list[BlockedKey]:
    """Return keys whose first delivery is dead, or is not due; dead ones first.

    Of every outbox, up to ``limit`` in all; a delivery that nothing waits behind is
    shown only if it is dead.

    Args:
        receiver: only those of this receiver.
        limit: the most keys that are returned.
        database: only those of this outbox; ask so while another one is down.

    Raises:
        ImproperlyConfigured: the database holds no outbox.
    """
    found: list[BlockedKey] = []
    for alias in [alias_for(database, None)] if database else outbox_aliases():
        if len(found) < limit:
            found += _blocked(alias, receiver, limit - len(found))
    return found


def blockades(database: str, *, names: int) -> list[Blockade]:
    """Return the blockades of one outbox, each with so many names of keys.

    One statement if nothing is blocked.
    """
    alike: dict[str, Any] = {"partition_by": F("receiver")}
    rows = _stopping(database, Q(state=State.DEAD), _with_more(database)).annotate(
        number=Window(Count("pk"), **alike),
        latest=Window(Max("finished_at"), **alike),
        place=Window(RowNumber(), order_by=("finished_at", "pk"), **alike),
    )
    found = list(rows.filter(place__lte=names).order_by("receiver", "place"))
    return list(_blockades(found, database)) if found else []


def _blockades(found: Sequence[Any], database: str) -> Iterator[Blockade]:
    keys = Counter.objects.using(database).in_bulk([each.sequence_id for each in found])
    firsts = [each for each in found if each.place == 1]
    for row, first in zip(firsts, _described(firsts, database), strict=True):
        alike = [each.sequence_id for each in found if each.receiver == row.receiver]
        yield Blockade(
            number=row.number,
            names=[keys[each].key for each in alike if each in keys],
            first=first,
            latest=row.latest,
        )


def _blocked(database: str, receiver: str | None, limit: int) -> list[BlockedKey]:
    found: list[Any] = []
    for stops, turns in (
        (Q(state=State.DEAD), _first_turns(database)),
        (_is_late(), _with_more(database)),
    ):
        rows = _stopping(database, stops, turns)
        if receiver is not None:
            rows = rows.filter(receiver=receiver)
        # No index has this order: by one that has, PostgreSQL would look for the few
        # first ones among all deliveries.
        found += rows.order_by("sequence_id")[: max(limit - len(found), 0)]
    return list(_described(found, database))


def _first_turns(database: str) -> QuerySet[Turn]:
    return Turn.objects.using(database).filter(~Exists(_others(database, "lt")))


def _with_more(database: str) -> QuerySet[Turn]:
    """Return the first turns that others come behind."""
    return _first_turns(database).filter(Exists(_others(database, "gt")))


def _others(database: str, side: str) -> QuerySet[Turn]:
    """Return the turns of the same sequence that come before ("lt"), or after ("gt")."""
    position = {f"position__{side}": OuterRef("position")}
    return Turn.objects.using(database).filter(
        sequence_id=OuterRef("sequence_id"), **position
    )


def _stopping(database: str, stops: Q, turns: QuerySet[Turn]) -> Any:
    """Return deliveries that stop others and have one of these turns, with its place."""
    own = Turn.objects.using(database).filter(pk=OuterRef("pk"))
    rows = Delivery.objects.using(database).filter(
        stops, Exists(turns.filter(pk=OuterRef("pk")))
    )
    return rows.annotate(
        sequence_id=Subquery(own.values("sequence_id")),
        position=Subquery(own.values("position")),
    )


def _is_late() -> Q:
    """Return the condition of pending deliveries that keep those behind them waiting."""
    late = Q(available_at__gt=DatabaseNow()) | Q(attempts__gt=0) | Q(orphaned=True)
    return Q(late | ~Q(parked=""), state=State.PENDING, next_check_at__isnull=False)


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
