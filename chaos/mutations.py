"""Mutations: broken engines that the suite has to detect (``--mutation NAME``).

A suite that cannot fail proves nothing. Each mutation disables one mechanism that a
promise depends on, and names the fault under which the suite has to report it.
"""

# The engine offers no hooks for this suite: it needs the private functions.
# ruff: noqa: SLF001

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chaos.hooks import Function, Target
from signal_tasks.db.claim import Claimed
from signal_tasks.db.clock import DatabaseNow
from signal_tasks.db.complete import complete
from signal_tasks.delivery import outcome
from signal_tasks.models import Delivery
from signal_tasks.querysets import DeliveryQuerySet
from signal_tasks.relay import publishing, relay
from signal_tasks.relay.recovery import recover


@dataclass(frozen=True, slots=True)
class Mutation:
    """The function to replace, its replacement, and the fault that reveals it."""

    target: Target
    replacement: Function
    fault: str


def schedule_nothing(*_: object) -> tuple[list[Any], int]:
    """Have the relay find no delivery to publish."""
    return [], 0


def recover_nothing(*_: object) -> int:
    """Have the relay find no expired lease."""
    return 0


def finish_without_lease(ids: Sequence[uuid.UUID], *, lease: int, database: str) -> int:
    """Finish the deliveries even if another process holds their lease."""
    rows = Delivery.objects.using(database).filter(pk__in=ids)
    return rows.update(state="succeeded", next_check_at=None, finished_at=DatabaseNow())


def claim_in_any_state(
    rows: Any, ids: Any, *, names: Any, **_: object
) -> list[Claimed]:
    """Claim the deliveries of every copy of a message, in whatever state they are."""
    found = rows.filter(pk__in=ids, receiver__in=names).select_related("event")
    return [
        Claimed(
            lease=row.lease,
            database=rows.db,
            id=row.pk,
            event_id=row.event_id,
            receiver=row.receiver,
            run=row.run,
            attempt=row.attempts,
            waited=0.0,
            signal=row.event.signal,
            payload=row.event.payload,
            headers=row.event.headers,
            cause_id=row.event.cause_id,
            sent_at=row.event.sent_at,
            age=0.0,
        )
        for row in found
    ]


MUTATIONS = {
    "no-relay": Mutation(
        Target(publishing, publishing._schedule), schedule_nothing, "crash-committed"
    ),
    "no-recovery": Mutation(Target(relay, recover), recover_nothing, "crash-claimed"),
    "no-guard": Mutation(
        Target(DeliveryQuerySet, DeliveryQuerySet.claim), claim_in_any_state, "copies"
    ),
    "no-fence": Mutation(
        Target(outcome, complete), finish_without_lease, "worker-paused"
    ),
}


def apply(name: str) -> None:
    """Break the engine of this process."""
    mutation = MUTATIONS[name]
    mutation.target.replace(mutation.replacement)
