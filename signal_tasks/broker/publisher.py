"""Publish after commit, in a thread that the request never waits for.

The request appends to a queue in memory and goes on. One daemon thread of the
process groups what waits by receiver, publishes at once when idle and in chunks
when busy, and leaves a broker that failed alone for a while. Whatever it drops, a
relay publishes later: the rows are in the database.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections import deque
from contextlib import suppress

from signal_tasks.broker.connection import BrokerConnection
from signal_tasks.broker.messages import PublishRequest
from signal_tasks.conf import settings

#: How long the end of the process waits for what is still to be published (seconds).
EXIT_SECONDS = 2.0
#: Sends per second to one receiver that make a process a busy one.
BUSY_RATE = 150.0
#: A busy process publishes after up to so many times PUBLISH_INTERVAL.
MAX_PAUSE_FACTOR = 5


class Publisher:
    """The publishing thread of this process; started when first needed."""

    def __init__(self) -> None:
        self._reset()
        os.register_at_fork(after_in_child=self._reset)
        atexit.register(self.close)

    def _reset(self) -> None:
        self._waiting: deque[PublishRequest] = deque()
        self._waiting_ids = 0
        self._wake = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._connection = BrokerConnection()

    def submit(self, request: PublishRequest) -> None:
        """Publish soon; never block and never raise.

        Beyond ``PUBLISH_BACKLOG`` waiting ids the request is left to a relay.
        """
        if self._waiting_ids >= settings().PUBLISH_BACKLOG:
            return
        self._waiting_ids += len(request.ids)
        self._waiting.append(request)
        self._idle.clear()
        self._wake.set()
        if self._thread is None or not self._thread.is_alive():
            self._start()

    def flush(self, timeout: float) -> bool:
        """Wait until nothing waits any more; return False when time ran out."""
        until = time.monotonic() + timeout
        # Idle for a moment between two bursts is not idle yet.
        while not self._idle.wait(until - time.monotonic()) or self._waiting:
            if time.monotonic() >= until:
                return False
        return True

    def close(self) -> None:
        """Publish what waits, within EXIT_SECONDS, at the end of the process."""
        if self._thread is not None and self._thread.is_alive():
            self.flush(EXIT_SECONDS)

    def _start(self) -> None:
        with self._starting:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._run, name="signal_tasks-publisher", daemon=True
                )
                # No threads are to be had, or the interpreter is ending.
                with suppress(RuntimeError):
                    self._thread.start()

    def _run(self) -> None:
        pause = settings().PUBLISH_INTERVAL
        while True:
            self._wake.wait()
            self._wake.clear()
            requests = self._drain()
            self._publish(requests)
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
            self._connection.publish(requests)


publisher = Publisher()
