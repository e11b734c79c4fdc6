"""Settle what nobody has looked at, and try again what could not be sent.

A worker that dies between its last commit and its look has left it; see Note
[Settling]. Each time a relay looks twice as long after the last time.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Collection

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from signal_tasks.db.clock import DatabaseNow
from signal_tasks.db.settling import (
    CHECK_AFTER,
    delete_unsettled,
    lock_due,
    put_off,
)
from signal_tasks.models import Event, UnsettledEvent
from signal_tasks.registry.settled import settled_signals
from signal_tasks.settling import settle

#: Rows that relays look at in one transaction.
BATCH = 100
#: Rows of deleted events that are deleted at once.
FORGOTTEN = 1000
#: How long one pass settles (seconds).
PASS_SECONDS = 0.5
#: Relays look at an event again no later than after this time (seconds).
CHECK_MAX = 600.0
MAX_DOUBLINGS = 10


def sweep(database: str, *, seconds: float = PASS_SECONDS) -> int:
    """Settle what is due, for about so many seconds; return the number of events.

    One look at one index, if nothing is due. Each signal has its turn, in another
    order each time: none waits until another one has nothing left.
    """
    names = settled_signals.names()
    if not names or not _due(names, database)[:1]:
        return 0
    until = time.monotonic() + seconds
    settled = 0
    while names:
        random.shuffle(names)
        for name in names.copy():
            ids, is_last = _take_due(name, database)
            _forget_deleted(ids, database)
            settled += settle(ids, database=database)
            if is_last:
                names.remove(name)
            if time.monotonic() >= until:
                return settled
    return settled


def forget_deleted(database: str) -> bool:
    """Delete rows of events that are gone; return True if that were all of them.

    Pruning deletes those of its events where a signal settles. No relay looks at those
    that a former release has left.
    """
    gone = list(_gone(UnsettledEvent.objects.using(database))[:FORGOTTEN])
    delete_unsettled(gone, database=database)
    return len(gone) < FORGOTTEN


def _due(names: Collection[str], database: str) -> QuerySet[UnsettledEvent]:
    due = {"signal__in": names, "check_at__lte": DatabaseNow()}
    rows = UnsettledEvent.objects.using(database).filter(**due)
    return rows.order_by("check_at")


def _take_due(name: str, database: str) -> tuple[list[uuid.UUID], bool]:
    """Return events that a relay must look at; let the next look be later.

    They are found without a lock, and locked by their ids: Note [Whole scans]. Return
    also whether these were the last ones, but for what others have locked.
    """
    found = list(_due([name], database).values_list("pk", flat=True)[:BATCH])
    if not found:
        return [], True
    with transaction.atomic(using=database):
        by_checks = lock_due(found, database=database)
        for checks, ids in by_checks.items():
            wait = min(CHECK_AFTER * 2.0 ** (checks + 1), CHECK_MAX)
            later = min(checks + 1, MAX_DOUBLINGS)
            put_off(ids, wait=wait, checks=later, database=database)
    taken = [pk for ids in by_checks.values() for pk in ids]
    return taken, len(found) < BATCH or not taken


def _forget_deleted(ids: Collection[uuid.UUID], database: str) -> None:
    """Delete the rows of those events that are gone: pruned, or merged into newer ones."""
    if ids:
        rows = UnsettledEvent.objects.using(database).filter(pk__in=ids)
        delete_unsettled(list(_gone(rows)), database=database)


def _gone(rows: QuerySet[UnsettledEvent]) -> QuerySet[UnsettledEvent, uuid.UUID]:
    events = Event.objects.using(rows.db).filter(pk=OuterRef("pk"))
    return rows.filter(~Exists(events)).values_list("pk", flat=True)
