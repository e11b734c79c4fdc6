"""Mutations: broken engines that the suite has to detect (``--mutation NAME``).

A suite that cannot fail proves nothing. Each mutation disables one mechanism that a
promise depends on, and names the fault under which the suite has to report it.
"""

# The engine offers no hooks for this suite: it needs the private functions.
# ruff: noqa: SLF001

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from chaos.hooks import Function, Target
from signal_tasks.db import sequences, turns
from signal_tasks.db.claim import Claim, Claimed, claim
from signal_tasks.db.clock import DatabaseNow
from signal_tasks.db.complete import complete, complete_and_look
from signal_tasks.db.sequences import NewTurn
from signal_tasks.delivery import writing
from signal_tasks.delivery.turns import Turns
from signal_tasks.models import Delivery, Event, Sequence, Turn
from signal_tasks.querysets import DeliveryQuerySet
from signal_tasks.relay import publishing, relay
from signal_tasks.relay.recovery import recover

claim_at_random = DeliveryQuerySet.claim


@dataclass(frozen=True, slots=True)
class Mutation:
    """The function to replace, its replacement, and the fault that reveals it.

    ``also`` are further ones, which would heal what the first one breaks. ``database``
    is the only one that has the fault, if it is the only one.
    """

    target: Target
    replacement: Function
    fault: str
    also: tuple[tuple[Target, Function], ...] = ()
    database: str = ""


def schedule_nothing(*_: object) -> tuple[list[Any], int]:
    """Have the relay find no delivery to publish."""
    return [], 0


def recover_nothing(*_: object) -> int:
    """Have the relay find no expired lease."""
    return 0


def finish_without_lease(ids: Collection[uuid.UUID], *, database: str, **_: int) -> int:
    """Finish the deliveries even if another process holds their lease."""
    rows = Delivery.objects.using(database).filter(pk__in=ids)
    return rows.update(state="succeeded", next_check_at=None, finished_at=DatabaseNow())


def finish_in_order_without_lease(
    ids: Collection[uuid.UUID], _behind: object, *, database: str, **_: int
) -> tuple[int, None]:
    """Do the same with ordered deliveries, and give up their turns."""
    Delivery.objects.using(database).give_up_turns(ids)
    return finish_without_lease(ids, database=database), None


def give_up_nothing(*_: object, **__: object) -> None:
    """Leave turns that nobody needs where they are."""


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


def claim_whatever_the_turn(
    rows: Any, ids: Any, *, names: Any, lease: float, worker: Any, **_: object
) -> list[Claimed]:
    """Claim what is due, whatever comes before it."""
    plain = Claim(ids, names, lease, worker)
    return claim(plain, deliveries=Delivery.objects.all(), events=Event.objects.all())


def stop_at_nothing(*_: object) -> None:
    """Run what comes behind a delivery that has failed."""


def join_without_a_lock(turns: Iterable[NewTurn], *, database: str) -> None:
    """Take places by the clock, some time before the commit."""
    places = [(turn, time.time_ns()) for turn in turns]
    for turn, position in places:
        counter, _ = Sequence.objects.get_or_create(
            receiver=turn.receiver, key=turn.key
        )
        Turn.objects.create(
            delivery_id=turn.delivery_id, sequence_id=counter.pk, position=position
        )
    time.sleep(random.choice((0.0, 1.0)))  # noqa: S311 - others commit meanwhile


def finish_and_keep_the_turn(
    ids: Collection[uuid.UUID], _behind: object, *, lease: int, database: str
) -> tuple[int, None]:
    """Finish ordered deliveries, and keep their turns."""
    return complete(ids, lease=lease, database=database), None


def claim_under_one_token(rows: Any, *args: Any, **options: Any) -> list[Claimed]:
    """Claim under a token that is given out again and again."""
    with patch(f"{claim.__module__}.secrets.randbits", return_value=1):
        return claim_at_random(rows, *args, **options)


def make_nothing_due(*_: object) -> None:
    """Leave the next delivery of a sequence where it was moved away."""


MUTATIONS = {
    "no-relay": Mutation(
        Target(publishing, publishing._schedule), schedule_nothing, "crash-committed"
    ),
    "no-recovery": Mutation(Target(relay, recover), recover_nothing, "crash-claimed"),
    "no-recovery-of-threads": Mutation(
        Target(relay, recover), recover_nothing, "threads-killed"
    ),
    "no-guard": Mutation(
        Target(DeliveryQuerySet, DeliveryQuerySet.claim), claim_in_any_state, "copies"
    ),
    "no-fence": Mutation(
        Target(writing, complete),
        finish_without_lease,
        "worker-paused",
        also=((Target(writing, complete_and_look), finish_in_order_without_lease),),
    ),
    "no-random": Mutation(
        Target(DeliveryQuerySet, claim_at_random),
        claim_under_one_token,
        "claim-forgotten",
        database="postgres",
    ),
    "no-turns": Mutation(
        Target(DeliveryQuerySet, DeliveryQuerySet.claim),
        claim_whatever_the_turn,
        "copies",
    ),
    "no-stop": Mutation(Target(Turns, Turns.stop_at), stop_at_nothing, "copies"),
    "no-lock": Mutation(
        Target(sequences, sequences.join), join_without_a_lock, "ordered-backlog"
    ),
    "no-give-up": Mutation(
        Target(writing, complete_and_look),
        finish_and_keep_the_turn,
        "copies",
        also=(
            (Target(DeliveryQuerySet, DeliveryQuerySet.give_up_turns), give_up_nothing),
        ),
    ),
    "no-wake": Mutation(
        Target(turns, turns._make_due), make_nothing_due, "ordered-crash"
    ),
}


def apply(name: str) -> None:
    """Break the engine of this process."""
    mutation = MUTATIONS[name]
    mutation.target.replace(mutation.replacement)
    for target, replacement in mutation.also:
        target.replace(replacement)
