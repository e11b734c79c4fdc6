"""Recover deliveries whose lease is over: their workers died or hung.

# Note [Isolation]
Which of several deliveries killed its worker is not known, so those that were claimed
together are released without an attempt, and claimed one by one from now on. The one
that is lost again while isolated did it, and pays for both times.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from django.db import transaction

from signal_tasks import signals
from signal_tasks.conf import settings
from signal_tasks.db import failures
from signal_tasks.db.clock import DatabaseNow
from signal_tasks.db.failures import Failure
from signal_tasks.exceptions import WorkerLost
from signal_tasks.fingerprints import Fingerprint, fingerprint
from signal_tasks.models import Attempt, Delivery, Event
from signal_tasks.registry.registry import registry
from signal_tasks.retry import RetryDecision, RetryPolicy, decide
from signal_tasks.settling import settle_of
from signal_tasks.states import Reason, State

#: Leases that one transaction recovers, and transactions in one pass of the relay.
BATCH = 1000
BATCHES = 20

ISOLATED = WorkerLost(
    "The lease was over before the receiver had finished: its worker died or hung."
)
AMONG_OTHERS = WorkerLost(
    "The lease was over while the worker held several deliveries: it died or hung in "
    "one of them. This one is run again, isolated. The attempt counts only if its worker "
    "dies again meanwhile: then for both times."
)

_rng = random.Random()  # noqa: S311 - spreads retries; not a secret


def recover(database: str) -> int:
    """Recover running deliveries whose lease is over; see Note [Isolation].

    Each is released, scheduled for a retry, or dead as ``lost``. Return their number.
    """
    recovered = 0
    for _ in range(BATCHES):
        with transaction.atomic(using=database):
            lost = Delivery.objects.using(database).expired_leases(BATCH)
            released = _release([d for d in lost if not d.isolated], database)
            counted, dead = _count([d for d in lost if d.isolated], database)
            _record([*released, *counted], database)
        for details in dead:
            signals.delivery_dead.send_robust(Delivery, details=details)
        if dead:
            settle_of([details.delivery_id for details in dead], database=database)
        recovered += len(lost)
        if len(lost) < BATCH:
            break
    return recovered


class Lost(NamedTuple):
    """A lost attempt, to be recorded."""

    delivery: Delivery
    error: WorkerLost
    consequence: Attempt.Consequence


def _release(lost: Sequence[Delivery], database: str) -> list[Lost]:
    """Release deliveries that were claimed together; their attempt does not count."""
    by_lease: dict[int, list[uuid.UUID]] = {}
    for delivery in lost:
        by_lease.setdefault(delivery.lease, []).append(delivery.pk)
    for lease, ids in by_lease.items():
        Delivery.objects.using(database).release(ids, lease, isolated=True)
    released = Attempt.Consequence.RELEASED
    return [Lost(each, AMONG_OTHERS, released) for each in lost]


def _count(
    lost: Sequence[Delivery], database: str
) -> tuple[list[Lost], list[signals.DeliveryDead]]:
    """Count the attempt of isolated deliveries; return it, and what has become dead."""
    released = _released_before(lost, database)
    ages = _ages(lost, database)
    records, dead = [], []
    for delivery in lost:
        if delivery.pk in released:
            delivery.attempts += 1
            rows = Delivery.objects.using(database)
            rows.count_attempt([delivery.pk], delivery.lease)
        decision = decide(
            _policy(delivery),
            ISOLATED,
            attempt=delivery.attempts,
            age=ages.get(delivery.event_id, 0.0),
            rng=_rng,
        )
        _apply(decision, delivery, database)
        consequence = Attempt.Consequence.RETRIED
        if decision.reason:
            consequence = Attempt.Consequence.DEAD
            dead.append(_dead(delivery, decision.reason, database))
        records.append(Lost(delivery, ISOLATED, consequence))
    return records, dead


def _apply(decision: RetryDecision, delivery: Delivery, database: str) -> None:
    rows = Delivery.objects.using(database)
    ids, lease = [delivery.pk], delivery.lease
    if decision.reason:
        rows.finish(ids, lease, State.DEAD, decision.reason)
        receiver = registry.receiver(delivery.receiver)
        if receiver is not None and receiver.skips_dead:
            rows.give_up_turns(ids)
    else:
        rows.schedule_retry(ids, lease, delay=decision.delay, isolated=True)


def _released_before(lost: Sequence[Delivery], database: str) -> Collection[uuid.UUID]:
    """Return the deliveries of which this very attempt was lost before, uncounted.

    What a lost connection has released does not count against them.
    """
    numbers = {delivery.pk: (delivery.run, delivery.attempts) for delivery in lost}
    if not numbers:
        return ()
    attempts = Attempt.objects.using(database).filter(
        delivery_id__in=numbers,
        consequence=Attempt.Consequence.RELEASED,
        error_type=WorkerLost.__qualname__,
    )
    return {
        pk
        for pk, run, number in attempts.values_list("delivery_id", "run", "number")
        if numbers[pk] == (run, number)
    }


def _ages(lost: Sequence[Delivery], database: str) -> Mapping[uuid.UUID, float]:
    """Return the age of each event, in seconds by the database's clock.

    Asked only for receivers with ``give_up_after``.
    """
    wanted = [d.event_id for d in lost if _policy(d).give_up_after is not None]
    if not wanted:
        return {}
    events = Event.objects.using(database).filter(pk__in=wanted)
    rows = events.annotate(now=DatabaseNow()).values_list("pk", "sent_at", "now")
    return {pk: (now - sent_at).total_seconds() for pk, sent_at, now in rows}


def _policy(delivery: Delivery) -> RetryPolicy:
    receiver = registry.receiver(delivery.receiver)
    return receiver.policy if receiver is not None else settings().RETRY


def _record(lost: Sequence[Lost], database: str) -> None:
    """Record lost attempts, then count them: Note [Failure groups]."""
    found = {
        (each.delivery.receiver, each.error): fingerprint(
            each.delivery.receiver, each.error
        )
        for each in lost
    }
    prints = [found[each.delivery.receiver, each.error] for each in lost]
    Attempt.objects.using(database).bulk_create(map(_attempt, lost, prints))
    failures.count(map(_failure, lost, prints), database=database)


def _attempt(lost: Lost, found: Fingerprint) -> Attempt:
    return Attempt(
        delivery=lost.delivery,
        run=lost.delivery.run,
        number=lost.delivery.attempts,
        consequence=lost.consequence,
        error_type=type(lost.error).__qualname__,
        error=str(lost.error),
        fingerprint=found.value,
    )


def _failure(lost: Lost, found: Fingerprint) -> Failure:
    return Failure(found, lost.delivery.receiver, str(lost.error))


def _dead(delivery: Delivery, reason: Reason, database: str) -> signals.DeliveryDead:
    return signals.DeliveryDead(
        delivery_id=delivery.pk,
        receiver=delivery.receiver,
        database=database,
        run=delivery.run,
        attempt=delivery.attempts,
        reason=reason,
        error=str(ISOLATED),
    )
