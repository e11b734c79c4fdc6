"""Owes again what workers held that died or hung, or gives it up as lost."""

from __future__ import annotations

import random

from django.db import transaction

from signal_tasks.conf import settings
from signal_tasks.models import Attempt, Delivery
from signal_tasks.registry import registry
from signal_tasks.retry import RetryPolicy
from signal_tasks.states import Reason, State

#: Leases that one transaction sees to, and transactions in one pass of the relay.
BATCH = 1000
BATCHES = 20

WORKER_LOST = "WorkerLost"
ALONE = "The lease was over before the receiver ended: its worker died or hung."
AMONG_OTHERS = (
    "The lease was over while the worker held several deliveries: it died or hung in "
    "one of them. This one is run again, alone, without having lost an attempt."
)

_rng = random.Random()  # noqa: S311 - spreads retries; not a secret


def recover(database: str) -> int:
    """Owe again, or give up, what was running under leases that are over.

    A delivery that was taken among others goes back without an attempt, to be taken
    alone from now on: which of them killed the worker is not known yet. The one that
    is then lost alone did it, and pays for both times.
    """
    recovered = 0
    for _ in range(BATCHES):
        with transaction.atomic(using=database):
            lost = Delivery.objects.using(database).expired(BATCH)
            among_others = [d for d in lost if not d.alone]
            held = Delivery.objects.using(database).held(among_others)
            if among_others:
                held.hand_back(alone=True)
            for delivery in lost:
                if delivery.alone:
                    _count_lost(delivery, database)
                else:
                    _record_lost(delivery, database, AMONG_OTHERS)
        recovered += len(lost)
        if len(lost) < BATCH:
            break
    return recovered


def _count_lost(delivery: Delivery, database: str) -> None:
    policy = _policy(delivery.receiver)
    held = Delivery.objects.using(database).held([delivery])
    if _was_lost_among_others(delivery, database):
        delivery.attempts += 1
        held.update(attempts=delivery.attempts)
    dead = delivery.attempts >= policy.max_attempts
    if dead:
        held.end(State.DEAD, Reason.LOST)
    else:
        held.postpone(policy.delay(delivery.attempts, _rng), alone=True)
    _record_lost(delivery, database, ALONE, dead=dead)


def _was_lost_among_others(delivery: Delivery, database: str) -> bool:
    """Whether this very attempt was lost before, and given back uncounted."""
    attempts = Attempt._base_manager.using(database)
    same = attempts.filter(delivery=delivery, number=delivery.attempts)
    return same.filter(error_type=WORKER_LOST).exists()


def _record_lost(
    delivery: Delivery, database: str, error: str, *, dead: bool = False
) -> None:
    Attempt._base_manager.using(database).create(
        delivery=delivery,
        number=delivery.attempts,
        outcome=Attempt.Outcome.DEAD if dead else Attempt.Outcome.RETRIED,
        error_type=WORKER_LOST,
        error=error,
    )


def _policy(name: str) -> RetryPolicy:
    receiver = registry.receiver(name)
    return (receiver and receiver.options.retry) or settings().RETRY
