"""The environment of the faults: servers, processes, workload, and waiting for them."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import redis
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection

from chaos import journal
from chaos.crash_points import CrashPoint
from chaos.processes import ManagedProcess, Processes
from chaos.workload import Workload
from shop.servers import Server
from signal_tasks.models import Delivery, Worker

T = TypeVar("T")
DEFAULT_WORKERS = ("w1", "w2")
#: Events to wait for, and those to send in addition if fewer than these are left.
A_FEW, MORE = 5, 10


class FaultNotInjected(Exception):
    """The fault could not be injected: that nothing broke proves nothing."""


class PromiseBroken(Exception):
    """A promise was broken; the message says which."""


@dataclass
class Environment:
    """Everything that a fault can act on, and ways to wait for what follows."""

    folder: Path
    processes: Processes
    database: Server | None  # None: given by URL, so we must not kill it
    broker: Server | None
    seed: str
    short: bool = False
    patience: float = 60.0  # longest wait for all deliveries to finish (seconds)
    url: str = ""
    workload: Workload | None = None
    rng: random.Random = field(default_factory=random.Random)
    notes: list[str] = field(default_factory=list)  # results of measurements
    was_busy: bool = False  # something was under way when the fault came

    @property
    def vendor(self) -> str:
        """Return Django's name of the database, or ``mariadb``."""
        return "mariadb" if connection.vendor == "mysql" else connection.vendor

    @property
    def broker_url(self) -> str:
        """Return the URL of the broker."""
        return str(settings.CELERY_BROKER_URL)

    @property
    def transport(self) -> str:
        """Return Celery's name of the broker's transport."""
        return self.broker_url.partition(":")[0]

    @property
    def workers(self) -> list[ManagedProcess]:
        """Return the workers that are alive."""
        return [worker for worker in self.processes.workers if worker.alive]

    # -- time ---------------------------------------------------------------------

    def wait_until(
        self, condition: Callable[[], T], description: str, seconds: float = 30.0
    ) -> T:
        """Wait for what the fault needs, and return the condition's value."""
        value = self._wait_for(condition, seconds)
        if not value:
            raise FaultNotInjected(f"no {description} within {seconds:g} s")
        return value

    def expect(
        self, condition: Callable[[], T], description: str, seconds: float = 30.0
    ) -> T:
        """Wait for what is promised to follow, and return the condition's value."""
        value = self._wait_for(condition, seconds)
        if not value:
            raise PromiseBroken(f"no {description} within {seconds:g} s")
        return value

    def _wait_for(self, condition: Callable[[], T], seconds: float) -> T | None:
        """Wait until the condition is true and return its value; restart the dead."""
        deadline = time.monotonic() + seconds
        while True:
            self.processes.restart_dead()
            value = self.query(condition)
            if value or time.monotonic() > deadline:
                return value
            time.sleep(0.05)

    def query(self, question: Callable[[], T]) -> T | None:
        """Call the function; return None if the database is down."""
        try:
            return question()
        except (DatabaseError, InterfaceError):
            connection.close()
            return None

    def wait(self, seconds: float) -> None:
        """Wait, and restart dead processes meanwhile."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.processes.restart_dead()
            time.sleep(0.05)

    def wait_for_deliveries(self) -> None:
        """Wait until the workload has ended and no delivery is pending or running."""
        self.wait_for_workload(90)
        # The checker reports those that have not finished.
        self._wait_for(all_finished, self.patience)

    def wait_until_ready(self) -> None:
        """Wait until every process is ready and a relay has made its first pass."""
        processes = self.processes.by_name
        self.wait_until(
            lambda: all(process.ready for process in processes.values()),
            "ready processes",
            60,
        )
        self.wait_until(lambda: Worker.objects.exists(), "relay", 30)

    # -- messages and receivers ---------------------------------------------------

    def push(self, text: str) -> None:
        """Put a text into the queue without Celery (Redis only)."""
        with redis.Redis.from_url(self.broker_url) as client:
            client.lpush(str(settings.CELERY_TASK_DEFAULT_QUEUE), text)

    def run_pids(self, key: str, kind: str = "effect") -> list[int]:
        """Return the process id of each run that recorded this key in the journal."""
        return [
            record.pid
            for record in journal.read(self.folder)
            if record.kind == kind and record.facts["key"] == key
        ]

    # -- processes ----------------------------------------------------------------

    def restore(self) -> None:
        """Have the default workers running, and no others."""
        for worker in self.processes.workers:
            if worker.name not in DEFAULT_WORKERS:
                self.processes.remove(worker)
            worker.keep_running = True
        for name in DEFAULT_WORKERS:
            if name not in self.processes.by_name:
                self.processes.add_worker(name)

    def stop_workers(self) -> None:
        """Stop and remove all workers; ``restore()`` starts them again."""
        stopping = list(self.processes.workers)
        for worker in stopping:
            worker.keep_running = False
            if worker.alive:
                worker.send(signal.SIGTERM)
        self.wait_until(
            lambda: not any(worker.alive for worker in stopping), "end of workers", 30
        )
        for worker in stopping:
            self.processes.remove(worker)

    # -- workload -----------------------------------------------------------------

    @contextmanager
    def with_workload(
        self, prefix: str, count: int, seconds: float
    ) -> Iterator[Workload]:
        """Run the workload within this context, and wait for its end."""
        self.workload = Workload(self.url, prefix, count, seconds, self.seed)
        self.workload.start()
        try:
            yield self.workload
        finally:
            self.wait_for_workload(90)

    def wait_for_workload(self, seconds: float = 60) -> None:
        """Wait until the workload has ended."""
        workload = self.workload
        if workload is not None:
            self.wait_until(lambda: workload.done, "end of the workload", seconds)

    def wait_until_busy(self) -> None:
        """Wait until a few more events have been sent, and not all has been done.

        A fault that came behind the end of the workload would have nothing to hurt: if
        only few events are left, the workload sends more.
        """
        workload = self.workload
        if workload is None:
            return
        if workload.left < MORE:
            workload.extend(MORE)
        goal = workload.sent + A_FEW
        self.wait_until(lambda: workload.sent >= goal, "workload", 30)
        self.wait_until(Delivery.objects.live().exists, "live delivery", 30)
        self.was_busy = True

    # -- crash points -------------------------------------------------------------

    def wait_for_crash(self, point: CrashPoint, seconds: float = 60.0) -> None:
        """Wait until a process has crashed at this armed point; disarm it."""
        description = f"crash: {point.name}"
        try:
            self.wait_until(lambda: not point.armed, description, seconds)
        finally:
            point.disarm()


def all_finished() -> bool:
    """Return whether no delivery is pending or running."""
    return not Delivery.objects.live().exists()
