"""Count what this process does, and add it to the history every few seconds.

Runs in workers and relays. A receiver's thread appends to a queue in memory and goes
on; a daemon thread of the process counts what is queued and writes it, over a
connection that it opens and closes each time. Nothing happens in a process that has
nothing to count. See Note [History] in ``models.history``.

What was not written yet is written at the end of the process, whoever ends it in order;
a process that is killed loses at most the last few seconds of it. A database that
cannot be written is tried again, with all that has come together meanwhile.
"""

from __future__ import annotations

import atexit
import os
import random
import threading
import time
from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from django.db import connections

from signal_tasks import signals
from signal_tasks.conf import settings
from signal_tasks.db.aliases import outbox_aliases
from signal_tasks.db.session import leave_pool
from signal_tasks.exceptions import Retry
from signal_tasks.forks import ForkGuard
from signal_tasks.models.history import (
    ALL,
    ATTEMPTS,
    RELAYS,
    RUN,
    SECONDS,
    TRIES,
    WAIT,
    History,
)
from signal_tasks.registry.naming import PROBE
from signal_tasks.states import Reason, State

#: Time between two writes of a process (seconds); each is up to a fifth shorter, so
#: that the processes of a worker do not all write at once.
INTERVAL = 5.0
#: How long a fork waits for a write, and the end of the process for the last one.
FORK_SECONDS, EXIT_SECONDS = 2.0, 2.0
#: How soon the last write is tried again, if it fails (seconds).
TRY_AGAIN = 0.1

#: Numbers for columns.
Counts = defaultdict[str, float]


class Attempt(NamedTuple):
    """A finished attempt; ``last`` is its number if no other follows, else 0."""

    database: str
    receiver: str
    outcome: str
    seconds: float
    waited: float
    last: int

    def add_to(self, counts: Counts) -> None:
        """Add it to the columns of its receiver."""
        _, _, outcome, seconds, waited, last = self
        counts[outcome] += 1
        counts[WAIT[bisect_left(SECONDS, waited)]] += 1
        counts[RUN[bisect_left(SECONDS, seconds)]] += 1
        counts["wait_seconds"] += waited
        counts["run_seconds"] += seconds
        if last:
            counts["attempts"] += last
            counts[TRIES[bisect_left(ATTEMPTS, last)]] += 1


class Other(NamedTuple):
    """Anything else that is counted, as numbers for columns."""

    database: str
    receiver: str
    given: dict[str, float]

    def add_to(self, counts: Counts) -> None:
        """Add it to the columns of its receiver."""
        for column, number in self.given.items():
            counts[column] += number


class Recorder:
    """The counts of this process, and the thread that writes them."""

    def __init__(self) -> None:
        self._reset()
        os.register_at_fork(after_in_child=self._reset)
        atexit.register(self.close)

    def _reset(self) -> None:
        """Begin with nothing; a child leaves to its parent what that has counted."""
        self._queue: deque[Attempt | Other] = deque()
        #: By outbox and receiver.
        self._pending: dict[str, dict[str, Counts]] = {}
        self._starting = threading.Lock()
        self._writing = threading.Lock()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._until = 0.0

    def add(self, entry: Attempt | Other) -> None:
        """Count something; never block, never raise."""
        self._queue.append(entry)
        if not self._wake.is_set():
            self._wake.set()
            if self._thread is None or not self._thread.is_alive():
                self._start()

    def write(self) -> bool:
        """Write now what this process has counted; return False if some is left."""
        with self._writing:
            self._count()
            for database in list(self._pending):
                # The history must not harm what it tells of. What a database does not
                # take is kept for the next time.
                with suppress(Exception):
                    _write(database, self._pending[database])
                    del self._pending[database]
            return not self._pending

    def close(self, seconds: float = EXIT_SECONDS) -> None:
        """Write what was counted, within these seconds, at the end of the process."""
        thread = self._thread
        if thread is None or not thread.is_alive():
            return
        self._until = time.monotonic() + seconds
        self._closing.set()
        self._wake.set()
        thread.join(seconds)

    def _start(self) -> None:
        if not (starting := self._starting).acquire(blocking=False):
            return  # another thread does it: see ``Publisher._start``
        try:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._run, name="signal_tasks-history", daemon=True
                )
                with suppress(RuntimeError):  # no threads are to be had, or at the end
                    self._thread.start()
        finally:
            starting.release()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait()
            self._closing.wait(INTERVAL * random.uniform(0.8, 1.0))  # noqa: S311
            self._wake.clear()
            if not self._write_guarded():
                self._wake.set()
        while self._wake.is_set() and time.monotonic() < self._until:
            time.sleep(TRY_AGAIN)
            if self._write_guarded():
                return

    def _write_guarded(self) -> bool:
        with _guard:
            return self.write()

    def _count(self) -> None:
        while self._queue:
            entry = self._queue.popleft()
            of_outbox = self._pending.setdefault(entry.database, {})
            if entry.receiver not in of_outbox:
                of_outbox[entry.receiver] = defaultdict(float)
            entry.add_to(of_outbox[entry.receiver])


def _write(database: str, counts: dict[str, Counts]) -> None:
    # Test events are none of the project's.
    ours = {name: each for name, each in counts.items() if name != PROBE}
    if not ours:
        return
    leave_pool(database)
    try:
        History.objects.using(database).add(ours)
    finally:
        if not connections[database].in_atomic_block:  # of a test
            connections[database].close()


_guard = ForkGuard(FORK_SECONDS)
recorder = Recorder()


_started = False


def start() -> None:
    """Count what this process does from now on, unless ``HISTORY`` is off.

    Calling it again changes nothing.
    """
    global _started
    if settings().HISTORY:
        _started = True
        for signal, listener in LISTENERS:
            signal.connect(listener, dispatch_uid=_uid(listener))


@contextmanager
def started() -> Iterator[None]:
    """Count what this process does in the block, and write it at its end.

    In a process that counts all it does, this is a part of it.
    """
    before = _started
    start()
    try:
        yield
    finally:
        recorder.write()
        if not before:
            _stop()


def _stop() -> None:
    global _started
    _started = False
    for signal, listener in LISTENERS:
        signal.disconnect(dispatch_uid=_uid(listener))


def _uid(listener: Any) -> str:
    return f"signal_tasks.history{listener.__name__}"


def _attempt_finished(details: signals.AttemptFinished, **_: object) -> None:
    goes_on = details.state is State.PENDING
    recorder.add(
        Attempt(
            details.database,
            details.receiver,
            _outcome(details),
            details.seconds,
            details.waited,
            0 if goes_on else details.attempt,
        )
    )


def _outcome(details: signals.AttemptFinished) -> str:
    if details.state is State.SUCCEEDED:
        return "succeeded"
    if details.state is State.PENDING:
        return "deferred" if isinstance(details.error, Retry) else "retried"
    return "skipped" if details.state is State.DISCARDED else details.state.value


def _delivery_dead(details: signals.DeliveryDead, **_: object) -> None:
    """Count what a relay found dead; an attempt of a worker is counted as it finishes."""
    if details.reason == Reason.LOST:
        tries = TRIES[bisect_left(ATTEMPTS, details.attempt)]
        numbers = {"dead": 1.0, "attempts": float(details.attempt), tries: 1.0}
        recorder.add(Other(details.database, details.receiver, numbers))


def _delivery_fenced(details: signals.DeliveryFenced, **_: object) -> None:
    recorder.add(Other(details.database, details.receiver, {"fenced": 1}))


def _deliveries_released(details: signals.DeliveriesReleased, **_: object) -> None:
    numbers = {"released": float(details.count)}
    recorder.add(Other(details.database, details.receiver, numbers))


def _publication_failed(details: signals.PublicationFailed, **_: object) -> None:
    """Count a failure of the broker in the first outbox: it is about all of them."""
    numbers = {"publication_failures": 1.0}
    recorder.add(Other(outbox_aliases()[0], details.receiver or ALL, numbers))


def _pass_finished(details: signals.PassFinished, **_: object) -> None:
    done = {name: getattr(details, name) for name in RELAYS if getattr(details, name)}
    if done:
        recorder.add(Other(details.database, ALL, done))


LISTENERS: tuple[tuple[Any, Any], ...] = (
    (signals.attempt_finished, _attempt_finished),
    (signals.delivery_dead, _delivery_dead),
    (signals.delivery_fenced, _delivery_fenced),
    (signals.deliveries_released, _deliveries_released),
    (signals.publication_failed, _publication_failed),
    (signals.pass_finished, _pass_finished),
)
