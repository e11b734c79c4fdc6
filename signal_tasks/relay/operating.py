"""Work off operations: collect what each is for, then change it, batch by batch.

# Note [Batches of an operation]
A batch is one transaction, which holds the lock of the operation's row. The changed
deliveries, their items, the counts and the cursor are committed together or not at all,
so a relay that dies leaves nothing half done, and any other one goes on.

In the first phase, ``total`` is null, and items are written for what matches and was
finished by ``cutoff_at``. In the second one, the items are worked off; a backfill has
events in place of items.

# Note [Canary]
A canary goes in steps of 1, 2, 5, 20, 100, 500 deliveries and so on. The next step
begins when at least 95 % of the last one have succeeded, without waiting for the rest;
when more than 5 % have failed, the operation stops. The first outcome counts: a delivery
that has failed once is a failure, whatever comes of its retries. What is pending, paused
or deferred without a failure is waited for. The last step is not waited for: the
operation is done when everything has been changed.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Collection
from datetime import timedelta
from functools import partial
from typing import Any

from django.db import Error, transaction
from django.db.models import BooleanField, ExpressionWrapper, Q

from signal_tasks import signals
from signal_tasks.db.clock import DatabaseNow
from signal_tasks.db.errors import Fault, fault_of
from signal_tasks.db.session import drop
from signal_tasks.db.sql import skip_locked
from signal_tasks.error_text import line_of
from signal_tasks.models import Operation
from signal_tasks.models.operations import Cursor
from signal_tasks.registry.options import per_second
from signal_tasks.registry.registry import registry
from signal_tasks.relay import backfilling, changes
from signal_tasks.relay.canary import Judgement, judge
from signal_tasks.relay.changes import Batch, selection_of
from signal_tasks.states import OperationState

#: How long one pass works at operations, and how often it looks for them (seconds).
PASS_SECONDS = 0.5
LOOK_EVERY = 2.0
#: Deliveries of one transaction.
BATCH = 1000
#: Operations that one pass looks at.
MAX_OPEN = 100
#: After a step of a canary, its outcome is looked at this often (seconds), or less
#: often so that looking takes this share of the time.
JUDGE_EVERY, JUDGE_SHARE = 1.0, 0.1
#: A relay that comes late makes up for this much of a rate (seconds).
CATCH_UP = timedelta(seconds=5)
#: The columns that a batch writes; a selection of ten thousand ids is none of them.
PROGRESS = (
    "state",
    "total",
    "done",
    "failed",
    "skipped",
    "step",
    "note",
    "open_key",
    "cursor",
    "next_step_at",
    "finished_at",
)
#: The size of the next step of a canary; five times as many beyond these.
NEXT_STEP = {0: 1, 1: 2, 2: 5, 5: 20}


def work_off(
    database: str, *, seconds: float = PASS_SECONDS, only: uuid.UUID | None = None
) -> bool:
    """Work at the open operations of an outbox, in turn, for about so many seconds.

    ``only`` names a single one. Return True if there is an open operation, due or not.
    """
    until = time.monotonic() + seconds
    found = _open(database, only)
    due = [pk for pk, is_due in found if is_due]
    while due:
        due = [pk for pk in due if run_batch(pk, database)]
        if time.monotonic() >= until:
            break
    return bool(found)


def _open(database: str, only: uuid.UUID | None) -> Collection[tuple[uuid.UUID, bool]]:
    """Return the open operations, and which of them are due: one look at one index."""
    rows = Operation.objects.using(database).filter(finished_at__isnull=True)
    if only is not None:
        rows = rows.filter(pk=only)
    is_due = ExpressionWrapper(
        Q(next_step_at__lte=DatabaseNow()), output_field=BooleanField()
    )
    ordered = rows.annotate(is_due=is_due).order_by("next_step_at")
    return [
        (pk, bool(due)) for pk, due in ordered.values_list("pk", "is_due")[:MAX_OPEN]
    ]


def run_batch(pk: uuid.UUID, database: str) -> bool:
    """Run one batch of an operation; return True if it goes on at once.

    Nothing happens when another relay is at it. An error that would come again stops
    the operation, and says why.
    """
    try:
        return _run_batch(pk, database)
    # Code of the project may raise anything, and an operation that cannot be run must
    # not keep this relay from all other work.
    except Exception as error:
        if isinstance(error, Error) and fault_of(error) is Fault.TRANSACTION:
            return False  # another transaction was in the way: the next pass
        if isinstance(error, Error) and fault_of(error) is Fault.CONNECTION:
            raise
        if isinstance(error, backfilling.ConnectionSpoilt):
            drop(database)
        with transaction.atomic(using=database):
            operation = _lock(pk, database)
            if operation is not None:
                operation.finish(OperationState.STOPPED, line_of(error))
                save(operation, database)
        return False


def _run_batch(pk: uuid.UUID, database: str) -> bool:
    with transaction.atomic(using=database):
        operation = _lock(pk, database)
        if operation is None or not _is_known(operation):
            return False
        operation.state = OperationState.RUNNING
        if operation.total is None or not operation.rate:
            operation.next_step_at = (
                operation.now
            )  # it moves, and others have their turn
        if operation.total is None:
            goes_on = _collect(operation, database)
        else:
            goes_on = _work(operation, database)
        save(operation, database)
    return goes_on


def save(operation: Operation, database: str) -> None:
    """Write the operation; tell that it has finished once that is committed."""
    operation.save(using=database, update_fields=PROGRESS)
    if operation.finished_at is not None:
        tell_finished(operation, database)


def _lock(pk: uuid.UUID, database: str) -> Any:
    """Lock an operation that is open and due, unless another relay has locked it."""
    now = DatabaseNow()
    rows = Operation.objects.using(database).filter(
        pk=pk, finished_at__isnull=True, next_step_at__lte=now
    )
    return skip_locked(rows.annotate(now=now)).first()


def _is_known(operation: Operation) -> bool:
    """Return False for a backfill that only newer, or other, code can run."""
    if operation.kind != Operation.Kind.BACKFILL:
        return True
    receiver = selection_of(operation).receiver
    return receiver is not None and registry.receiver(receiver) is not None


# -- the phases -------------------------------------------------------------------


def _collect(operation: Operation, database: str) -> bool:
    """Collect one batch; fix the total with the last one."""
    selection = selection_of(operation)
    cursor = Cursor.read(operation.cursor)
    is_backfill = operation.kind == Operation.Kind.BACKFILL
    collect = backfilling.collect if is_backfill else changes.collect
    found = collect(operation, selection, cursor.key, database)
    count = cursor.size + found.changed + found.skipped
    operation.skipped += found.skipped
    operation.cursor = str(Cursor(found.key, count))
    if found.is_last:
        operation.total = count
        operation.cursor = str(Cursor())
        if not found.changed and operation.skipped == count:
            _finish(operation)
    return operation.finished_at is None


def _work(operation: Any, database: str) -> bool:
    """Change one batch, or decide whether a canary takes its next step."""
    cursor = Cursor.read(operation.cursor)
    if operation.canary and cursor.used >= cursor.size:
        if cursor.size and not _may_go_on(operation, cursor, database):
            return False
        size = NEXT_STEP.get(cursor.size, 5 * cursor.size)
        cursor = cursor._replace(size=size, used=0)
        operation.step += 1
    limit = _limit(operation, cursor)
    is_backfill = operation.kind == Operation.Kind.BACKFILL
    work = backfilling.work if is_backfill else changes.work
    batch = work(operation, limit, cursor.key, database)
    _count(operation, batch)
    used = cursor.used + batch.changed
    operation.cursor = str(cursor._replace(key=batch.key, used=used))
    if batch.is_last:
        _finish(operation)
        return False
    return not operation.canary or used < cursor.size


def _limit(operation: Operation, cursor: Cursor) -> int:
    limit = BATCH
    if operation.rate:
        limit = min(limit, math.ceil(per_second(operation.rate)))
    if operation.canary:
        limit = min(limit, cursor.size - cursor.used)
    return limit


def _count(operation: Any, batch: Batch) -> None:
    operation.done += batch.changed
    operation.failed += batch.failed
    operation.skipped += batch.skipped
    operation.note = batch.error or operation.note
    if operation.rate:
        since = max(operation.next_step_at, operation.now - CATCH_UP)
        spread = batch.changed / per_second(operation.rate)
        operation.next_step_at = since + timedelta(seconds=spread)


def _may_go_on(operation: Any, cursor: Cursor, database: str) -> bool:
    """Judge the last step of a canary; wait, or stop the operation, if it may not."""
    started = time.monotonic()
    judgement = judge(operation, database)
    if judgement.may_go_on is None:
        took = time.monotonic() - started
        wait = timedelta(seconds=max(JUDGE_EVERY, took / JUDGE_SHARE))
        operation.next_step_at = operation.now + wait
        return False
    operation.done -= judgement.bad
    operation.failed += judgement.bad
    if not judgement.may_go_on:
        operation.finish(OperationState.STOPPED, _why(operation, cursor, judgement))
    return judgement.may_go_on


def _why(operation: Operation, cursor: Cursor, judgement: Judgement) -> str:
    bad = f"{judgement.bad} of {cursor.used}"
    return f"Step {operation.step}: {bad} deliveries have failed. {judgement.error}"


def _finish(operation: Operation) -> None:
    """Finish it; what was pruned, or taken by another operation, was skipped."""
    total = operation.total or 0
    counted = operation.done + operation.failed + operation.skipped
    operation.skipped += max(0, total - counted)
    operation.total = max(total, counted)
    operation.finish(OperationState.DONE)


def tell_finished(operation: Operation, database: str) -> None:
    """Send ``operation_finished`` once the transaction is committed."""
    details = signals.OperationFinished(
        operation_id=operation.pk,
        kind=operation.kind,
        state=OperationState(operation.state),
        database=database,
        total=operation.total,
        done=operation.done,
        failed=operation.failed,
        skipped=operation.skipped,
        by=operation.by,
        reason=operation.reason,
        note=operation.note,
    )
    send = signals.operation_finished.send_robust
    transaction.on_commit(partial(send, Operation, details=details), using=database)
