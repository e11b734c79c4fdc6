"""The verbs of deliveries: every change of a state is one of them.

# Note [Guards]
Each verb is guarded by the state it starts from, and by the lease where a worker
holds one, in an UPDATE of its own, without the caller's filter. A database evaluates
such a guard again for a row that changed meanwhile, but not one that a join has made
part of a subquery. An operator's verb, which does have a filter, locks the rows that it
has found and then asks again which of them it is for.

All run on the alias of the queryset. Nothing here knows a receiver, a policy or the
broker.

# Note [Extensions]
A transaction that sees the database as it was when it began cannot change a row that
has changed since. So a lease that is extended beside the transaction of its receiver
is not changed itself: the longer one is a row of its own, and holds as long as the
row of the delivery stays as it was.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.apps import apps
from django.db import connections, transaction
from django.db.models import (
    BooleanField,
    Case,
    Count,
    Exists,
    ExpressionWrapper,
    F,
    Max,
    Min,
    Model,
    OuterRef,
    Q,
    QuerySet,
    Value,
    When,
)
from django.db.models.functions import Greatest

from signal_tasks.db import turns
from signal_tasks.db.claim import Claim, Claimed, claim
from signal_tasks.db.clock import DatabaseNow, from_now
from signal_tasks.db.sql import skip_locked
from signal_tasks.states import LIVE, State

#: ``models.Delivery``, which is made of this module.
D = TypeVar("D", bound=Model)
#: States from which an operator may replay, or discard, a delivery.
REPLAYABLE = (State.DEAD, State.DISCARDED)
DISCARDABLE = (State.PENDING, State.DEAD)
#: Rows that one UPDATE of an operator's verb changes.
BATCH = 1000
#: ``publish_count`` goes no further: the wait has long reached its limit.
MAX_DOUBLINGS = 30


class DeliveryQuerySet(QuerySet[D]):
    """Deliveries, and the verbs of workers, relays and operators."""

    def _unfiltered(self) -> DeliveryQuerySet[D]:
        return DeliveryQuerySet(self.model, using=self.db)

    # -- a worker's verbs ---------------------------------------------------------

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
            deliveries=self._unfiltered(),
            events=_rows("Event", self.db),
        )

    def ready(self, ids: Collection[uuid.UUID]) -> Collection[uuid.UUID]:
        """Return those of ``ids`` that are due, and whose turn it is; lock nothing."""
        due = Q(state=State.PENDING, available_at__lte=DatabaseNow())
        rows = self._unfiltered().filter(due, pk__in=ids)
        return turns.startable(list(rows.values_list("pk", flat=True)), self.db)

    def leased(self, ids: Collection[uuid.UUID], lease: int) -> DeliveryQuerySet[D]:
        """Return those of ``ids`` that run under this lease."""
        rows = self._unfiltered()
        return rows.filter(pk__in=ids, lease=lease, state=State.RUNNING)

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

    def give_up_turns(self, ids: Collection[uuid.UUID], *, after: float = 0.0) -> None:
        """Let what waits behind these deliveries run; relays see to it ``after`` seconds.

        For deliveries that finish in the same transaction. Those that have no turn are
        passed over.
        """
        turns.give_up(ids, self._unfiltered(), after=after)

    def wake_behind(self, positions: Mapping[int, int], *, after: float) -> None:
        """Have relays see to what comes next in these sequences ``after`` seconds.

        For deliveries that give up their turns in the same transaction. They stand at
        these positions, and nothing waits before them.
        """
        turns.wake(positions, self._unfiltered(), after=after)

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
            attempts=F("attempts") if counts else _one_less("attempts"),
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
            attempts=_one_less("attempts"),
        )

    def extend(self, ids: Collection[uuid.UUID], lease: int, seconds: float) -> int:
        """Let this lease end ``seconds`` from now; return the number of rows updated.

        With 0 seconds the relay recovers the deliveries in its next pass.
        """
        return self.leased(ids, lease).update(next_check_at=from_now(seconds))

    def extend_beside(self, pk: uuid.UUID, lease: int, seconds: float) -> int:
        """Do the same for one delivery, without changing its row: Note [Extensions].

        For a transaction beside that of the receiver.
        """
        extensions = _rows("Extension", self.db)
        with transaction.atomic(using=self.db):
            locked = self.leased([pk], lease).select_for_update()
            ends = list(locked.values_list("next_check_at", flat=True))
            if ends:
                longer = {"lease_end": ends[0], "until": from_now(seconds)}
                extensions.update_or_create(delivery_id=pk, defaults=longer)
        return len(ends)

    # -- the relay's verbs --------------------------------------------------------

    def has_due(self, *, early: float) -> bool:
        """Return True if ``expired_leases`` or ``due`` would find anything.

        One look at one index: in its order, or PostgreSQL, when it has no statistics of
        what was just sent or held, expects a match anywhere and reads the whole table.
        """
        due = self._unfiltered().filter(next_check_at__lte=from_now(early))
        return bool(due.order_by("next_check_at").values_list("pk")[:1])

    def expired_leases(self, limit: int) -> list[D]:
        """Return running deliveries whose lease is over; lock them."""
        over = Q(state=State.RUNNING, next_check_at__lte=DatabaseNow())
        extended = _rows("Extension", self.db).filter(
            delivery_id=OuterRef("pk"),
            lease_end=OuterRef("next_check_at"),
            until__gt=DatabaseNow(),
        )
        rows = self._unfiltered().filter(over, ~Exists(extended))
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
            rows = skip_locked(self._unfiltered().filter(held))
            ids = list(rows.values_list("pk", flat=True))
            return sum(
                self._unfiltered()
                .filter(pk__in=some, state=State.RUNNING)
                .update(next_check_at=now)
                for some in _batches(ids)
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
        rows = self._unfiltered().filter(soon, known | now).order_by("next_check_at")
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
            self._unfiltered().filter(pk__in=pks, state=State.PENDING).update(
                next_check_at=from_now(wait),
                publish_count=min(count + 1, MAX_DOUBLINGS),
                orphaned=orphaned,
            )

    def unschedule(self, ids: Collection[uuid.UUID], *, after: float) -> int:
        """Undo ``schedule_publication`` for what the broker did not take."""
        return (
            self._unfiltered()
            .filter(pk__in=ids, state=State.PENDING)
            .update(
                next_check_at=from_now(after),
                publish_count=_one_less("publish_count"),
            )
        )

    def startable(self, ids: Collection[uuid.UUID]) -> list[D]:
        """Return those of ``ids`` that are pending and due; lock them.

        Passes over what others have locked.
        """
        due = Q(state=State.PENDING, available_at__lte=DatabaseNow())
        rows = self._unfiltered().filter(due, pk__in=ids)
        return list(skip_locked(rows).only("pk", "publish_count"))

    def make_due(self, ids: Collection[uuid.UUID]) -> tuple[int, set[uuid.UUID]]:
        """Make pending deliveries due for relays, as after a first publication.

        Return how many there were, and those of them that others have locked, which
        are left as they are.
        """
        pending = self._unfiltered().filter(pk__in=ids, state=State.PENDING)
        ours = set(skip_locked(pending).values_list("pk", flat=True))
        left = set(ids) - ours
        if left:
            left = set(pending.filter(pk__in=left).values_list("pk", flat=True))
        made = self._unfiltered().filter(pk__in=ours, state=State.PENDING)
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
        rows = self._unfiltered().filter(pk__in=ids, state=State.PENDING)
        return rows.update(**changes)

    def unpark(self, ids: Collection[uuid.UUID]) -> int:
        """Undo ``park`` for what was published; return the number of rows updated."""
        rows = self._unfiltered().filter(pk__in=ids, state=State.PENDING)
        return rows.update(parked="", publish_count=1)

    def adopt(self, names: Collection[str]) -> int:
        """Make orphans of these receivers due for the relay.

        They stay orphans until they are claimed: workers that do not know them may
        still drop their messages.
        """
        orphans = Q(state=State.PENDING, orphaned=True, receiver__in=names)
        live = self._unfiltered().filter(orphans, next_check_at__isnull=False)
        return live.update(
            next_check_at=Greatest(F("available_at"), DatabaseNow()), publish_count=0
        )

    # -- an operator's verbs ------------------------------------------------------

    def dead(self) -> DeliveryQuerySet[D]:
        """Return the dead letters."""
        return self.filter(state=State.DEAD)

    def of_group(self, fingerprint: str) -> DeliveryQuerySet[D]:
        """Return the dead letters whose last attempt has this fingerprint.

        An attempt of an earlier run, before a replay, does not count.
        """
        last = _rows("Attempt", self.db).filter(
            delivery_id=OuterRef("pk"),
            run=OuterRef("run"),
            consequence="dead",
            fingerprint=fingerprint,
        )
        return self.dead().filter(Exists(last))

    def replayable(self) -> DeliveryQuerySet[D]:
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

    def discardable(self) -> DeliveryQuerySet[D]:
        """Return deliveries that are neither done nor running."""
        return self.filter(state__in=DISCARDABLE)

    def discard(self) -> int:
        """Finish pending and dead deliveries without running them.

        Return the number of rows updated.
        """
        moved: list[int] = []
        changed = self._change(
            DISCARDABLE,
            then=lambda ids: moved.extend(turns.give_up(ids, self._unfiltered())),
            state=State.DISCARDED,
            orphaned=False,
            next_check_at=None,
            finished_at=DatabaseNow(),
        )
        # A worker that finished at the same time has left these rows to us. It has
        # committed meanwhile, or else looks for what comes next itself.
        if moved:
            rows = self._unfiltered()
            places = dict.fromkeys(moved, 0)
            transaction.on_commit(
                lambda: turns.wake(places, rows), self.db, robust=True
            )
        return changed

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
            for some in _batches(ids):
                self._lock(some)
                still = list(found.filter(pk__in=some).values_list("pk", flat=True))
                rows = self._unfiltered().filter(pk__in=still, state__in=states)
                changed += rows.update(**changes)
                if then is not None:
                    then(still)
        return changed

    def _lock(self, ids: Collection[uuid.UUID]) -> None:
        """Lock rows in this transaction; wait for those that others have locked."""
        rows = self._unfiltered().filter(pk__in=ids).order_by("pk")
        if connections[self.db].features.has_select_for_update:
            list(rows.select_for_update().values_list("pk"))

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
        every = self._unfiltered()
        events = _rows("Event", self.db)
        attempts = _rows("Attempt", self.db)
        items = _rows("OperationItem", self.db)
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
        old = _rows("Extension", self.db).filter(until__lte=DatabaseNow())
        old._raw_delete(self.db)  # noqa: SLF001 - deletes without fetching

    # -- what is seen -------------------------------------------------------------

    def live(self) -> DeliveryQuerySet[D]:
        """Return deliveries that are pending or running."""
        return self.filter(state__in=LIVE, next_check_at__isnull=False)

    def counts(self) -> list[dict[str, Any]]:
        """Return rows of receiver, state, orphaned, is_parked and ``n``, their number."""
        is_parked = ExpressionWrapper(~Q(parked=""), output_field=BooleanField())
        rows: Any = self.annotate(is_parked=is_parked)
        rows = rows.values("receiver", "state", "orphaned", "is_parked")
        return list(rows.annotate(n=Count("pk")).order_by())

    def parked(self) -> list[dict[str, Any]]:
        """Return rows of receiver, ``n`` parked deliveries, and one of their reasons."""
        rows: Any = self.live().filter(state=State.PENDING).exclude(parked="")
        rows = rows.values("receiver").annotate(n=Count("pk"), reason=Max("parked"))
        return list(rows.order_by("receiver"))

    def waiting(self, names: Collection[str], *, seconds: float) -> dict[str, int]:
        """Return how many deliveries of each receiver have been due for so long."""
        since = from_now(-seconds)
        due = Q(state=State.PENDING, receiver__in=names, available_at__lte=since)
        rows = self.live().filter(due).values("receiver").annotate(n=Count("pk"))
        return dict(rows.order_by("receiver").values_list("receiver", "n"))

    def orphans(self, *, seconds: float) -> dict[str, int]:
        """Return how many orphans of each receiver have been due for so long."""
        old = Q(
            state=State.PENDING, orphaned=True, available_at__lte=from_now(-seconds)
        )
        rows = self.live().filter(old).values("receiver").annotate(n=Count("pk"))
        return dict(rows.order_by("receiver").values_list("receiver", "n"))

    def oldest_due(self) -> datetime | None:
        """Return since when the longest waiting due delivery has been due."""
        due = self.live().filter(state=State.PENDING, available_at__lte=DatabaseNow())
        oldest: datetime | None = due.aggregate(oldest=Min("available_at"))["oldest"]
        return oldest


def _rows(model: str, database: str) -> QuerySet[Any]:
    return QuerySet(apps.get_model("signal_tasks", model), using=database)


def _one_less(field: str) -> Case:
    """Return the field less one, but never below zero."""
    return Case(When(**{f"{field}__gt": 0}, then=F(field) - 1), default=Value(0))


def _grouped(rows: Iterable[Model], field: str) -> Mapping[Any, list[uuid.UUID]]:
    groups: dict[Any, list[uuid.UUID]] = {}
    for row in rows:
        groups.setdefault(getattr(row, field), []).append(row.pk)
    return groups


def _batches(ids: Sequence[uuid.UUID]) -> Iterator[Sequence[uuid.UUID]]:
    return (ids[start : start + BATCH] for start in range(0, len(ids), BATCH))
