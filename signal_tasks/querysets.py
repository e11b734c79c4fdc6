"""The verbs of many deliveries; each is guarded by state, and by lease where held.

All run on the alias of the queryset and open their own transaction where they
need one. Nothing here knows a receiver, a policy or the broker.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from django.db import connections, transaction
from django.db.models import (
    Case,
    Count,
    Exists,
    F,
    Min,
    OuterRef,
    Q,
    QuerySet,
    Value,
    When,
)
from django.db.models.functions import Greatest
from django.utils import timezone

from signal_tasks import takes
from signal_tasks.clock import DatabaseNow, from_now
from signal_tasks.states import LIVE, State

if TYPE_CHECKING:
    from signal_tasks.models import Delivery

    Base = QuerySet[Delivery]
else:
    Base = QuerySet


class DeliveryQuerySet(Base):
    """Deliveries, and what the engine and its operators do to many of them."""

    # -- a worker's verbs ---------------------------------------------------------

    def take(
        self, ids: Collection[uuid.UUID], *, names: Collection[str], lease: float
    ) -> list[Delivery]:
        """Win those of ``ids`` that are owed to these receivers and due.

        They become ``running`` with one attempt more and a lease of their own. The
        take is committed before this returns, so that a crash has been counted.
        What was with a worker that died is taken alone or not at all. The events
        come along.
        """
        take = self._take_at_once if self._is_postgres() else self._take_portably
        won = take(ids, names, lease, alone=len(ids) == 1)
        order = {pk: place for place, pk in enumerate(ids)}
        return sorted(won, key=lambda delivery: order[delivery.pk])

    def _is_postgres(self) -> bool:
        return connections[self.db].vendor == "postgresql"

    def _take_at_once(
        self,
        ids: Collection[uuid.UUID],
        names: Collection[str],
        lease: float,
        *,
        alone: bool,
    ) -> list[Delivery]:
        event_model = _event_model(self)
        won = []
        for delivery_values, event_values in takes.take(
            ids, names=names, lease=lease, alone=alone, database=self.db
        ):
            delivery = self.model.from_db(self.db, takes.DELIVERY, delivery_values)
            found = event_values[0] is not None
            delivery.event = (
                event_model.from_db(self.db, takes.EVENT, event_values)
                if found
                else _deleted_event(event_model, delivery)
            )
            won.append(delivery)
        return won

    def _take_portably(
        self,
        ids: Collection[uuid.UUID],
        names: Collection[str],
        lease: float,
        *,
        alone: bool,
    ) -> list[Delivery]:
        due = Q(state=State.PENDING, available_at__lte=DatabaseNow())
        wanted = self.filter(due, pk__in=ids, receiver__in=names)
        if not alone:
            wanted = wanted.filter(alone=False)
        with transaction.atomic(using=self.db):
            won = list(wanted.unlocked())
            self.filter(pk__in=[d.pk for d in won]).update(
                state=State.RUNNING,
                attempts=F("attempts") + 1,
                lease=F("lease") + 1,
                relay_at=from_now(lease),
                relays=0,
                alone=alone,
                orphaned=False,
            )
        model = _event_model(self)
        events = model._base_manager.using(self.db)
        by_id = events.in_bulk([delivery.event_id for delivery in won])
        for delivery in won:
            event = by_id.get(delivery.event_id)
            delivery.event = event or _deleted_event(model, delivery)
            delivery.state = State.RUNNING
            delivery.attempts += 1
            delivery.lease += 1
            delivery.alone = alone
        return won

    def held(self, deliveries: Iterable[Delivery]) -> DeliveryQuerySet:
        """Those of ``deliveries`` that still run under the lease they carry."""
        by_lease: dict[int, list[uuid.UUID]] = {}
        for delivery in deliveries:
            by_lease.setdefault(delivery.lease, []).append(delivery.pk)
        mine = Q(pk__in=[])
        for lease, pks in by_lease.items():
            mine |= Q(lease=lease, pk__in=pks)
        return self.filter(mine, state=State.RUNNING)

    def end(self, state: State, reason: str = "") -> int:
        """End these deliveries; returns how many it were."""
        return self.update(
            state=state, reason=reason, relay_at=None, finished_at=DatabaseNow()
        )

    def postpone(
        self, delay: float, *, counts: bool = True, alone: bool = False
    ) -> int:
        """Owe these running deliveries again, ``delay`` seconds from now."""
        return self.update(
            state=State.PENDING,
            available_at=from_now(delay),
            relay_at=from_now(delay),
            alone=alone,
            attempts=F("attempts") if counts else _one_less("attempts"),
        )

    def hand_back(self, *, alone: bool = False) -> int:
        """Owe these running deliveries again at once, without the attempt."""
        return self.update(
            state=State.PENDING,
            relay_at=DatabaseNow(),
            alone=alone,
            attempts=_one_less("attempts"),
        )

    def extend(self, seconds: float) -> int:
        """Let the leases of these running deliveries end ``seconds`` from now."""
        return self.update(relay_at=from_now(seconds))

    # -- the relay's verbs --------------------------------------------------------

    def any_to_see_to(self, *, early: float) -> bool:
        """Whether ``expired`` or ``due`` would find anything: one look at one index."""
        return self.filter(relay_at__lte=from_now(early)).exists()

    def expired(self, limit: int) -> list[Delivery]:
        """Running deliveries whose lease is over, locked for this transaction."""
        over = self.filter(state=State.RUNNING, relay_at__lte=DatabaseNow())
        return list(over.order_by("relay_at").unlocked()[:limit])

    def due(
        self, limit: int, *, names: Collection[str], early: float
    ) -> list[Delivery]:
        """Pending deliveries that the relay must see to, locked for this transaction.

        Orphans of these receivers are due ``early``: before those who do not know
        their receiver see them.
        """
        soon = self.filter(state=State.PENDING, relay_at__lte=from_now(early))
        mine = Q(orphaned=True, receiver__in=names)
        due = soon.filter(mine | Q(relay_at__lte=DatabaseNow()))
        return list(due.order_by("relay_at").unlocked()[:limit])

    def claim(
        self,
        due: Iterable[Delivery],
        *,
        after: float,
        longest: float,
        orphaned: bool = False,
    ) -> None:
        """Keep the relay away from these for ``after`` seconds, then twice that.

        Each claim doubles the time, up to ``longest``, so that what waits in a long
        queue is not published over and over, and orphans are not looked at often.
        """
        for relays, pks in _grouped(due, "relays").items():
            wait = min(after * 2.0 ** min(relays, 30), longest)
            self.filter(pk__in=pks).update(
                relay_at=from_now(wait), relays=min(relays + 1, 30), orphaned=orphaned
            )

    def unclaim(self, ids: Collection[uuid.UUID], *, after: float) -> int:
        """Take a claim back whose messages could not be published."""
        return self.filter(pk__in=ids, state=State.PENDING).update(
            relay_at=from_now(after),
            relays=_one_less("relays"),
        )

    def adopt(self, names: Collection[str]) -> int:
        """Bring orphans whose receiver is known here to the relay's attention.

        They stay orphans until they are taken: workers that do not know them may
        still drop their messages.
        """
        orphans = self.filter(state=State.PENDING, orphaned=True, receiver__in=names)
        return orphans.filter(relay_at__isnull=False).update(
            relay_at=Greatest(F("available_at"), DatabaseNow()), relays=0
        )

    # -- an operator's verbs ------------------------------------------------------

    def dead(self) -> DeliveryQuerySet:
        """Dead letters."""
        return self.filter(state=State.DEAD)

    def replayable(self) -> DeliveryQuerySet:
        """What ended without being done."""
        return self.filter(state__in=(State.DEAD, State.DISCARDED))

    def replay(self) -> int:
        """Owe dead and discarded deliveries again, with all their attempts."""
        return self.replayable().update(
            state=State.PENDING,
            reason="",
            attempts=0,
            lease=F("lease") + 1,
            relays=0,
            alone=False,
            available_at=DatabaseNow(),
            relay_at=DatabaseNow(),
            finished_at=None,
        )

    def discardable(self) -> DeliveryQuerySet:
        """What is not done, and not being done."""
        return self.filter(state__in=(State.PENDING, State.DEAD))

    def discard(self) -> int:
        """End pending and dead deliveries without running them."""
        return self.discardable().update(
            state=State.DISCARDED,
            orphaned=False,
            relay_at=None,
            finished_at=DatabaseNow(),
        )

    def prune(self, state: State, *, older_than: timedelta, limit: int) -> int:
        """Delete up to ``limit`` deliveries that ended so long ago.

        Their events go with their last delivery. Each call is one transaction.
        """
        cutoff = from_now(-older_than.total_seconds())
        old = self.filter(state=state, finished_at__lte=cutoff)
        with transaction.atomic(using=self.db):
            rows = old.order_by("finished_at").unlocked()
            doomed = dict(rows.values_list("pk", "event_id")[:limit])
            if doomed:
                self._delete_with_events(doomed)
        return len(doomed)

    def _delete_with_events(self, doomed: Mapping[uuid.UUID, uuid.UUID]) -> None:
        """Delete deliveries, given with their events, by as few statements as can be.

        The events are locked first: who deletes the last delivery but one of an event
        has done so before who deletes the last one looks for others.
        """
        events = _event_model(self)._base_manager.using(self.db)
        of_these = events.filter(pk__in=set(doomed.values()))
        if connections[self.db].features.has_select_for_update:
            list(of_these.order_by("pk").select_for_update().values_list("pk"))
        attempts = cast("Any", self.model)._meta.get_field("failures").related_model
        for rows in (
            attempts._base_manager.using(self.db).filter(delivery_id__in=doomed),
            self.filter(pk__in=doomed),
            of_these.filter(~Exists(self.filter(event_id=OuterRef("pk")))),
        ):
            rows._raw_delete(self.db)  # noqa: SLF001 - deletes without fetching

    # -- what is seen -------------------------------------------------------------

    def live(self) -> DeliveryQuerySet:
        """What is still owed or running."""
        return self.filter(state__in=LIVE, relay_at__isnull=False)

    def counts(self) -> list[dict[str, Any]]:
        """Rows of receiver, state, orphaned and the number of such deliveries."""
        rows: Any = self.values("receiver", "state", "orphaned")
        return list(rows.annotate(n=Count("pk")).order_by())

    def oldest_due(self) -> Any:
        """Since when the longest waiting due delivery has been due, or None."""
        due = self.live().filter(state=State.PENDING, available_at__lte=DatabaseNow())
        return due.aggregate(oldest=Min("available_at"))["oldest"]

    def unlocked(self) -> DeliveryQuerySet:
        """Lock the rows for this transaction, passing over those locked by others.

        On SQLite the transaction itself keeps all other writers out.
        """
        features = connections[self.db].features
        if not features.has_select_for_update:
            return self
        return self.select_for_update(
            skip_locked=features.has_select_for_update_skip_locked
        )


def _one_less(field: str) -> Case:
    """The field less one, but never below zero."""
    return Case(When(**{f"{field}__gt": 0}, then=F(field) - 1), default=Value(0))


def _grouped(rows: Iterable[Delivery], field: str) -> Mapping[Any, list[uuid.UUID]]:
    groups: dict[Any, list[uuid.UUID]] = {}
    for row in rows:
        groups.setdefault(getattr(row, field), []).append(row.pk)
    return groups


def _deleted_event(model: Any, delivery: Delivery) -> Any:
    """In the place of an event that somebody deleted by hand: without a payload."""
    return model(pk=delivery.event_id, signal="", payload="", sent_at=timezone.now())


def _event_model(queryset: DeliveryQuerySet) -> Any:
    return cast("Any", queryset.model)._meta.get_field("event").related_model
