"""The env of the attack: servers, processes and workload, and waiting for things on it."""

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
USUAL_WORKERS = ("w1", "w2")


class FaultNotInjected(Exception):
    """The fault could not be made, so that its absence of harm shows nothing."""


class PromiseBroken(Exception):
    """A promise was broken; the message says which."""


@dataclass
class Environment:
    """All that a fault can inject, and the means to inject it."""

    folder: Path
    processes: Processes
    database: Server | None  # None: not ours to kill
    broker: Server | None
    seed: str
    short: bool = False
    patience: float = 60.0  # longest wait for the end of all deliveries (seconds)
    url: str = ""
    workload: Workload | None = None
    rng: random.Random = field(default_factory=random.Random)
    notes: list[str] = field(default_factory=list)  # what a measurement came to

    @property
    def vendor(self) -> str:
        """What Django calls the database."""
        return "mariadb" if connection.vendor == "mysql" else connection.vendor

    @property
    def broker_url(self) -> str:
        """Where the broker is."""
        return str(settings.CELERY_BROKER_URL)

    @property
    def transport(self) -> str:
        """What Celery calls the broker."""
        return self.broker_url.partition(":")[0]

    @property
    def workers(self) -> list[ManagedProcess]:
        """The workers that are up."""
        return [worker for worker in self.processes.workers if worker.alive]

    # -- time ---------------------------------------------------------------------

    def wait_until(self, true: Callable[[], T], what: str, seconds: float = 30.0) -> T:
        """Wait until ``true()`` is, while what has died is started again."""
        deadline = time.monotonic() + seconds
        while True:
            self.processes.tend()
            found = self.ask(true)
            if found:
                return found
            if time.monotonic() > deadline:
                raise FaultNotInjected(f"no {what} within {seconds:g} s")
            time.sleep(0.05)

    def ask(self, question: Callable[[], T]) -> T | None:
        """The answer of a database that may just be down."""
        try:
            return question()
        except (DatabaseError, InterfaceError):
            connection.close()
            return None

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.processes.tend()
            time.sleep(0.05)

    def wait_for_deliveries(self) -> float:
        """Wait until nothing is owed; how long that took."""
        started = time.monotonic()
        if self.workload is not None:
            self.wait_until(
                lambda: self.workload is None or self.workload.done,
                "end of workload",
                90,
            )
        try:
            self.wait_until(all_ended, "end of all deliveries", self.patience)
        except FaultNotInjected:
            return time.monotonic() - started  # the audit says what is still owed
        return time.monotonic() - started

    def wait_until_ready(self) -> None:
        """Wait until every process is up, and the workers have passed once."""
        self.wait_until(
            lambda: all(m.ready for m in self.processes.members.values()),
            "processes",
            60,
        )
        self.wait_until(lambda: Worker.objects.exists(), "relay", 30)

    # -- messages and receivers ---------------------------------------------------

    def push(self, text: str) -> None:
        """Put a text into the queue, past Celery (Redis only)."""
        with redis.Redis.from_url(self.broker_url) as client:
            client.lpush(str(settings.CELERY_TASK_DEFAULT_QUEUE), text)

    def runs(self, key: str, what: str = "effect") -> list[int]:
        """The processes in which a receiver ran: one with an effect outside."""
        return [
            line.pid
            for line in journal.read(self.folder)
            if line.what == what and line.facts["key"] == key
        ]

    # -- processes ---------------------------------------------------------------------

    def restore(self) -> None:
        """Have the usual workers at work, and no others."""
        for worker in self.processes.workers:
            if worker.name not in USUAL_WORKERS:
                self.processes.remove(worker)
            worker.wanted = True
        for name in USUAL_WORKERS:
            if name not in self.processes.members:
                self.processes.add_worker(name)

    def stop_workers(self) -> None:
        """Ask the workers to go, and forget them; the conductor restores the processes."""
        going = list(self.processes.workers)
        for worker in going:
            worker.wanted = False
            if worker.alive:
                worker.send(signal.SIGTERM)
        self.wait_until(lambda: not any(w.alive for w in going), "end of workers", 30)
        for worker in going:
            self.processes.remove(worker)

    # -- workload ---------------------------------------------------------------------

    @contextmanager
    def with_workload(
        self, prefix: str, count: int, seconds: float
    ) -> Iterator[Workload]:
        """Have events sent meanwhile."""
        self.workload = Workload(self.url, prefix, count, seconds, self.seed)
        self.workload.start()
        try:
            yield self.workload
        finally:
            self.wait_until(
                lambda: self.workload is None or self.workload.done,
                "end of workload",
                90,
            )

    def wait_until_busy(self) -> None:
        """Wait until the workload has got under way."""
        workload = self.workload
        if workload is not None:
            goal = min(workload.sent + 5, workload.count)
            self.wait_until(
                lambda: workload.sent >= goal or workload.done, "workload", 30
            )

    # -- crash points -------------------------------------------------------------

    def arm(self, point: CrashPoint) -> None:
        """Order the next process that comes to this point to die there."""
        point.order.parent.mkdir(exist_ok=True)
        point.order.touch()

    def wait_for_crash(self, point: CrashPoint, seconds: float = 20.0) -> None:
        """Wait until a process has obeyed."""
        try:
            self.wait_until(
                lambda: not point.order.exists(), f"crash: {point.name}", seconds
            )
        finally:
            point.order.unlink(missing_ok=True)


def all_ended() -> bool:
    """Whether nothing is owed any more."""
    return not Delivery.objects.live().exists()
