"""Outages of the broker and forks leave no socket, file or thread behind, little memory.

``TEST_FORKS=10000`` and ``TEST_OUTAGES=50`` are the long forms.
"""

from __future__ import annotations

import gc
import os
import time
from dataclasses import dataclass
from typing import Any

import psutil
import pytest

from signal_tasks.broker.publisher import publisher
from tests.integration.conftest import StartWorker
from tests.integration.workers import (
    CeleryWorker,
    all_finished,
    eventually,
    python,
    runs,
)
from tests.servers import RedisServer
from tests.testapp.signals import noted, outside

OUTAGES = int(os.environ.get("TEST_OUTAGES", "10"))
FORKS_OF_A_POOL = int(os.environ.get("TEST_FORKS", "160"))
#: Celery replaces processes that have ended together, so more of them fork sooner.
POOL = 16


@dataclass(frozen=True)
class Usage:
    """What a process holds."""

    files: int
    threads: int
    mebibytes: float

    @classmethod
    def of(cls, pid: int) -> Usage:
        process = psutil.Process(pid)
        memory = round(process.memory_info().rss / 2**20, 1)
        return cls(process.num_fds(), process.num_threads(), memory)

    def exceeds(self, other: Usage, *, by: int, mebibytes: float) -> bool:
        return (
            self.files > other.files + by
            or self.threads > other.threads + by
            or self.mebibytes > other.mebibytes + mebibytes
        )


def usage_of(worker_pid: int) -> list[Usage]:
    """Return the usage of this process, a worker's main process, and its pool."""
    pool = psutil.Process(worker_pid).children()
    children = sorted(child.pid for child in pool)
    return [*usage_besides_pool(worker_pid), *map(Usage.of, children)]


def usage_besides_pool(worker_pid: int) -> list[Usage]:
    """Return the usage of this process and of a worker's main process."""
    gc.collect()
    return [Usage.of(pid) for pid in (psutil.Process().pid, worker_pid)]


def send_and_wait(key: str) -> None:
    """Send enough that every pool process is at work when the broker goes."""
    for number in range(4):
        outside.send(sender=None, key=f"{key}.{number}", task="nap", seconds=0.3)
        publisher.flush(2)


@pytest.mark.timeout(180 + 10 * OUTAGES)
def test_a_busy_worker_and_its_senders_leak_nothing_over_outages_of_the_broker(
    redis: RedisServer, start_worker: StartWorker
) -> None:
    worker = start_worker(SIGNAL_TASKS={"BREAKER_SECONDS": 0.2})
    seen = []
    for number in range(OUTAGES):
        send_and_wait(f"{number}")
        redis.kill()
        time.sleep(0.3)
        redis.start()
        eventually(all_finished, seconds=60)
        assert worker.is_running()
        seen.append(usage_of(worker.pid))
        print(number + 1, "outages:", *seen[-1])
    # Each outage leaves about a tenth of a mebibyte, as docs/reliability.md tells.
    allowed = 6 + OUTAGES / 5
    for early, late in zip(seen[2], seen[-1], strict=True):
        assert not late.exceeds(early, by=4, mebibytes=allowed), seen


def recycle(worker: CeleryWorker, number: int) -> None:
    """Have pool processes end until this test has had so many."""
    while (missing := number - pool_processes()) > 0:
        for key in range(missing):
            noted.send(sender=None, key=key)
            publisher.flush(2)  # so each has a message, and a process, of its own
        eventually(all_finished, seconds=60 + missing)
    eventually(lambda: len(worker.children()) == POOL)


def pool_processes() -> int:
    """Return how many processes have run something, each of them once."""
    return len({run.pid for run in runs("note")})


@pytest.mark.timeout(180 + FORKS_OF_A_POOL)
def test_a_main_process_leaks_nothing_over_forks_of_its_pool(
    redis: RedisServer, start_worker: StartWorker, settings: Any
) -> None:
    """A pool process inherits the pipes of the others, so only later ones compare.

    A message that was published again runs nothing, and costs a process as well.
    """
    patient = {"REPUBLISH_AFTER": 60}
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, **patient}
    worker = start_worker(
        "-c", str(POOL), "--max-tasks-per-child=1", SIGNAL_TASKS=patient
    )
    seen = []
    for tenth in range(1, 11):
        recycle(worker, tenth * FORKS_OF_A_POOL // 10)
        seen.append(usage_besides_pool(worker.pid))
        print(pool_processes(), "pool processes:", *seen[-1])
    for early, late in zip(seen[1], seen[-1], strict=True):
        assert not late.exceeds(early, by=4, mebibytes=8), seen


def test_a_process_that_forks_a_thousand_times_leaks_nothing(
    redis: RedisServer, start_worker: StartWorker
) -> None:
    start_worker(SIGNAL_TASKS={"RELAY_IN_WORKER": False})
    done = python(FORKS, redis.url)
    assert done.returncode == 0, done.stderr
    eventually(all_finished)


FORKS = """
import os, threading
from django.db import connections
from signal_tasks.broker.publisher import publisher
from tests.testapp.signals import noted

def usage():
    return len(os.listdir("/proc/self/fd")), threading.active_count()

def send(key):
    noted.send(sender=None, key=key)
    connections.close_all()

send("first")
assert publisher.flush(20)
before = usage()
for number in range(1000):
    if number % 100 == 0:
        send(f"parent{number}")
    if not (pid := os.fork()):
        if number % 100 == 0:
            send(f"child{number}")
        os._exit(0 if publisher.flush(20) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert usage() == before, (before, usage())
"""
