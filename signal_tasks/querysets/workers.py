"""The verbs of workers: claim a delivery, run it, finish it or schedule a retry.

# Note [Extensions]
A transaction that sees the database as it was when it began cannot change a row that
has changed since. So a lease that is extended beside the transaction of its receiver
is not changed itself: the longer one is a row of its own, and holds as long as the
row of the delivery stays as it was.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping

from django.db import transaction
from django.db.models import F, Q

from signal_tasks.db import turns
from signal_tasks.db.claim import Claim, Claimed, claim
from signal_tasks.db.clock import DatabaseNow, from_now
from signal_tasks.querysets.rows import D, DeliveryRows, one_less, rows_of
from signal_tasks.states import State


class WorkerVerbs(DeliveryRows[D]):
    """The verbs of the one that runs a delivery, or has let it run."""

    def claim(
        self,
        ids: Collection[uuid.UUID],
        *,
        names: Collection[str],
        lease: float,
        worker: uuid.UUID | None = None,
        ordered: bool = False,
    ) -> list[Claimed]:
        """Claim those of ``ids`` that are due for these receivers.

        They become ``running`` for ``lease`` seconds, with one attempt more, under a
        new random lease token. The claim is committed before this returns, so a crash
        has been counted. A delivery whose worker died is claimed as the only one or
        not at all; one that is ``ordered`` only with all those whose turn comes first.
        """
        return claim(
            Claim(ids, names, lease, worker, ordered),
            deliveries=self.unfiltered(),
            events=rows_of("Event", self.db),
        )

    def ready(self, ids: Collection[uuid.UUID]) -> Collection[uuid.UUID]:
        """Return those of ``ids`` that are due, and whose turn it is; lock nothing."""
        due = Q(state=State.PENDING, available_at__lte=DatabaseNow())
        rows = self.unfiltered().filter(due, pk__in=ids)
        return turns.startable(list(rows.values_list("pk", flat=True)), self.db)

    def wake_behind(
        self,
        positions: Mapping[int, int],
        *,
        after: float,
        heads: turns.Heads | None = None,
    ) -> Collection[int]:
        """Have relays see to what comes next in these sequences ``after`` seconds.

        For deliveries that give up their turns in the same transaction. They stand at
        these positions, and nothing waits before them. ``heads`` come next, if they are
        known. Return the sequences in which a delivery comes next.
        """
        return turns.wake(positions, self.unfiltered(), after=after, heads=heads)

    def finish(
        self, ids: Collection[uuid.UUID], lease: int, state: State, reason: str = ""
    ) -> int:
        """Finish deliveries that run under this lease; return how many did.

        ``db.complete`` does the same for successes.
        """
        return self.leased(ids, lease).update(
            state=state,
            reason=reason,
            next_check_at=None,
            finished_at=DatabaseNow(),
        )

    def schedule_retry(
        self,
        ids: Collection[uuid.UUID],
        lease: int,
        *,
        delay: float,
        counts: bool = True,
        isolated: bool = False,
    ) -> int:
        """Make deliveries that run under this lease due again in ``delay`` seconds.

        ``counts`` says whether the attempt is spent, ``isolated`` whether the next
        one is claimed as the only one. Return the number of rows updated.
        """
        return self.leased(ids, lease).update(
            state=State.PENDING,
            available_at=from_now(delay),
            next_check_at=from_now(delay),
            isolated=isolated,
            attempts=F("attempts") if counts else one_less("attempts"),
        )

    def release(
        self, ids: Collection[uuid.UUID], lease: int, *, isolated: bool = False
    ) -> int:
        """Release deliveries that run under this lease; do not count the attempt.

        They may be claimed again at once. Return the number of rows updated.
        """
        return self.leased(ids, lease).update(
            state=State.PENDING,
            next_check_at=DatabaseNow(),
            isolated=isolated,
            attempts=one_less("attempts"),
        )

    def extend(self, ids: Collection[uuid.UUID], lease: int, seconds: float) -> int:
        """Let this lease end ``seconds`` from now; return the number of rows updated.

        With 0 seconds the relay recovers the deliveries in its next pass.
        """
        return self.leased(ids, lease).update(next_check_at=from_now(seconds))

    def extend_beside(
        self, ids: Collection[uuid.UUID], lease: int, seconds: float
    ) -> int:
        """Do the same without changing the rows of deliveries: Note [Extensions].

        For a transaction beside that of the receiver.
        """
        extensions = rows_of("Extension", self.db)
        with transaction.atomic(using=self.db):
            locked = self.leased(ids, lease).select_for_update()
            ends = list(locked.values_list("pk", "next_check_at"))
            for pk, end in ends:
                longer = {"lease_end": end, "until": from_now(seconds)}
                extensions.update_or_create(delivery_id=pk, defaults=longer)
        return len(ends)
