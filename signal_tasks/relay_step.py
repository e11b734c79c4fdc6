"""The relay of a Celery worker: a thread of its main process, which also forks."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import Any

from celery import bootsteps
from django.db import DatabaseError, InterfaceError, connections

from signal_tasks.conf import settings
from signal_tasks.groups import process
from signal_tasks.models import Delivery
from signal_tasks.relay import Relay

#: Longest wait for a pass of the relay before a fork or at the end (seconds).
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
        relay = Relay(parent.hostname)
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


_passing = threading.Lock()


def _run_relay(relay: Relay, stop: threading.Event) -> None:
    while not stop.is_set():
        with _passing:
            _let_go_for_the_dead()
            relay.run_once()
            _close_files()
        stop.wait(settings().RELAY_INTERVAL)
    relay.leave()


def _let_go_for_the_dead() -> None:
    """End the leases of pool processes that have died, for the relay to recover.

    Those of a worker that died as a whole end when they are over.
    """
    for holding in process.holdings.of_the_dead() if process.holdings else ():
        held = [Delivery(pk=pk, lease=lease) for pk, lease in holding.leases.items()]
        with suppress(DatabaseError, InterfaceError):
            Delivery.objects.using(holding.database).held(held).extend(0)


def _close_files() -> None:
    """Hold no database file open when the pool forks.

    A child that inherited SQLite's view of the file would take the locks of this
    process for its own.
    """
    for connection in connections.all(initialized_only=True):
        if connection.vendor == "sqlite":
            connection.close()


_held_for_fork = threading.local()


def _before_fork() -> None:
    _held_for_fork.yes = _passing.acquire(timeout=PASS_SECONDS)


def _after_fork() -> None:
    if getattr(_held_for_fork, "yes", False):
        _passing.release()


def _after_fork_in_child() -> None:
    global _passing
    _passing = threading.Lock()  # no relay runs here, whatever it was doing there


os.register_at_fork(
    before=_before_fork,
    after_in_parent=_after_fork,
    after_in_child=_after_fork_in_child,
)
