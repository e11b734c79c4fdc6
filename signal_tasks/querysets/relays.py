"""The verbs of relays: find what is due, schedule its publication, recover it."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from django.db import transaction
from django.db.models import Exists, F, Model, OuterRef, Q
from django.db.models.functions import Greatest

from signal_tasks.db.clock import DatabaseNow, from_now
from signal_tasks.db.sql import skip_locked
from signal_tasks.querysets.rows import D, DeliveryRows, batches, one_less, rows_of
from signal_tasks.states import State

#: ``publish_count`` goes no further: the wait has long reached its limit.
MAX_DOUBLINGS = 30


class RelayVerbs(DeliveryRows[D]):
    """The verbs of the one that publishes deliveries, and those of the dead."""

    def has_due(self, *, early: float) -> bool:
        """Return True if ``expired_leases`` or ``due`` would find anything.

        One look at one index: in its order, or PostgreSQL, when it has no statistics of
        what was just sent or held, expects a match anywhere and reads the whole table.
        """
        due = self.unfiltered().filter(next_check_at__lte=from_now(early))
        return bool(due.order_by("next_check_at").values_list("pk")[:1])

    def expired_leases(self, limit: int) -> list[D]:
        """Return running deliveries whose lease is over; lock them."""
        over = Q(state=State.RUNNING, next_check_at__lte=DatabaseNow())
        extended = rows_of("Extension", self.db).filter(
            delivery_id=OuterRef("pk"),
            lease_end=OuterRef("next_check_at"),
            until__gt=DatabaseNow(),
        )
        rows = self.unfiltered().filter(over, ~Exists(extended))
        rows = rows.order_by("next_check_at")
        return list(skip_locked(rows)[:limit])

    def expire_leases_of(self, worker: uuid.UUID) -> int:
        """Let the leases that this worker holds end now; the relay recovers them.

        Deliveries that another transaction has locked are left to their lease. Return
        the number of rows updated.
        """
        now = DatabaseNow()
        # Also what is over, but extended.
        held = Q(state=State.RUNNING, claimed_by=worker, next_check_at__isnull=False)
        with transaction.atomic(using=self.db):
            rows = skip_locked(self.unfiltered().filter(held))
            ids = list(rows.values_list("pk", flat=True))
            return sum(
                self.unfiltered()
                .filter(pk__in=some, state=State.RUNNING)
                .update(next_check_at=now)
                for some in batches(ids)
            )

    def count_attempt(self, ids: Collection[uuid.UUID], lease: int) -> int:
        """Count one attempt more for deliveries that run under this lease."""
        return self.leased(ids, lease).update(attempts=F("attempts") + 1)

    def due(self, limit: int, *, names: Collection[str], early: float) -> list[D]:
        """Return pending deliveries that the relay must look at; lock them.

        Orphans of these receivers are due ``early``, before a relay that does not
        know their receiver sees them.
        """
        soon = Q(state=State.PENDING, next_check_at__lte=from_now(early))
        known = Q(orphaned=True, receiver__in=names)
        now = Q(next_check_at__lte=DatabaseNow())
        rows = self.unfiltered().filter(soon, known | now).order_by("next_check_at")
        return list(skip_locked(rows)[:limit])

    def schedule_publication(
        self,
        due: Iterable[D],
        *,
        after: float,
        longest: float,
        orphaned: bool = False,
    ) -> None:
        """Keep relays from pending deliveries for ``after`` seconds, then twice that.

        Each publication doubles the wait, up to ``longest``, so that what waits in a
        long queue is not published over and over, and orphans are not looked at
        often.
        """
        for count, pks in _grouped(due, "publish_count").items():
            wait = min(after * 2.0 ** min(count, MAX_DOUBLINGS), longest)
            self.unfiltered().filter(pk__in=pks, state=State.PENDING).update(
                next_check_at=from_now(wait),
                publish_count=min(count + 1, MAX_DOUBLINGS),
                orphaned=orphaned,
            )

    def unschedule(self, ids: Collection[uuid.UUID], *, after: float) -> int:
        """Undo ``schedule_publication`` for what the broker did not take."""
        return (
            self.unfiltered()
            .filter(pk__in=ids, state=State.PENDING)
            .update(
                next_check_at=from_now(after),
                publish_count=one_less("publish_count"),
            )
        )

    def startable(self, ids: Collection[uuid.UUID]) -> list[D]:
        """Return those of ``ids`` that are pending and due; lock them.

        Passes over what others have locked.
        """
        due = Q(state=State.PENDING, available_at__lte=DatabaseNow())
        rows = self.unfiltered().filter(due, pk__in=ids)
        return list(skip_locked(rows).only("pk", "publish_count"))

    def make_due(self, ids: Collection[uuid.UUID]) -> tuple[int, set[uuid.UUID]]:
        """Make pending deliveries due for relays, as after a first publication.

        Return how many there were, and those of them that others have locked, which
        are left as they are.
        """
        pending = self.unfiltered().filter(pk__in=ids, state=State.PENDING)
        ours = set(skip_locked(pending).values_list("pk", flat=True))
        left = set(ids) - ours
        if left:
            left = set(pending.filter(pk__in=left).values_list("pk", flat=True))
        made = self.unfiltered().filter(pk__in=ours, state=State.PENDING)
        now = Greatest(F("available_at"), DatabaseNow())
        return made.update(next_check_at=now, publish_count=1), left

    def park(
        self, ids: Collection[uuid.UUID], reason: str, *, after: float | None = None
    ) -> int:
        """Record why pending deliveries cannot be published; the broker is well.

        Relays try again in ``after`` seconds, or when they would have anyway. Return
        the number of rows updated.
        """
        changes: dict[str, Any] = {"parked": reason}
        if after is not None:
            changes |= {"next_check_at": from_now(after), "publish_count": 1}
        rows = self.unfiltered().filter(pk__in=ids, state=State.PENDING)
        return rows.update(**changes)

    def unpark(self, ids: Collection[uuid.UUID]) -> int:
        """Undo ``park`` for what was published; return the number of rows updated."""
        rows = self.unfiltered().filter(pk__in=ids, state=State.PENDING)
        return rows.update(parked="", publish_count=1)

    def adopt(self, names: Collection[str]) -> int:
        """Make orphans of these receivers due for the relay.

        They stay orphans until they are claimed: workers that do not know them may
        still drop their messages.
        """
        orphans = Q(state=State.PENDING, orphaned=True, receiver__in=names)
        live = self.unfiltered().filter(orphans, next_check_at__isnull=False)
        return live.update(
            next_check_at=Greatest(F("available_at"), DatabaseNow()), publish_count=0
        )


def _grouped(rows: Iterable[Model], field: str) -> Mapping[Any, list[uuid.UUID]]:
    groups: dict[Any, list[uuid.UUID]] = {}
    for row in rows:
        groups.setdefault(getattr(row, field), []).append(row.pk)
    return groups
