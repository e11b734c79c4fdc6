"""The state of this process as a worker."""

from __future__ import annotations

import os
import socket
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from signal_tasks.delivery.leases import LeaseTable

#: Deliveries in the first batch of a receiver.
FIRST_BATCH = 10


@dataclass(slots=True)
class BatchSize:
    """Adaptive batch size, and whether to use savepoints, for one receiver."""

    deliveries: int = FIRST_BATCH  # as many as ran in GROUP_SECONDS the last time
    savepoints_for: int = 0  # transactions that are still to be run with savepoints


@dataclass(slots=True)
class Process:
    """This process as a worker: its name, its batch sizes, whether it has to stop."""

    name: str = ""
    main_pid: int = 0
    worker_id: uuid.UUID | None = None
    stopping: bool = False
    overdue: bool = False  # the time limit of the message struck outside of a receiver
    busy: bool = False
    time_limit: float | None = None  # of the worker, for tasks without their own
    soft_time_limit: float | None = None
    leases: LeaseTable | None = None  # in a pool, and in the process that forks it
    sizes: dict[str, BatchSize] = field(default_factory=dict)

    @property
    def must_stop(self) -> bool:
        """True if no further receiver may be started for this message."""
        return self.stopping or self.overdue

    def label(self) -> str:
        """Return the name under which attempts of this process are recorded."""
        return self.name or f"{socket.gethostname()}:{os.getpid()}"

    def size_of(self, receiver: str) -> BatchSize:
        """Return the batch size that this process has found for a receiver."""
        return self.sizes.setdefault(receiver, BatchSize())


process = Process()
