"""Run a relay in a thread of a worker's main process, which also forks."""

from __future__ import annotations

import os
import threading
import uuid
from contextlib import suppress
from typing import Any

from celery import bootsteps
from django.db import Error, connections

from signal_tasks.delivery.process import process
from signal_tasks.models import Delivery
from signal_tasks.relay.relay import Relay

#: How long a fork or the end of the worker waits for a pass of the relay (seconds).
PASS_SECONDS = 5.0


class RelayStep(bootsteps.StartStopStep):  # type: ignore[misc]
    """A relay in a thread of the worker's main process.

    No pass is under way while the pool forks: a child must not inherit a lock or a
    connection in the middle of something.
    """

    label = "signal_tasks relay"
    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, parent: Any) -> None:
        """Start the thread."""
        relay = Relay(parent.hostname, id=process.worker_id or uuid.uuid4())
        self._thread = threading.Thread(
            target=_run_relay,
            args=(relay, self._stop),
            name="signal_tasks-relay",
            daemon=True,
        )
        self._thread.start()

    def stop(self, parent: Any) -> None:
        """End the loop and wait for the pass that is under way, within bounds."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(PASS_SECONDS)

    terminate = stop


_pass_lock = threading.Lock()


def _run_relay(relay: Relay, stop: threading.Event) -> None:
    def run_pass() -> None:
        with _pass_lock:
            _expire_leases_of_dead_processes()
            relay.run_once()
            _close_files()

    relay.run_forever(stop, run_pass)


def _expire_leases_of_dead_processes() -> None:
    """Let the leases of pool processes that have died end; the relay recovers them.

    Those of a worker that died as a whole end by themselves.
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


_fork = threading.local()


def _before_fork() -> None:
    _fork.locked = _pass_lock.acquire(timeout=PASS_SECONDS)


def _after_fork() -> None:
    if getattr(_fork, "locked", False):
        _pass_lock.release()


def _after_fork_in_child() -> None:
    global _pass_lock
    _pass_lock = threading.Lock()  # no relay runs here, whatever it was doing there


os.register_at_fork(
    before=_before_fork,
    after_in_parent=_after_fork,
    after_in_child=_after_fork_in_child,
)
