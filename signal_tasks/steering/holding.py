"""Held deliveries: kept from workers and relays until they may start.

# Note [Holding]
A delivery that may not start stays pending, without an attempt or a lease. It gets a row
that says at which gate it waits and why, and its ``next_check_at`` moves far away, so
that no pass of a relay finds it. Relays look at the gates that hold something, and
release what may start: it is due, and published as anything else.

A gate has the oldest name of a receiver; deliveries of a paused signal wait at one named
``signal:NAME``, so that nobody has to look for them among those of each receiver.

Whoever holds or releases locks the gate first, then rows of deliveries that nobody else
has locked. A relay that has locked rows may thus wait for gates, in the order of their
names. The flag of a gate is cleared under its lock when nothing waits there any more, so
a hold comes before that or after. Should a row of a gate be lost sight of all the same,
its delivery is due again when HOLD_AFTER is over.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Sequence

from django.db import connections, transaction
from django.db.models import Exists, OuterRef

from signal_tasks.db.sql import skip_locked
from signal_tasks.models import Delivery, Gate, HeldDelivery
from signal_tasks.states import Hold, State
from signal_tasks.steering.locking import make_gate

#: What is held is looked at after this time in any case, then after twice that
#: (seconds).
HOLD_AFTER, HOLD_MAX = 600.0, 3600.0
#: Rows that one transaction holds or releases.
BATCH = 1000


def hold(ids: Sequence[uuid.UUID], gate: str, why: Hold, *, database: str) -> int:
    """Hold those of ``ids`` that are pending and due, at this gate.

    One transaction for each thousand. What somebody else has locked is left to them.
    Return the number of deliveries held.
    """
    held = 0
    for start in range(0, len(ids), BATCH):
        with transaction.atomic(using=database):
            _close(gate, database)
            rows = Delivery.objects.using(database)
            due = rows.startable(ids[start : start + BATCH])
            _hold(due, gate, why, database)
            held += len(due)
    return held


def hold_locked(locked: Iterable[tuple[Delivery, str, Hold]], *, database: str) -> None:
    """Hold pending deliveries, each at a gate, that this transaction has locked."""
    grouped: dict[tuple[str, Hold], list[Delivery]] = {}
    for delivery, gate, why in locked:
        grouped.setdefault((gate, why), []).append(delivery)
    for gate, why in sorted(grouped):
        _close(gate, database)
        _hold(grouped[gate, why], gate, why, database)


def release_held(gate: str, limit: int, *, database: str, wait: bool = False) -> int:
    """Make up to ``limit`` of the deliveries held at a gate due, the oldest first.

    One transaction for each thousand; nothing while another relay does the same, unless
    this is to ``wait``: what a limit permits is lost if it is not released. Rows whose
    deliveries are no longer pending do not count. Return the number made due.
    """
    released, goes_on = 0, True
    while goes_on and released < limit:
        size = min(BATCH, limit - released)
        with transaction.atomic(using=database):
            made_due, goes_on = _release(gate, size, database, wait)
        released += made_due
    return released


def prune_held(after: uuid.UUID | None, *, database: str) -> uuid.UUID | None:
    """Delete rows whose deliveries are no longer pending, of the next thousand.

    Return where to go on, which is the beginning again behind the last one.
    """
    rows = HeldDelivery.objects.using(database).order_by("pk")
    if after is not None:
        rows = rows.filter(pk__gt=after)
    ids = list(rows.values_list("pk", flat=True)[:BATCH])
    if not ids:
        return None
    _delete_void(ids, database)
    return ids[-1] if len(ids) == BATCH else None


def _close(gate: str, database: str) -> None:
    """Mark a gate as holding, and lock it."""
    gates = Gate.objects.using(database)
    while not gates.filter(pk=gate).update(holding=True):
        make_gate(gate, database)


def _hold(due: Collection[Delivery], gate: str, why: Hold, database: str) -> None:
    if not due:
        return
    rows = Delivery.objects.using(database)
    rows.schedule_publication(due, after=HOLD_AFTER, longest=HOLD_MAX)
    named = connections[database].features.supports_update_conflicts_with_target
    HeldDelivery.objects.using(database).bulk_create(
        [HeldDelivery(delivery_id=each.pk, receiver=gate, why=why) for each in due],
        update_conflicts=True,
        update_fields=["receiver", "why"],
        unique_fields=["delivery_id"] if named else None,
    )


def _release(gate: str, size: int, database: str, wait: bool) -> tuple[int, bool]:
    """Release a batch; return how many were made due, and whether more may be held."""
    gates = Gate.objects.using(database).filter(pk=gate, holding=True)
    if not (gates.select_for_update() if wait else skip_locked(gates)):
        return 0, False
    held = HeldDelivery.objects.using(database).filter(receiver=gate)
    oldest = held.order_by("pk").values_list("pk", flat=True)
    ids = list(oldest[:size])
    made_due, left = Delivery.objects.using(database).make_due(ids)
    gone = set(ids) - left
    held.filter(pk__in=gone).delete()
    if len(gone) > made_due:
        _delete_void(list(oldest[:BATCH]), database)
    if len(ids) < size and not left:
        gates.update(holding=False)
    return made_due, bool(gone) and len(ids) == size


def _delete_void(ids: Collection[uuid.UUID], database: str) -> None:
    """Delete those of these rows whose deliveries are no longer pending."""
    pending = Delivery.objects.using(database).filter(
        pk=OuterRef("pk"), state=State.PENDING
    )
    held = HeldDelivery.objects.using(database)
    held.filter(~Exists(pending), pk__in=ids).delete()
