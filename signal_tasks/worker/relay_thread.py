"""Run a relay and a reporter in threads of a worker's main process, which also forks."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from celery import bootsteps
from django.db import Error, connections

from signal_tasks.conf import settings
from signal_tasks.db.aliases import outbox_aliases
from signal_tasks.db.session import leave_pool
from signal_tasks.delivery.process import process
from signal_tasks.forks import ForkGuard
from signal_tasks.models import Delivery
from signal_tasks.relay.heartbeat import Heartbeat
from signal_tasks.relay.relay import Relay
from signal_tasks.worker.consumer import consumed_queues

#: How long a fork or the end of the worker waits for a pass of the relay (seconds).
PASS_SECONDS = 5.0
#: How long a fork waits for a report, and how often one is looked for (seconds).
REPORT_SECONDS, LOOK_SECONDS = 2.0, 0.5
#: The relay's report may be late by this fraction of WORKER_TTL.
LATE = 0.15


class RelayStep(bootsteps.StartStopStep):  # type: ignore[misc]
    """A relay and a reporter in threads of the worker's main process.

    Neither is at work while the pool forks: a child must not inherit a lock or a
    connection in the middle of something.

    The relay reports in its passes. The reporter does it when a pass takes long, and
    for a worker without a relay.
    """

    label = "signal_tasks relay"
    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, parent: Any) -> None:
        """Start the threads."""
        if parent.pool.is_green:
            # One receiver that does not wait stops all threads, and with them the
            # reports; the worker would count as gone. Its leases decide.
            process.worker_id = None
        heartbeat = Heartbeat(
            parent.hostname,
            process.worker_id or uuid.uuid4(),
            runs_relay=settings().RELAY_IN_WORKER,
            queues=partial(consumed_queues, parent),
        )
        self._run(_report_forever, heartbeat, "reporter")
        if heartbeat.runs_relay:
            self._run(_relay_forever, heartbeat, "relay")

    def _run(self, run: Callable[..., None], heartbeat: Heartbeat, name: str) -> None:
        thread = threading.Thread(
            target=run,
            args=(heartbeat, self._stop),
            name=f"signal_tasks-{name}",
            daemon=True,
        )
        self._threads.append(thread)
        thread.start()

    def stop(self, parent: Any) -> None:
        """End the loops and wait for the pass that is under way, within bounds."""
        self._stop.set()
        for thread in self._threads:
            thread.join(PASS_SECONDS)

    terminate = stop


_passing = ForkGuard(PASS_SECONDS)
_reporting = ForkGuard(REPORT_SECONDS)


def _relay_forever(heartbeat: Heartbeat, stop: threading.Event) -> None:
    relay = Relay(heartbeat.name, heartbeat=heartbeat)

    def run_pass() -> None:
        with _passing:
            _expire_leases_of_dead_processes()
            relay.run_once()
            _close_files()

    relay.run_forever(stop, run_pass)


def _report_forever(heartbeat: Heartbeat, stop: threading.Event) -> None:
    """Report when the relay is late, or does not run; then leave it to the relay.

    Each time over a new connection: a worker needs no more of them for this.
    """
    late = settings().WORKER_TTL * LATE if heartbeat.runs_relay else 0.0
    while not stop.wait(LOOK_SECONDS):
        for database in outbox_aliases():
            if heartbeat.is_due(database, late=late):
                _with_connection(database, heartbeat.report)
    if not heartbeat.runs_relay:
        for database in outbox_aliases():
            _with_connection(database, heartbeat.close)


def _with_connection(database: str, report: Callable[[str], None]) -> None:
    """Report; a database that is down is told by the relay, not from here."""
    # Whatever goes wrong: without its reporter a worker would count as gone.
    with _reporting, suppress(Exception):
        leave_pool(database)
        try:
            report(database)
        finally:
            connections[database].close()


def _expire_leases_of_dead_processes() -> None:
    """Let the leases of pool processes that have died end; the relay recovers them.

    Those of a worker that died as a whole end when another relay misses its reports.
    """
    if process.leases is None:
        return
    for held in process.leases.leases_of_dead_processes():
        with suppress(Error):
            rows = Delivery.objects.using(held.database)
            rows.extend(held.ids, held.lease, 0)


def _close_files() -> None:
    """Close SQLite connections, so that none is open when the pool forks.

    A child that inherited SQLite's view of the file would take the locks of this
    process for its own.
    """
    for connection in connections.all(initialized_only=True):
        if connection.vendor == "sqlite":
            connection.close()
