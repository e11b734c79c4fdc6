"""Delete what finished long ago."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import timedelta

from django.db import connections, transaction
from django.db.models import Exists, OuterRef, Q

from signal_tasks.db.clock import DatabaseNow, from_now
from signal_tasks.db.sql import skip_locked
from signal_tasks.querysets.rows import D, DeliveryRows, rows_of
from signal_tasks.states import State


class Pruning(DeliveryRows[D]):
    """The verbs that delete rows."""

    def prune(self, state: State, *, older_than: timedelta, limit: int) -> int:
        """Delete up to ``limit`` deliveries that finished so long ago.

        Their events go with their last delivery. Each call is one transaction.
        Return the number of deliveries deleted.
        """
        cutoff = from_now(-older_than.total_seconds())
        old = Q(state=state, finished_at__lte=cutoff)
        with transaction.atomic(using=self.db):
            rows = skip_locked(self.filter(old).order_by("finished_at"))
            doomed = dict(rows.values_list("pk", "event_id")[:limit])
            if doomed:
                self._delete_with_events(doomed)
            if doomed and state == State.DEAD:  # others have given theirs up
                self.give_up_turns(doomed)
        return len(doomed)

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
        for rows in (
            attempts.filter(delivery_id__in=doomed),
            items.filter(pk__in=doomed),
            every.filter(pk__in=doomed),
            of_these.filter(~Exists(every.filter(event_id=OuterRef("pk")))),
        ):
            rows._raw_delete(self.db)  # noqa: SLF001 - deletes without fetching

    def forget_extensions(self) -> None:
        """Delete extensions of leases that are over."""
        old = rows_of("Extension", self.db).filter(until__lte=DatabaseNow())
        old._raw_delete(self.db)  # noqa: SLF001 - deletes without fetching
