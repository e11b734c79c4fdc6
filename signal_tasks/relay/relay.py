"""The relay: publishes what is due, recovers what was lost, prunes, reports.

Any number of relays may run side by side; none is a leader. Each works on rows that
it has locked, or whose next check it has moved by a statement of its own, so nothing
here needs another relay, a notification or a lock outside of the rows.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from django.db import connections, transaction

from signal_tasks import signals
from signal_tasks.broker.connection import BrokerConnection
from signal_tasks.broker.messages import PublishRequest
from signal_tasks.conf import settings
from signal_tasks.db.aliases import outbox_aliases
from signal_tasks.db.errors import Fault, fault_of
from signal_tasks.db.session import drop, leave_pool
from signal_tasks.models import MAX_PARKED, Delivery
from signal_tasks.registry.registry import registry
from signal_tasks.relay import pruning
from signal_tasks.relay.heartbeat import (
    Heartbeat,
    Watch,
    expire_leases_of_silent_workers,
)
from signal_tasks.relay.recovery import recover
from signal_tasks.relay.rescues import Rescues

#: Rows that one statement of a pass works on.
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
PRUNE_EVERY = 60.0
#: Time that workers have for their writes after an outage of the database, before
#: their leases count as over (seconds).
RECOVER_AFTER_OUTAGE = 5.0


@dataclass(slots=True)
class PassResult:
    """What one pass over one database did."""

    published: int = 0
    recovered: int = 0
    orphaned: int = 0
    pruned: int = 0
    parked: int = 0
    rescued: int = 0


@dataclass(frozen=True, slots=True)
class FullPass:
    """A pass that has left something due: its batches, and what it published last."""

    batches: int
    last: uuid.UUID


@dataclass(slots=True)
class DatabaseState:
    """What a relay remembers of one database between passes (times: monotonic)."""

    prune_at: float = 0.0
    recover_at: float = 0.0
    adopted: bool = False
    watch: Watch = field(default_factory=Watch)
    rescues: Rescues = field(default_factory=Rescues)
    full: FullPass | None = None


class Relay:
    """One relay; ``run_once`` is a pass, ``run_forever`` the loop around it."""

    def __init__(self, name: str, *, heartbeat: Heartbeat | None = None) -> None:
        self._heartbeat = heartbeat or Heartbeat(name)
        self._broker: BrokerConnection | None = None
        self._states: dict[str, DatabaseState] = {}

    def run_forever(
        self, stop: threading.Event, run_pass: Callable[[], object] | None = None
    ) -> None:
        """Run pass after pass until ``stop`` is set; no failure ends the loop.

        ``run_pass`` is called for each pass in place of ``run_once``.
        """
        while not stop.is_set():
            (run_pass or self.run_once)()
            stop.wait(settings().RELAY_INTERVAL)
        self.close()

    def run_once(self) -> dict[str, PassResult]:
        """Run one pass over every database; a failure of one does not harm another."""
        results = {}
        for database in outbox_aliases():
            try:
                results[database] = self._pass(database)
            # The relay survives everything: a database that is down, read-only or
            # not migrated is reported, and tried again in the next pass.
            except Exception as error:  # noqa: BLE001
                self._leave_connection(database, error)
                details = signals.PassFailed(database=database, error=error)
                signals.pass_failed.send_robust(Relay, details=details)
        return results

    def close(self) -> None:
        """Delete this relay's heartbeat rows and close its connections.

        Errors are ignored: the relay stops in any case, and WORKER_TTL tells the
        others.
        """
        for database in self._states:
            with suppress(Exception):
                self._heartbeat.close(database)
            with suppress(Exception):
                drop(database)
        if self._broker is not None:
            self._broker.close()

    def _leave_connection(self, database: str, error: BaseException) -> None:
        """Connect anew in the next pass, and recover nothing for a while.

        While the database was away, workers could neither write what they had done
        nor extend their leases. They do so first.
        """
        with suppress(Exception):
            drop(database)
        if fault_of(error) is Fault.CONNECTION:
            state = self._states.setdefault(database, DatabaseState())
            state.recover_at = time.monotonic() + RECOVER_AFTER_OUTAGE

    def _pass(self, database: str) -> PassResult:
        state = self._states.setdefault(database, DatabaseState())
        result = PassResult()
        now = time.monotonic()
        if not connections[database].in_atomic_block:
            leave_pool(database)  # those who take from it may wait for this relay
            connections[database].close_if_unusable_or_obsolete()
        if self._heartbeat.is_due(database):
            self._heartbeat.report(database, **state.rescues.facts(now=now))
            expire_leases_of_silent_workers(
                database, state.watch, self._heartbeat, now=now
            )
        if not state.adopted:
            Delivery.objects.using(database).adopt(registry.known_names())
            state.adopted = True
        if Delivery.objects.using(database).has_due(early=ORPHAN_AFTER):
            if now >= state.recover_at:
                result.recovered = recover(database)
            self._publish_due(database, state, result)
        if now >= state.prune_at:
            self._prune(database, state, result, now)
        self._announce(database, result)
        return result

    def _prune(
        self, database: str, state: DatabaseState, result: PassResult, now: float
    ) -> None:
        result.pruned = pruning.prune_batch(database)
        Delivery.objects.using(database).forget_extensions()
        more = result.pruned >= pruning.BATCH
        state.prune_at = pruning.next_run_at(now) if more else now + PRUNE_EVERY

    def _announce(self, database: str, result: PassResult) -> None:
        details = signals.PassFinished(
            database=database,
            published=result.published,
            recovered=result.recovered,
            orphaned=result.orphaned,
            pruned=result.pruned,
            parked=result.parked,
            rescued=result.rescued,
        )
        signals.pass_finished.send_robust(Relay, details=details)

    def _publish_due(
        self, database: str, state: DatabaseState, result: PassResult
    ) -> None:
        """Publish what is due, and mark what nobody here can run as orphaned.

        Nothing is scheduled while the broker is left alone after a failure.
        """
        batches = self._next_batches(database, state)
        scheduled: list[Delivery] = []
        for _ in range(batches):
            if self._broker is not None and self._broker.is_resting:
                return
            scheduled, orphans = _schedule(database)
            result.orphaned += orphans
            if scheduled and not self._publish(scheduled, database, state, result):
                return
            if len(scheduled) + orphans < BATCH:
                return
        if scheduled:
            state.full = FullPass(batches, last=scheduled[-1].pk)

    def _next_batches(self, database: str, state: DatabaseState) -> int:
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
        self,
        scheduled: list[Delivery],
        database: str,
        state: DatabaseState,
        result: PassResult,
    ) -> bool:
        """Publish; make it due again if the broker does not take it.

        What cannot be published whatever the broker does is parked.
        """
        if self._broker is None:
            pause = min(settings().RELAY_INTERVAL, settings().BREAKER_SECONDS)
            self._broker = BrokerConnection(pause=pause)
        done = self._broker.publish(_requests(scheduled, database))
        refused = [each for each in scheduled if each.receiver in done.refused]
        sent = [each for each in scheduled if each.receiver not in done.refused]
        if refused:
            result.parked += len(refused)
            _park(refused, done.refused, database)
        if done.error is not None:
            state.rescues.note(done.error, now=time.monotonic())
            rows = Delivery.objects.using(database)
            rows.unschedule([each.pk for each in sent], after=self._broker.pause)
            return False
        result.published += len(sent)
        result.rescued += state.rescues.count(sent, now=time.monotonic())
        _unpark(sent, database)
        return True


def _schedule(database: str) -> tuple[list[Delivery], int]:
    """Schedule the publication of a batch of what is due.

    Return what this process can publish, and the number of orphans.
    """
    names = frozenset(registry.known_names())
    with transaction.atomic(using=database):
        rows = Delivery.objects.using(database)
        due = rows.due(BATCH, names=names, early=ORPHAN_AFTER)
        known = [delivery for delivery in due if delivery.receiver in names]
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
    return known, len(orphans)


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
