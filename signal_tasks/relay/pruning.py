"""Delete deliveries that finished longer ago than they are kept, a batch at a time.

The relay deletes one batch in a pass, so that it is never kept from publishing;
``manage.py signal_tasks prune`` goes on until nothing is left. Both pause in between.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Exists, Model, OuterRef, QuerySet

from signal_tasks.conf import settings
from signal_tasks.db.clock import DatabaseNow, from_now
from signal_tasks.db.sql import skip_locked
from signal_tasks.healthcheck.problems import ACKNOWLEDGE, acknowledged_at
from signal_tasks.models import (
    Attempt,
    AuditEntry,
    Coalesced,
    DedupeKey,
    Delivery,
    FailureGroup,
    History,
    Operation,
    OperationItem,
)
from signal_tasks.states import State

#: Deliveries that are deleted in one transaction.
BATCH = 1000
#: Fraction of the time that a continuous prune may use the database.
SHARE = 0.2
#: How long a failure group outlives its last attempt.
KEEP_GROUPS = timedelta(days=90)


def prune_batch(database: str) -> int:
    """Delete up to ``BATCH`` deliveries that were kept long enough.

    Return the number of deliveries deleted.
    """
    keep = {
        State.SUCCEEDED: settings().KEEP_SUCCEEDED,
        State.DISCARDED: settings().KEEP_DISCARDED,
        State.DEAD: settings().KEEP_DEAD,
    }
    pruned = 0
    for state, age in keep.items():
        if age is not None and pruned < BATCH:
            rows = Delivery.objects.using(database)
            pruned += rows.prune(state, older_than=age, limit=BATCH - pruned)
    return pruned


def prune_history(database: str) -> int:
    """Delete a batch of the counts that were kept long enough; return their number."""
    rows = History.objects.using(database)
    return rows.prune(keep=settings().KEEP_HISTORY)


def prune_trail(database: str) -> None:
    """Delete audit entries and finished operations that were kept long enough.

    Up to ``BATCH`` entries, and one operation, or ``BATCH`` of its items if some of its
    deliveries are still there. The last acknowledgement stays for good: dead letters
    that are older are told as new without it.
    """
    age = settings().KEEP_AUDIT
    if age is None:
        return
    cutoff = from_now(-age.total_seconds())
    entries = AuditEntry.objects.using(database)
    old = list(entries.filter(at__lte=cutoff).values_list("pk", flat=True)[:BATCH])
    if old:
        last = {"verb": ACKNOWLEDGE, "at": acknowledged_at(database)}
        entries.filter(pk__in=old).exclude(**last).delete()
    operations = Operation.objects.using(database)
    over = operations.filter(finished_at__lte=cutoff).order_by("finished_at")
    for pk in over.values_list("pk", flat=True)[:1]:
        items = OperationItem.objects.using(database).filter(operation_id=pk)
        some = list(items.values_list("pk", flat=True)[:BATCH])
        items.filter(pk__in=some).delete()
        if len(some) < BATCH:
            operations.filter(pk=pk, finished_at__lte=cutoff).delete()


def prune_groups(database: str) -> None:
    """Delete up to ``BATCH`` failure groups that were not seen for a long time.

    Those with attempts or a note stay. One that is seen meanwhile does, too.
    """
    old = FailureGroup.objects.using(database).filter(
        last_seen_at__lte=from_now(-KEEP_GROUPS.total_seconds()), note=""
    )
    attempts = Attempt.objects.using(database).filter(fingerprint=OuterRef("pk"))
    gone = old.filter(~Exists(attempts)).values_list("pk", flat=True)
    if some := list(gone[:BATCH]):
        old.filter(pk__in=some)._raw_delete(database)  # noqa: SLF001 - as it is asked


def prune(database: str) -> int:
    """Delete all deliveries that were kept long enough; return their number.

    Also keys of dedupe and coalescing that have expired, which do not count.
    """
    prune_trail(database)
    prune_groups(database)
    total = 0
    while True:
        started = time.monotonic()
        pruned, forgotten = prune_batch(database), forget_keys(database)
        total += pruned
        if max(pruned, forgotten) < BATCH:
            return total
        time.sleep(max(0.0, next_run_at(started) - time.monotonic()))


def next_run_at(started: float) -> float:
    """Return when to prune again after a batch that has just ended (monotonic)."""
    return started + (time.monotonic() - started) / SHARE


def forget_keys(database: str) -> int:
    """Delete up to ``BATCH`` expired keys of each kind; return their number.

    Those that a sender is renewing are left to it.
    """
    kinds: tuple[tuple[type[Model], str], ...] = (
        (DedupeKey, "expires_at"),
        (Coalesced, "due_by"),
    )
    deleted = 0
    for kind, until in kinds:
        rows: QuerySet[Any] = QuerySet(kind, using=database).filter(
            **{f"{until}__lte": DatabaseNow()}
        )
        with transaction.atomic(using=database):
            old = list(skip_locked(rows).order_by(until).values_list("pk")[:BATCH])
            if old:
                deleted += rows.filter(pk__in=[pk for (pk,) in old]).delete()[0]
    return deleted
