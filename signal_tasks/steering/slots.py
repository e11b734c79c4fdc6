"""Places of receivers with ``max_concurrency``, counted by the leases themselves.

# Note [Places]
A batch runs serially in one process under one lease, so a lease is a place. Nothing
else is counted: a slot only names the deliveries that were claimed under a lease, and is
void once its delivery does not run under it any more. So no place can be forgotten: a
worker that dies gives it back with its lease. Claims of such a receiver take turns by the
lock on its gate.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from django.db import connections, transaction
from django.db.models import Exists, OuterRef, QuerySet

from signal_tasks.db.claim import Claimed
from signal_tasks.models import Delivery, Slot
from signal_tasks.states import State
from signal_tasks.steering.locking import lock_gate


class Places(NamedTuple):
    """The leases that hold places, and the slots that do not any more."""

    leases: frozenset[int]
    void: Sequence[uuid.UUID]


def claim_place(
    gate: str, database: str, most: int, claim: Callable[[], list[Claimed]]
) -> list[Claimed] | None:
    """Claim if there is a free place; return None if there is none.

    One transaction, which is committed before this returns. ``most`` is the number of
    places; ``claim`` claims under a new lease, in the transaction that is open.
    """
    with transaction.atomic(using=database):
        lock_gate(gate, database)
        places = _places(gate, database)
        slots = Slot.objects.using(database)
        if places.void:
            slots.filter(pk__in=places.void).delete()
        if len(places.leases) >= most:
            return None
        won = claim()
        _take(
            slots, [Slot(pk=each.id, receiver=gate, lease=each.lease) for each in won]
        )
    return won


def _take(slots: QuerySet[Slot], taken: Sequence[Slot]) -> None:
    """Write slots of deliveries that have just been claimed.

    A delivery may have a void one at another gate: see Note [Renames].
    """
    named = connections[slots.db].features.supports_update_conflicts_with_target
    slots.bulk_create(
        taken,
        update_conflicts=True,
        update_fields=["receiver", "lease"],
        unique_fields=["delivery_id"] if named else None,
    )


def free_places(gate: str, database: str, most: int) -> int:
    """Return how many batches of a receiver may start, as things stand."""
    return max(0, most - len(_places(gate, database).leases))


def _places(gate: str, database: str) -> Places:
    """Read the slots of a receiver, which has the gate of that name.

    By a plain SELECT: on MySQL, a DELETE with this condition would wait for deliveries
    that others have locked, and they for the gate.
    """
    running = Delivery.objects.using(database).filter(
        pk=OuterRef("delivery_id"), lease=OuterRef("lease"), state=State.RUNNING
    )
    rows: Any = Slot.objects.using(database).filter(receiver=gate)
    found = rows.annotate(runs=Exists(running)).values_list(
        "delivery_id", "lease", "runs"
    )
    leases, void = set(), []
    for pk, lease, runs in found:
        if runs:
            leases.add(lease)
        else:
            void.append(pk)
    return Places(frozenset(leases), void)
