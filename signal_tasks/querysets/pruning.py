"""Delete what finished long ago."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from datetime import timedelta

from django.db import connections
from django.db.models import Exists, OuterRef, Q

from signal_tasks.db.clock import DatabaseNow, from_now
from signal_tasks.db.settling import TRIED_FOR, delete_unsettled
from signal_tasks.db.sql import seeing_commits, skip_locked
from signal_tasks.querysets.rows import D, DeliveryRows, rows_of
from signal_tasks.registry.settled import settled_signals
from signal_tasks.states import State


class Pruning(DeliveryRows[D]):
    """The verbs that delete rows."""

    def prune(self, state: State, *, older_than: timedelta, limit: int) -> int:
        """Delete up to ``limit`` deliveries that finished so long ago.

        Their events go with their last delivery. Each call is one transaction. Those
        of an event that has not settled stay for a while, so that it can.
        Return the number of deliveries deleted.
        """
        old = Q(state=state) & self._finished_before(older_than)
        with seeing_commits(self.db):
            rows = skip_locked(self.filter(old).order_by("finished_at"))
            doomed = dict(rows.values_list("pk", "event_id")[:limit])
            if doomed:
                self._delete_with_events(doomed)
            if doomed and state == State.DEAD:  # others have given theirs up
                self.give_up_turns(doomed)
        return len(doomed)

    def _finished_before(self, age: timedelta) -> Q:
        seconds = age.total_seconds()
        old = Q(finished_at__lte=from_now(-seconds))
        if not settled_signals.names():
            return old
        waits = rows_of("UnsettledEvent", self.db).filter(pk=OuterRef("event_id"))
        older = Q(finished_at__lte=from_now(-seconds - TRIED_FOR.total_seconds()))
        return old & (older | Q(~Exists(waits)))

    def _delete_with_events(self, doomed: Mapping[uuid.UUID, uuid.UUID]) -> None:
        """Delete deliveries, given with their events, in as few statements as possible.

        The events are locked first: whoever deletes the last delivery but one of an
        event has done so before another looks for the last one.
        """
        every = self.unfiltered()
        events = rows_of("Event", self.db)
        attempts = rows_of("Attempt", self.db)
        items = rows_of("OperationItem", self.db)
        of_these = events.filter(pk__in=set(doomed.values()))
        if connections[self.db].features.has_select_for_update:
            list(of_these.order_by("pk").select_for_update().values_list("pk"))
        doomed_rows = [
            attempts.filter(delivery_id__in=doomed),
            items.filter(pk__in=doomed),
            every.filter(pk__in=doomed),
            of_these.filter(~Exists(every.filter(event_id=OuterRef("pk")))),
        ]
        for rows in doomed_rows:
            rows._raw_delete(self.db)  # noqa: SLF001 - deletes without fetching
        if settled_signals.names():
            self._settle_no_more(set(doomed.values()))

    def _settle_no_more(self, events: Collection[uuid.UUID]) -> None:
        """Let nothing wait for those of the events that are gone: Note [Whole scans]."""
        gone = ~Exists(rows_of("Event", self.db).filter(pk=OuterRef("pk")))
        rows = rows_of("UnsettledEvent", self.db).filter(gone, pk__in=events)
        left = list(rows.values_list("pk", flat=True))
        delete_unsettled(left, database=self.db)

    def forget_extensions(self) -> None:
        """Delete extensions of leases that are over."""
        old = rows_of("Extension", self.db).filter(until__lte=DatabaseNow())
        old._raw_delete(self.db)  # noqa: SLF001 - deletes without fetching
