"""The state of this process as a worker."""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from signal_tasks.delivery.leases import LeaseTable

#: Deliveries in the first batch of a receiver.
FIRST_BATCH = 10
#: Transactions that run with savepoints after one in which a delivery failed.
SAVEPOINT_TRANSACTIONS = 50
#: Deliveries that run in transactions of their own after a lost transaction of several.
SINGLE_DELIVERIES = 500


@dataclass(slots=True)
class BatchSize:
    """Adaptive batch size, and whether to use savepoints, for one receiver.

    Threads share it without a lock: a guess that is lost costs a little speed.
    """

    deliveries: int = FIRST_BATCH  # as many as ran in GROUP_SECONDS the last time
    savepoints_for: int = 0  # transactions that are still to be run with savepoints
    singly_for: int = 0  # deliveries that are still to be run singly

    def use_savepoints(self) -> None:
        """Run the next transactions with savepoints, for one has failed."""
        self.savepoints_for = SAVEPOINT_TRANSACTIONS

    def run_singly(self) -> None:
        """Run the next deliveries singly, for several together were in others' way."""
        self.singly_for = SINGLE_DELIVERIES


class _Here(threading.local):
    """The messages that this thread, or greenlet, works on."""

    messages = 0  # one inside of another where tasks are eager
    over = False
    task_id = ""


@dataclass(slots=True)
class Process:
    """This process as a worker: its name, its batch sizes, whether it has to stop.

    All of it is the same for all threads, but for what concerns one message.
    """

    name: str = ""
    main_pid: int = 0
    worker_id: uuid.UUID | None = None
    stopping: bool = False
    time_limit: float | None = None  # of the worker, for tasks without their own
    soft_time_limit: float | None = None
    leases: LeaseTable | None = None  # in a pool, and in the process that forks it
    sizes: dict[str, BatchSize] = field(default_factory=dict)
    _here: _Here = field(default_factory=_Here)

    @property
    def must_stop(self) -> bool:
        """True if no further receiver may be started for this message."""
        return self.stopping or self._here.over

    @property
    def busy(self) -> bool:
        """True while this thread works on a message."""
        return self._here.messages > 0

    @contextmanager
    def message(self, task_id: str = "") -> Iterator[None]:
        """Work on a message in this thread; ``task_id`` is the id of its Celery task."""
        here = self._here
        around = here.task_id
        here.task_id = task_id or around
        if not here.messages:
            here.over = False
        here.messages += 1
        try:
            yield
        finally:
            here.messages -= 1
            here.task_id = around

    def end_message(self) -> None:
        """Begin no further receiver for the message of this thread.

        Its time limit has struck outside of a receiver, or it has been interrupted.
        """
        self._here.over = True

    @property
    def task_id(self) -> uuid.UUID | None:
        """The id of the Celery task that this thread works on, if it is one of Celery's."""
        try:
            return uuid.UUID(self._here.task_id)
        except ValueError:
            return None

    def label(self) -> str:
        """Return the name under which attempts of this process are recorded."""
        return self.name or f"{socket.gethostname()}:{os.getpid()}"

    def size_of(self, receiver: str) -> BatchSize:
        """Return the batch size that this process has found for a receiver."""
        return self.sizes.setdefault(receiver, BatchSize())


process = Process()
