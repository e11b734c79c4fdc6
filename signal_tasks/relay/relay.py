"""The relay: publishes what is due, recovers what was lost, prunes, reports.

Any number of relays may run side by side; none is a leader. Each works on rows that
it has locked, or whose next check it has moved by a statement of its own, so nothing
here needs another relay, a notification or a lock outside of the rows.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from django.db import connections

from signal_tasks import signals
from signal_tasks.alerting.rounds import Rounds
from signal_tasks.broker.connection import BrokerConnection
from signal_tasks.conf import settings
from signal_tasks.db.aliases import outbox_aliases
from signal_tasks.db.errors import Fault, fault_of
from signal_tasks.db.session import drop, leave_pool
from signal_tasks.models import Delivery
from signal_tasks.registry.registry import registry
from signal_tasks.relay import operating, pruning, settling
from signal_tasks.relay.heartbeat import (
    Heartbeat,
    Watch,
    expire_leases_of_silent_workers,
)
from signal_tasks.relay.publishing import (
    ORPHAN_AFTER,
    PassResult,
    PublishingState,
    publish_due,
)
from signal_tasks.relay.recovery import recover
from signal_tasks.relay.releasing import is_hurried, release_due
from signal_tasks.steering.holding import prune_held
from signal_tasks.steering.turns import Sweep, sweep

PRUNE_EVERY = 60.0
#: Time from a pass to the next while receivers with limits have held deliveries.
HURRIED_INTERVAL = 0.25
#: Time that workers have for their writes after an outage of the database, before
#: their leases count as over (seconds).
RECOVER_AFTER_OUTAGE = 5.0


@dataclass(slots=True)
class DatabaseState:
    """State that a relay keeps of one database between passes (monotonic times)."""

    prune_at: float = 0.0
    recover_at: float = 0.0
    operate_at: float = 0.0
    adopted: bool = False
    forgotten: bool = False  # no row of a deleted event waits to be settled
    hurried: bool = False  # something is held that may start before long
    held_up_to: uuid.UUID | None = None  # pruning of held deliveries goes on behind it
    watch: Watch = field(default_factory=Watch)
    publishing: PublishingState = field(default_factory=PublishingState)
    turns: Sweep = field(default_factory=Sweep)
    alerts: Rounds = field(default_factory=Rounds)


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
            stop.wait(self._interval())
        self.close()

    def _interval(self) -> float:
        hurried = any(state.hurried for state in self._states.values())
        usual = settings().RELAY_INTERVAL
        return min(usual, HURRIED_INTERVAL) if hurried else usual

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
            else:
                self._tell_of_problems(database)
        return results

    def _tell_of_problems(self, database: str) -> None:
        """Look for problems and tell of them: no part of the pass, which is done."""
        try:
            self._states[database].alerts.run(database)
        # As above: whatever it is, it is reported, and tried again.
        except Exception as error:  # noqa: BLE001
            self._leave_connection(database, error)
            details = signals.AlertFailed(channel="", database=database, error=error)
            signals.alert_failed.send_robust(Relay, details=details)

    def close(self) -> None:
        """Finish its alerts, delete its heartbeat rows, close its connections.

        Errors are ignored: the relay stops in any case, and WORKER_TTL tells the
        others.
        """
        for database, state in self._states.items():
            with suppress(Exception):
                state.alerts.close(database)
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
        if self._heartbeat.is_due(database) or state.watch.misses_somebody:
            self._heartbeat.report(database, **state.publishing.rescues.facts(now=now))
            expire_leases_of_silent_workers(
                database, state.watch, self._heartbeat, now=now
            )
        if not state.adopted:
            Delivery.objects.using(database).adopt(registry.known_names())
            state.adopted = True
        result.released = release_due(database)
        state.hurried = is_hurried(database)
        self._operate(database, state, now)
        if Delivery.objects.using(database).has_due(early=ORPHAN_AFTER):
            self._publish(database, state, result, now)
        settling.sweep(database)
        if now >= state.prune_at:
            self._prune(database, state, result, now)
        self._send_signal(database, result)
        return result

    def _publish(
        self, database: str, state: DatabaseState, result: PassResult, now: float
    ) -> None:
        """Recover leases that are over, and publish what is due."""
        if now >= state.recover_at:
            result.recovered = recover(database)
        if self._broker is None:
            pause = min(settings().RELAY_INTERVAL, settings().BREAKER_SECONDS)
            self._broker = BrokerConnection(pause=pause)
        publish_due(database, self._broker, state.publishing, result)

    def _operate(self, database: str, state: DatabaseState, now: float) -> None:
        """Work off operations in each pass; look for one not more often than needed."""
        if now >= state.operate_at:
            is_open = operating.work_off(database)
            state.operate_at = now + (0.0 if is_open else operating.LOOK_EVERY)

    def _prune(
        self, database: str, state: DatabaseState, result: PassResult, now: float
    ) -> None:
        result.pruned = pruning.prune_batch(database)
        forgotten = pruning.forget_keys(database)
        pruning.prune_trail(database)
        pruning.prune_groups(database)
        Delivery.objects.using(database).forget_extensions()
        pruning.prune_history(database)
        state.forgotten = state.forgotten or settling.forget_deleted(database)
        state.held_up_to = prune_held(state.held_up_to, database=database)
        sweep(state.turns, database=database)
        more = max(result.pruned, forgotten) >= pruning.BATCH
        state.prune_at = pruning.next_run_at(now) if more else now + PRUNE_EVERY

    def _send_signal(self, database: str, result: PassResult) -> None:
        details = signals.PassFinished(
            database=database,
            published=result.published,
            recovered=result.recovered,
            orphaned=result.orphaned,
            pruned=result.pruned,
            parked=result.parked,
            rescued=result.rescued,
            held=result.held,
            released=result.released,
        )
        signals.pass_finished.send_robust(Relay, details=details)
