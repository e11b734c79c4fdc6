"""Replay and discard: collect the deliveries of an operation, then change them."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db import Error, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from signal_tasks.db.errors import is_retryable
from signal_tasks.error_text import line_of
from signal_tasks.models import Delivery, Event, Operation, OperationItem
from signal_tasks.querysets import DISCARDABLE, REPLAYABLE
from signal_tasks.selection import Selection
from signal_tasks.settling import settle_of, unsettle
from signal_tasks.states import State

#: Deliveries that are collected in one transaction: many, since each looks through the
#: finished ones anew.
BATCH = 5000
#: The states that each verb starts from, and the one that it leads to.
EDGES = {
    Operation.Kind.REPLAY: (REPLAYABLE, State.PENDING),
    Operation.Kind.DISCARD: (DISCARDABLE, State.DISCARDED),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The result of a batch: counts, where to go on, and one of the errors."""

    changed: int = 0
    failed: int = 0
    skipped: int = 0
    key: str = ""
    is_last: bool
    error: str = ""


def selection_of(operation: Operation) -> Selection:
    """Return the selection as it was meant when the operation was opened."""
    selection = Selection.from_json(operation.stored_selection)
    return selection.fixed(operation.cutoff_at)


def collect(
    operation: Operation, selection: Selection, key: str, database: str
) -> Batch:
    """Write items for deliveries that match and are no other open operation's.

    ``key`` is where the last batch has ended; the transaction is the caller's.
    """
    found, key, is_last = _matching(operation, selection, key, database)
    taken = _take(operation, found, database)
    skipped = len(found) - taken
    return Batch(changed=taken, skipped=skipped, key=key, is_last=is_last)


def _matching(
    operation: Operation, selection: Selection, key: str, database: str
) -> tuple[Sequence[uuid.UUID], str, bool]:
    """Return the next deliveries, where they end, and whether these are the last."""
    if selection.ids:
        start = int(key or 0)
        some = tuple(selection.ids)[start : start + BATCH]
        end = start + len(some)
        rows = _rows(operation, replace(selection, ids=some), database)
        found = list(rows.order_by("pk").values_list("pk", flat=True))
        return found, str(end), end >= len(selection.ids)
    rows = _rows(operation, selection, database)
    if key:
        rows = rows.filter(pk__gt=uuid.UUID(key))
    found = list(rows.order_by("pk").values_list("pk", flat=True)[:BATCH])
    return found, str(found[-1]) if found else key, len(found) < BATCH


def _rows(
    operation: Operation, selection: Selection, database: str
) -> QuerySet[Delivery]:
    is_replay = operation.kind == Operation.Kind.REPLAY
    choose = selection.replayable if is_replay else selection.discardable
    return choose(database).filter(_in_time(operation, database))


def _in_time(operation: Operation, database: str) -> Q:
    """Return the condition that a delivery had finished, or was sent, by the cut-off."""
    cutoff = operation.cutoff_at
    finished = Q(finished_at__lte=cutoff)
    if operation.kind == Operation.Kind.REPLAY:
        return finished
    events = Event.objects.using(database)
    sent = events.filter(pk=OuterRef("event_id"), sent_at__lte=cutoff)
    return finished | Q(Exists(sent), finished_at__isnull=True)


def _take(operation: Operation, ids: Collection[uuid.UUID], database: str) -> int:
    """Make items of this operation for those that no other open one has.

    Items of former operations are taken over. Return the number of items.
    """
    items = OperationItem.objects.using(database)
    locked = items.filter(delivery_id__in=ids).order_by("pk").select_for_update()
    known = dict(locked.values_list("delivery_id", "operation_id"))
    operations = Operation.objects.using(database)
    still = operations.filter(pk__in=set(known.values()), finished_at__isnull=True)
    busy = set(still.values_list("pk", flat=True))
    free = [pk for pk, holder in known.items() if holder not in busy]
    items.filter(pk__in=free).update(
        operation_id=operation.pk, state=OperationItem.State.SELECTED, step=0
    )
    new = [
        OperationItem(delivery_id=pk, operation_id=operation.pk)
        for pk in ids
        if pk not in known
    ]
    items.bulk_create(new, ignore_conflicts=True)  # of one that collects meanwhile
    return items.filter(pk__in=ids, operation_id=operation.pk).count()


def work(operation: Operation, limit: int, key: str, database: str) -> Batch:
    """Change up to ``limit`` deliveries whose items are next.

    Those in another state by now are skipped. ``key`` is not used: worked items are
    no longer ``selected``.
    """
    items = OperationItem.objects.using(database).filter(operation_id=operation.pk)
    selected = items.filter(state=OperationItem.State.SELECTED).order_by("delivery_id")
    ids = list(selected.values_list("delivery_id", flat=True)[: limit + 1])
    is_last, ids = len(ids) <= limit, ids[:limit]
    standing = _lock(operation, ids, database)
    changed, errors = change(operation, standing, database)
    groups = {
        OperationItem.State.CHANGED: changed,
        OperationItem.State.FAILED: list(errors),
        OperationItem.State.SKIPPED: list({*ids} - {*changed} - {*errors}),
    }
    for state, some in groups.items():
        if some:
            items.filter(pk__in=some).update(state=state, step=operation.step)
    return Batch(
        changed=len(changed),
        failed=len(errors),
        skipped=len(groups[OperationItem.State.SKIPPED]),
        is_last=is_last,
        error=next(iter(errors.values()), ""),
    )


def _lock(
    operation: Operation, ids: Sequence[uuid.UUID], database: str
) -> list[uuid.UUID]:
    """Lock those that are still in the right state since before the cut-off."""
    rows: Any = Delivery.objects.using(database).filter(pk__in=ids)
    states, _ = EDGES[Operation.Kind(operation.kind)]
    still = rows.filter(_in_time(operation, database), state__in=states)
    return list(still.order_by("pk").select_for_update().values_list("pk", flat=True))


def change(
    operation: Operation, ids: Sequence[uuid.UUID], database: str
) -> tuple[list[uuid.UUID], dict[uuid.UUID, str]]:
    """Replay or discard locked deliveries; return which, and errors of the others.

    When a row makes the statement fail, each is changed by itself.
    """
    if not ids:
        return [], {}
    try:
        return _change(operation, ids, database), {}
    except Error as error:
        if is_retryable(error):
            raise
    changed: list[uuid.UUID] = []
    errors: dict[uuid.UUID, str] = {}
    for pk in ids:
        try:
            changed += _change(operation, [pk], database)
        except Error as error:
            if is_retryable(error):
                raise
            errors[pk] = f"{pk}: {line_of(error)}"
    return changed, errors


def _change(
    operation: Operation, ids: Sequence[uuid.UUID], database: str
) -> list[uuid.UUID]:
    rows = Delivery.objects.using(database).filter(pk__in=ids)
    is_replay = operation.kind == Operation.Kind.REPLAY
    with transaction.atomic(using=database):
        count = rows.replay() if is_replay else rows.discard()
        changed = list(ids)
        if count != len(ids):
            _, state = EDGES[Operation.Kind(operation.kind)]
            changed = list(rows.filter(state=state).values_list("pk", flat=True))
        _settle_again(changed, database, is_replay=is_replay)
    return changed


def _settle_again(
    ids: Collection[uuid.UUID], database: str, *, is_replay: bool
) -> None:
    """Have events settle again after a replay, or with what was discarded last."""
    if is_replay:
        unsettle(ids, database=database)
        return

    def settle() -> None:  # a partial has no name, which Django wants for its log
        settle_of(ids, database=database)

    transaction.on_commit(settle, using=database, robust=True)
