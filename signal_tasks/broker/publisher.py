"""Publish after commit, in a thread that the request never waits for.

The request appends to a queue in memory and goes on. One daemon thread of the
process groups what waits by receiver, publishes at once when idle and in chunks
when busy, and leaves a broker that failed alone for a while. Whatever it drops, a
relay publishes later: the rows are in the database.

# Note [Forks and ends]
A process may be forked at any time, by a server that has loaded the project first, by a
pool, by ``multiprocessing``. A fork waits for the publication that is under way, so that
the child inherits no half-made import and no lock of this thread; then the child has a
publisher of its own. uWSGI forks without telling Python: its process ids tell.

At the end of the process the publisher is flushed, whoever ends it in order: the
interpreter, ``multiprocessing``, billiard, or Celery's pool. Only ``os._exit`` and
signals leave what was sent within the last milliseconds to a relay.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Any

from django.db import connections

from signal_tasks import signals
from signal_tasks.broker.config import load_transport
from signal_tasks.broker.connection import BrokerConnection
from signal_tasks.broker.messages import PublishRequest
from signal_tasks.conf import settings
from signal_tasks.forks import ForkGuard

#: How long the end of the process waits for what is still to be published (seconds).
EXIT_SECONDS = 2.0
#: How long a fork waits for the publication that is under way (seconds).
FORK_SECONDS = 2.0
#: Sends per second to one receiver that make a process a busy one.
BUSY_RATE = 150.0
#: A busy process publishes after up to so many times PUBLISH_INTERVAL.
MAX_PAUSE_FACTOR = 5


class Publisher:
    """The publishing thread of this process; started when first needed.

    See Note [Forks and ends].
    """

    def __init__(self) -> None:
        self._reset()
        os.register_at_fork(after_in_child=self._reset)
        atexit.register(self.close)

    def _reset(self) -> None:
        self._ends = False
        self._waiting: deque[PublishRequest] = deque()
        self._waiting_ids = 0
        self._wake = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._connection = BrokerConnection()
        self._pid = os.getpid()  # last: other threads then use what is above

    def submit(self, request: PublishRequest) -> None:
        """Publish soon; never block and never raise.

        Beyond ``PUBLISH_BACKLOG`` waiting ids the request is left to a relay.
        """
        self._notice_fork()
        if self._thread is None or not self._thread.is_alive():
            self._start()
        if self._waiting_ids >= settings().PUBLISH_BACKLOG:
            return
        self._waiting_ids += len(request.ids)
        self._waiting.append(request)
        self._idle.clear()
        self._wake.set()

    def flush(self, timeout: float) -> bool:
        """Wait until nothing waits any more; return False when time ran out."""
        self._notice_fork()
        until = time.monotonic() + timeout
        # Idle for a moment between two bursts is not idle yet.
        while not self._idle.wait(until - time.monotonic()) or self._waiting:
            if time.monotonic() >= until:
                return False
        return True

    def close(self) -> None:
        """Publish what waits, within EXIT_SECONDS, at the end of the process."""
        if self._pid != os.getpid() or self._thread is None:
            return
        if self._thread.is_alive():
            self.flush(EXIT_SECONDS)

    def _notice_fork(self) -> None:
        if self._pid != os.getpid():
            self._reset()

    def _start(self) -> None:
        """Start the thread, unless another thread does it at this moment.

        Never wait for that one: under gevent's patches, if they came after this
        object, it could not go on, and with it the whole process.
        """
        starting = self._starting
        if not starting.acquire(blocking=False):
            return
        try:
            if self._thread is None or not self._thread.is_alive():
                self._expect_the_end()
                self._thread = threading.Thread(
                    target=self._run, name="signal_tasks-publisher", daemon=True
                )
                self._wake.set()  # for what a thread that died has left behind
                # No threads are to be had, or the interpreter is ending.
                with suppress(RuntimeError):
                    self._thread.start()
        finally:
            starting.release()

    def _expect_the_end(self) -> None:
        """Have this process flush the publisher at ends that ``atexit`` misses."""
        if self._ends:
            return
        self._ends = True
        for name in ("multiprocessing.util", "billiard.util"):
            module: Any = sys.modules.get(name)
            if module is not None:  # else this process is not a child of theirs
                module.Finalize(None, self.close, exitpriority=100)
        if "uwsgi" in sys.modules:  # which may fork while the thread imports this
            with suppress(Exception):
                load_transport()

    def _run(self) -> None:
        pause = settings().PUBLISH_INTERVAL
        while True:
            self._wake.wait()
            self._wake.clear()
            requests = self._drain()
            try:
                with _guard:
                    self._publish(requests)
            # Without its thread, everything that this process sends waits for a relay.
            except Exception as error:  # noqa: BLE001
                details = signals.PublicationFailed(error=error)
                signals.publication_failed.send_robust(Publisher, details=details)
            self._idle.set()
            if self._waiting:  # came in between: flush() has to wait for it too
                self._idle.clear()
            pause = self._next_pause(pause, requests)
            time.sleep(pause)

    @staticmethod
    def _next_pause(pause: float, requests: list[PublishRequest]) -> float:
        """Return a longer pause while sends come in quick succession, up to a limit.

        A message costs Celery about as much as ten deliveries, so a busy process fills
        its messages; any other publishes at once. The rate decides, not the number: in
        a longer pause more sends come together at any rate.
        """
        shortest = settings().PUBLISH_INTERVAL
        receivers = {(request.receiver, request.database) for request in requests}
        if len(requests) > len(receivers) * max(BUSY_RATE * pause, 1.0):
            return min(pause * 2, shortest * MAX_PAUSE_FACTOR)
        return shortest

    def _drain(self) -> list[PublishRequest]:
        requests = []
        while self._waiting:
            requests.append(self._waiting.popleft())
        self._waiting_ids = 0
        return requests

    def _publish(self, requests: list[PublishRequest]) -> None:
        if requests and not self._connection.is_resting:
            try:
                self._connection.publish(requests)
            finally:
                _close_database_connections()


def _close_database_connections() -> None:
    """Close what the project's own code, such as Celery's listeners, opened here.

    No request ends in this thread, so nothing else would ever close a connection that
    the server has left, and a fork would hand it to a child.
    """
    for connection in connections.all(initialized_only=True):
        # Django refuses to close another greenlet's; a broken one may fail to close.
        with suppress(Exception):
            connection.close()


_guard = ForkGuard(FORK_SECONDS)
publisher = Publisher()
