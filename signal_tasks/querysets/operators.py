"""The verbs of operators: replay and discard."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Sequence
from typing import Any, Self

from django.db import connections, transaction
from django.db.models import Exists, F, OuterRef, Q

from signal_tasks.db.clock import DatabaseNow
from signal_tasks.querysets.rows import D, DeliveryRows, batches, rows_of
from signal_tasks.states import State

#: States from which an operator may replay, or discard, a delivery.
REPLAYABLE = (State.DEAD, State.DISCARDED)
DISCARDABLE = (State.PENDING, State.DEAD)


class OperatorVerbs(DeliveryRows[D]):
    """The verbs of an operator, for the rows that the queryset has found."""

    def dead(self) -> Self:
        """Return the dead letters."""
        return self.filter(state=State.DEAD)

    def of_group(self, fingerprint: str) -> Self:
        """Return the dead letters whose last attempt has this fingerprint.

        An attempt of an earlier run, before a replay, does not count.
        """
        last = rows_of("Attempt", self.db).filter(
            delivery_id=OuterRef("pk"),
            run=OuterRef("run"),
            consequence="dead",
            fingerprint=fingerprint,
        )
        return self.dead().filter(Exists(last))

    def replayable(self) -> Self:
        """Return deliveries that finished without being done."""
        return self.filter(state__in=REPLAYABLE)

    def replay(self) -> int:
        """Make dead and discarded deliveries pending again, with all their attempts.

        Return the number of rows updated.
        """
        return self._change(
            REPLAYABLE,
            state=State.PENDING,
            reason="",
            run=F("run") + 1,
            attempts=0,
            lease=0,
            publish_count=0,
            isolated=False,
            parked="",
            available_at=DatabaseNow(),
            next_check_at=DatabaseNow(),
            finished_at=None,
        )

    def discardable(self) -> Self:
        """Return deliveries that are neither done nor running."""
        # Each of these two has an index, which both together have not.
        pending = Q(state=State.PENDING, finished_at__isnull=True)
        return self.filter(Q(state=State.DEAD) | pending)

    def discard(self) -> int:
        """Finish pending and dead deliveries without running them.

        Return the number of rows updated.
        """
        return self._change(
            DISCARDABLE,
            then=self.give_up_turns,
            state=State.DISCARDED,
            orphaned=False,
            next_check_at=None,
            finished_at=DatabaseNow(),
        )

    def undo_success(self) -> int:
        """Make succeeded deliveries pending again, as if their outcome was not written.

        For tests of receivers that have to bear a second run.
        """
        return self._change(
            (State.SUCCEEDED,),
            state=State.PENDING,
            next_check_at=DatabaseNow(),
            finished_at=None,
        )

    def _change(
        self,
        states: Collection[State],
        *,
        then: Callable[[Sequence[uuid.UUID]], object] | None = None,
        **changes: Any,
    ) -> int:
        """Change the rows of this queryset in these states; see Note [Guards].

        ``then`` is called with the ids of some after the other, in the transaction.
        """
        found = self.filter(state__in=states).order_by("pk")
        ids = list(found.values_list("pk", flat=True))
        changed = 0
        with transaction.atomic(using=self.db):
            for some in batches(ids):
                self._lock(some)
                still = list(found.filter(pk__in=some).values_list("pk", flat=True))
                rows = self.unfiltered().filter(pk__in=still, state__in=states)
                changed += rows.update(**changes)
                if then is not None:
                    then(still)
        return changed

    def _lock(self, ids: Collection[uuid.UUID]) -> None:
        """Lock rows in this transaction; wait for those that others have locked."""
        rows = self.unfiltered().filter(pk__in=ids).order_by("pk")
        if connections[self.db].features.has_select_for_update:
            list(rows.select_for_update().values_list("pk"))
