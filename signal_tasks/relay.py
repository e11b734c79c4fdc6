"""The safety net: publishes what is owed, recovers what was lost, prunes.

Any number of relays may run side by side; none is a leader. Each works on rows
that it locked or claimed by a statement of its own, so nothing here needs another
relay, a notification or a lock outside of the rows.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

from django.db import connections, transaction

from signal_tasks import retention, signals
from signal_tasks.broker import Link
from signal_tasks.clock import DatabaseNow, from_now
from signal_tasks.conf import settings
from signal_tasks.exceptions import BrokerUnavailable
from signal_tasks.models import Delivery, Worker
from signal_tasks.outbox import aliases
from signal_tasks.publisher import Parcel, messages_for
from signal_tasks.recovery import recover
from signal_tasks.registry import registry
from signal_tasks.retention import prune_some, rested

#: Rows that one statement of a pass works on.
BATCH = 1000
#: Batches in one pass, so that a pass ends; more while the workers keep up.
BATCHES = 5
MOST_BATCHES = 20
#: Orphans are looked at again after this time, then after twice that, and so on.
ORPHAN_AFTER = 2.0
ORPHAN_MAX = 60.0
#: Those who know an orphan's receiver publish for it again before long: during a
#: rolling deploy, older workers drop the messages that they do not understand.
ADOPTED_MAX = 15.0
HEARTBEAT_EVERY = 5.0
PRUNE_EVERY = 60.0
#: A worker's row is deleted when it was not seen for this long.
FORGET_WORKER_AFTER = timedelta(days=1)


@dataclass(slots=True)
class Passage:
    """What one pass over one database did."""

    published: int = 0
    recovered: int = 0
    orphaned: int = 0
    pruned: int = 0


@dataclass(frozen=True, slots=True)
class FullPass:
    """A pass that has left something due: its batches, and what it published last."""

    batches: int
    last: uuid.UUID


@dataclass(slots=True)
class Relay:
    """One relay; ``run_once`` is a pass, ``run_forever`` the loop around it."""

    name: str
    id: uuid.UUID = field(default_factory=uuid.uuid4)
    _link: Link | None = None
    _broker_again_at: float = 0.0
    _seen: dict[str, float] = field(default_factory=dict)
    _prune_at: dict[str, float] = field(default_factory=dict)
    _adopted: set[str] = field(default_factory=set)
    _full: dict[str, FullPass] = field(default_factory=dict)

    def run_forever(self, stop: threading.Event) -> None:
        """Pass after pass until ``stop`` is set; no failure ends the loop."""
        while not stop.is_set():
            self.run_once()
            stop.wait(settings().RELAY_INTERVAL)
        self.leave()

    def run_once(self) -> dict[str, Passage]:
        """One pass over every database; the failure of one does not harm another."""
        passages = {}
        for database in aliases():
            try:
                passages[database] = self._pass(database)
            # The relay outlives everything: a database that is down, read-only or
            # not migrated is reported, and tried again in the next pass.
            except Exception as error:  # noqa: BLE001
                with suppress(Exception):
                    _let_go(database)
                signals.relay_failed.send_robust(
                    sender=Relay, database=database, error=error
                )
        return passages

    def leave(self) -> None:
        """Say that this relay is gone, as far as the databases can be reached."""
        for database in self._seen:
            # It is going in any case; if it cannot say so, WORKER_TTL will.
            with suppress(Exception):
                Worker._base_manager.using(database).filter(pk=self.id).delete()
            _let_go(database)
        if self._link is not None:
            self._link.close()

    def _pass(self, database: str) -> Passage:
        passage = Passage()
        now = time.monotonic()
        if not connections[database].in_atomic_block:
            connections[database].close_if_unusable_or_obsolete()
        if now >= self._seen.get(database, 0.0):
            self._be_seen(database)
            self._seen[database] = now + HEARTBEAT_EVERY
        self._adopt_orphans(database)
        if Delivery.objects.using(database).any_to_see_to(early=ORPHAN_AFTER):
            passage.recovered = recover(database)
            self._see_to_what_is_due(database, passage)
        if now >= self._prune_at.get(database, 0.0):
            passage.pruned = prune_some(database)
            more = passage.pruned >= retention.BATCH
            self._prune_at[database] = rested(now) if more else now + PRUNE_EVERY
            _forget_workers(database)
        signals.relay_passed.send_robust(
            sender=Relay, database=database, passage=passage
        )
        return passage

    def _be_seen(self, database: str) -> None:
        workers = Worker._base_manager.using(database)
        mine = workers.filter(pk=self.id)
        if not mine.update(seen_at=DatabaseNow()):
            workers.create(pk=self.id, name=self.name)

    def _adopt_orphans(self, database: str) -> None:
        """Once: what was owed to a receiver that only newer code knows is due now."""
        if database in self._adopted:
            return
        Delivery.objects.using(database).adopt(registry.known_names())
        self._adopted.add(database)

    def _see_to_what_is_due(self, database: str, passage: Passage) -> None:
        """Publish what is due, and mark what nobody here can run as orphaned.

        Nothing is claimed while the broker is left alone after a failure.
        """
        batches = self._next_batches(database)
        for _ in range(batches):
            if time.monotonic() < self._broker_again_at:
                return
            claimed, orphans = _claim(database)
            passage.orphaned += orphans
            if claimed and not self._publish(claimed, database):
                return
            passage.published += len(claimed)
            if len(claimed) + orphans < BATCH:
                return
        if claimed:
            self._full[database] = FullPass(batches, last=claimed[-1].pk)

    def _next_batches(self, database: str) -> int:
        """Twice as many as before when the workers have had all of it by now.

        To claim more than they can work off takes the time of the database from them,
        a quarter of it with a million deliveries owed.
        """
        before = self._full.pop(database, None)
        if before is None:
            return BATCHES
        waiting = Delivery.objects.using(database).filter(pk=before.last, relays__gt=0)
        return BATCHES if waiting.exists() else min(2 * before.batches, MOST_BATCHES)

    def _publish(self, claimed: list[Delivery], database: str) -> bool:
        """Publish the claimed; when the broker does not take them, owe them again."""
        if self._link is None:
            self._link = Link(settings().PUBLISH_TIMEOUT)
        try:
            self._link.publish(messages_for(_parcels(claimed, database)))
        except BrokerUnavailable as error:
            wait = min(settings().RELAY_INTERVAL, settings().BREAKER_SECONDS)
            self._broker_again_at = time.monotonic() + wait
            pks = [delivery.pk for delivery in claimed]
            Delivery.objects.using(database).unclaim(pks, after=wait)
            signals.broker_failed.send_robust(sender=Relay, error=error)
            return False
        return True


def _forget_workers(database: str) -> None:
    old = from_now(-FORGET_WORKER_AFTER.total_seconds())
    Worker._base_manager.using(database).filter(seen_at__lt=old).delete()


def _let_go(database: str) -> None:
    """Close the connection, unless a test has a transaction open around us."""
    if not connections[database].in_atomic_block:
        connections[database].close()


def _claim(database: str) -> tuple[list[Delivery], int]:
    """Claim a batch of what is due; what is for us, and how many are orphans."""
    names = frozenset(registry.known_names())
    with transaction.atomic(using=database):
        rows = Delivery.objects.using(database)
        due = rows.due(BATCH, names=names, early=ORPHAN_AFTER)
        known = [delivery for delivery in due if delivery.receiver in names]
        orphans = [delivery for delivery in due if delivery.receiver not in names]
        after, longest = settings().REPUBLISH_AFTER, settings().REPUBLISH_MAX
        ordinary = [delivery for delivery in known if not delivery.orphaned]
        rows.claim(ordinary, after=after, longest=longest)
        adopted = [delivery for delivery in known if delivery.orphaned]
        for some, most in ((adopted, ADOPTED_MAX), (orphans, ORPHAN_MAX)):
            rows.claim(some, after=ORPHAN_AFTER, longest=most, orphaned=True)
    return known, len(orphans)


def _parcels(claimed: list[Delivery], database: str) -> Iterator[Parcel]:
    """A delivery that killed a worker goes alone, so that it harms no other."""
    for delivery in claimed:
        yield Parcel(
            receiver=delivery.receiver,
            database=database,
            ids=[str(delivery.pk)],
            chunk=1 if delivery.alone else None,
        )
