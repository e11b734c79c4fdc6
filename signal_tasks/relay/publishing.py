"""Publish what is due; hold what may not start, park what cannot be published."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from django.db import transaction

from signal_tasks.broker.connection import BrokerConnection
from signal_tasks.broker.messages import PublishRequest
from signal_tasks.conf import settings
from signal_tasks.models import MAX_PARKED, Delivery
from signal_tasks.registry.registry import registry
from signal_tasks.relay.rescues import Rescues
from signal_tasks.states import Hold
from signal_tasks.steering.gates import of_paused_signals, shut
from signal_tasks.steering.holding import hold_locked
from signal_tasks.steering.snapshot import Snapshot, snapshot

#: Rows that one statement works on.
BATCH = 1000
#: Batches in one pass, so that a pass ends; more while the workers keep up.
BATCHES = 5
MAX_BATCHES = 20
#: Orphans are looked at again after this time, then after twice that, and so on.
ORPHAN_AFTER = 2.0
ORPHAN_MAX = 60.0
#: Relays that know an orphan's receiver publish it again before long: during a rolling
#: deploy, older workers drop the messages that they do not understand.
ADOPTED_MAX = 15.0
#: What could not be published, for a reason that is not the broker's, is tried again
#: after this time, then after twice that, and so on.
PARKED_AFTER, PARKED_MAX = 2.0, 60.0


@dataclass(slots=True)
class PassResult:
    """Counts of one pass over one database."""

    published: int = 0
    recovered: int = 0
    orphaned: int = 0
    pruned: int = 0
    parked: int = 0
    rescued: int = 0
    held: int = 0
    released: int = 0


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A batch of what was due: what is to be published, and how many are not.

    ``new`` are the orphans that were none before.
    """

    known: list[Delivery]
    orphans: int
    new: int
    held: int

    @property
    def is_full(self) -> bool:
        """True if more may be due."""
        return len(self.known) + self.orphans + self.held >= BATCH


@dataclass(frozen=True, slots=True)
class FullPass:
    """A pass that has left something due: its batches, and what it published last."""

    batches: int
    last: uuid.UUID


@dataclass(slots=True)
class PublishingState:
    """State that a relay keeps of its publications from one database."""

    rescues: Rescues = field(default_factory=Rescues)
    full: FullPass | None = None


def publish_due(
    database: str,
    broker: BrokerConnection,
    state: PublishingState,
    result: PassResult,
) -> None:
    """Publish what is due and may start, and mark what nobody here can run as orphaned.

    Nothing is scheduled while the broker is left alone after a failure.
    """
    batches = _next_batches(database, state)
    known: list[Delivery] = []
    for _ in range(batches):
        if broker.is_resting:
            return
        scheduled = _schedule(database)
        known = scheduled.known
        result.orphaned += scheduled.new
        result.held += scheduled.held
        if known and not _publish(known, database, broker, state, result):
            return
        if not scheduled.is_full:
            return
    if known:
        state.full = FullPass(batches, last=known[-1].pk)


def _next_batches(database: str, state: PublishingState) -> int:
    """Return twice as many as before when the workers have claimed all of it.

    To schedule more than they can run takes the time of the database from them, a
    quarter of it with a million deliveries pending.
    """
    before, state.full = state.full, None
    if before is None:
        return BATCHES
    rows = Delivery.objects.using(database)
    waiting = rows.filter(pk=before.last, publish_count__gt=0)
    return BATCHES if waiting.exists() else min(2 * before.batches, MAX_BATCHES)


def _publish(
    scheduled: list[Delivery],
    database: str,
    broker: BrokerConnection,
    state: PublishingState,
    result: PassResult,
) -> bool:
    """Publish; make it due again if the broker does not take it.

    What cannot be published whatever the broker does is parked.
    """
    done = broker.publish(_requests(scheduled, database))
    refused = [each for each in scheduled if each.receiver in done.refused]
    sent = [each for each in scheduled if each.receiver not in done.refused]
    if refused:
        result.parked += len(refused)
        _park(refused, done.refused, database)
    if done.error is not None:
        state.rescues.note(done.error, now=time.monotonic())
        rows = Delivery.objects.using(database)
        rows.unschedule([each.pk for each in sent], after=broker.pause)
        return False
    result.published += len(sent)
    result.rescued += state.rescues.count(sent, now=time.monotonic())
    _unpark(sent, database)
    return True


def _schedule(database: str) -> Scheduled:
    """Schedule the publication of a batch of what is due; hold what may not start."""
    names = frozenset(registry.known_names())
    current = snapshot(database)
    with transaction.atomic(using=database):
        rows = Delivery.objects.using(database)
        due = rows.due(BATCH, names=names, early=ORPHAN_AFTER)
        known = [delivery for delivery in due if delivery.receiver in names]
        to_hold = _to_hold(known, current, database)
        if to_hold:
            hold_locked(to_hold, database=database)
            held = {delivery.pk for delivery, _, _ in to_hold}
            known = [delivery for delivery in known if delivery.pk not in held]
        orphans = [delivery for delivery in due if delivery.receiver not in names]
        adopted = [delivery for delivery in known if delivery.orphaned]
        others = [delivery for delivery in known if not delivery.orphaned]
        ordinary = [delivery for delivery in others if not delivery.parked]
        parked = [delivery for delivery in others if delivery.parked]
        after, longest = settings().REPUBLISH_AFTER, settings().REPUBLISH_MAX
        rows.schedule_publication(ordinary, after=after, longest=longest)
        rows.schedule_publication(parked, after=PARKED_AFTER, longest=PARKED_MAX)
        for some, most in ((adopted, ADOPTED_MAX), (orphans, ORPHAN_MAX)):
            rows.schedule_publication(
                some, after=ORPHAN_AFTER, longest=most, orphaned=True
            )
    new = sum(not delivery.orphaned for delivery in orphans)
    return Scheduled(known, orphans=len(orphans), new=new, held=len(to_hold))


def _to_hold(
    known: Sequence[Delivery], current: Snapshot, database: str
) -> list[tuple[Delivery, str, Hold]]:
    """Return what may not start now, with the gate to hold it at and why."""
    if current.is_empty:
        return []
    at_own_gate: dict[str, tuple[str, Hold]] = {}
    for name in {delivery.receiver for delivery in known}:
        receiver = registry.receiver(name)
        why = receiver and shut(receiver, current)
        if receiver and why:
            at_own_gate[name] = receiver.oldest_name, why
    others = [delivery.pk for delivery in known if delivery.receiver not in at_own_gate]
    at_gates = of_paused_signals(others, current, database)
    gates = {pk: (gate, Hold.PAUSED) for gate, ids in at_gates.items() for pk in ids}
    return [
        (each, *(at_own_gate.get(each.receiver) or gates[each.pk]))
        for each in known
        if each.receiver in at_own_gate or each.pk in gates
    ]


def _park(
    refused: list[Delivery], errors: Mapping[str, BaseException], database: str
) -> None:
    """Park deliveries that cannot be published, with the reason."""
    rows = Delivery.objects.using(database)
    for receiver, error in errors.items():
        reason = f"{type(error).__name__}: {error}"[:MAX_PARKED]
        some = [each for each in refused if each.receiver == receiver]
        rows.park([d.pk for d in some if not d.parked], reason, after=PARKED_AFTER)
        rows.park([d.pk for d in some if d.parked not in ("", reason)], reason)


def _unpark(sent: list[Delivery], database: str) -> None:
    """Unpark what could be published this time."""
    ids = [delivery.pk for delivery in sent if delivery.parked]
    if ids:
        Delivery.objects.using(database).unpark(ids)


def _requests(scheduled: list[Delivery], database: str) -> Iterator[PublishRequest]:
    """Yield a request each; an isolated delivery gets a message of its own."""
    for delivery in scheduled:
        yield PublishRequest(
            receiver=delivery.receiver,
            database=database,
            ids=[str(delivery.pk)],
            chunk=1 if delivery.isolated else None,
        )
