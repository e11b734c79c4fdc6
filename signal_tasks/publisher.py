"""Publication after commit, by a thread that the request never waits for.

The request appends to a queue in memory and goes on. One daemon thread of the
process groups what waits by receiver, publishes at once when idle and in chunks
when busy, and leaves a broker that failed alone for a while. What it drops, the
relay brings: the rows are in the database.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from signal_tasks import signals
from signal_tasks.broker import Link, Message
from signal_tasks.conf import settings
from signal_tasks.exceptions import BrokerUnavailable
from signal_tasks.registry import registry

#: Longest wait at the exit of the process for what is still to be published.
EXIT_SECONDS = 2.0
#: Sends per second to one receiver that make a process a busy one.
BUSY_RATE = 150.0
#: A busy process publishes after up to so many times PUBLISH_INTERVAL.
LONGEST_PAUSE = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """Deliveries of one receiver that are to be published together."""

    receiver: str
    database: str
    ids: Sequence[str]
    chunk: int | None = None


def messages_for(parcels: Iterable[Parcel]) -> list[Message]:
    """The messages for these parcels: one receiver each, ids in chunks.

    A receiver that this process does not know is left out: only a process that
    knows its queue can publish for it, and the relay of such a one will.
    """
    grouped: dict[tuple[str, str, int], list[str]] = {}
    for parcel in parcels:
        chunk = min(parcel.chunk or settings().CHUNK_SIZE, settings().CHUNK_SIZE)
        key = (parcel.receiver, parcel.database, chunk)
        grouped.setdefault(key, []).extend(parcel.ids)
    return [
        message
        for (receiver, database, chunk), ids in grouped.items()
        for message in _chunks(receiver, database, ids, chunk)
    ]


def _chunks(name: str, database: str, ids: list[str], size: int) -> Iterator[Message]:
    receiver = registry.receiver(name)
    if receiver is None:
        return
    options = receiver.options
    if options.rate_limit is not None:
        size = 1  # Celery counts messages
    for start in range(0, len(ids), size):
        chunk = tuple(ids[start : start + size])
        yield Message(
            task=receiver.name,
            ids=chunk,
            database=database,
            queue=options.queue or settings().QUEUE,
            time_limit=_time_limit(options.timeout, len(chunk)),
        )


def _time_limit(timeout: float | None, ids: int) -> float | None:
    """A message works for MESSAGE_SECONDS and then ends the receiver it is in."""
    if timeout is None or ids == 1:
        return timeout
    return timeout + settings().MESSAGE_SECONDS


class Publisher:
    """The publishing thread of this process; started when first needed."""

    def __init__(self) -> None:
        self._reset()
        os.register_at_fork(after_in_child=self._reset)
        atexit.register(self.close)

    def _reset(self) -> None:
        self._waiting: deque[Parcel] = deque()
        self._waiting_ids = 0
        self._wake = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._link: Link | None = None
        self._closed_until = 0.0

    def submit(self, parcel: Parcel) -> None:
        """Have the parcel published soon; never blocks and never raises.

        Beyond ``PUBLISH_BACKLOG`` waiting ids the parcel is left to the relay.
        """
        if self._waiting_ids >= settings().PUBLISH_BACKLOG:
            return
        self._waiting_ids += len(parcel.ids)
        self._waiting.append(parcel)
        self._idle.clear()
        self._wake.set()
        if self._thread is None or not self._thread.is_alive():
            self._start()

    def flush(self, timeout: float) -> bool:
        """Wait until all is published or given up; False when time ran out."""
        until = time.monotonic() + timeout
        # Idle for a moment between two bursts is not idle yet.
        while not self._idle.wait(until - time.monotonic()) or self._waiting:
            if time.monotonic() >= until:
                return False
        return True

    def close(self) -> None:
        """Publish what waits, within a bounded time; for the end of the process."""
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
            parcels = self._drain()
            self._publish(parcels)
            self._idle.set()
            if self._waiting:  # came in between: flush() has to wait for it too
                self._idle.clear()
            pause = self._next_pause(pause, parcels)
            time.sleep(pause)

    @staticmethod
    def _next_pause(pause: float, parcels: list[Parcel]) -> float:
        """Longer while sends to a receiver come in quick succession, up to a limit.

        A message costs Celery about as much as ten deliveries, so a busy process had
        better fill its messages; any other publishes at once. What counts is the rate:
        in a longer pause more sends come together at any rate.
        """
        shortest = settings().PUBLISH_INTERVAL
        receivers = {(parcel.receiver, parcel.database) for parcel in parcels}
        if len(parcels) > len(receivers) * max(BUSY_RATE * pause, 1.0):
            return min(pause * 2, shortest * LONGEST_PAUSE)
        return shortest

    def _drain(self) -> list[Parcel]:
        parcels = []
        while self._waiting:
            parcels.append(self._waiting.popleft())
        self._waiting_ids = 0
        return parcels

    def _publish(self, parcels: list[Parcel]) -> None:
        if not parcels or time.monotonic() < self._closed_until:
            return
        if self._link is None:
            self._link = Link(settings().PUBLISH_TIMEOUT)
        try:
            self._link.publish(messages_for(parcels))
        except BrokerUnavailable as error:
            self._closed_until = time.monotonic() + settings().BREAKER_SECONDS
            signals.broker_failed.send_robust(sender=Publisher, error=error)


publisher = Publisher()
