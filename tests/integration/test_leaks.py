"""Outages of the broker and forks leave no socket, file or thread behind."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass

import psutil

from signal_tasks.broker.publisher import publisher
from tests.integration.conftest import StartWorker
from tests.integration.workers import CeleryWorker, all_finished, eventually, python
from tests.servers import RedisServer
from tests.testapp.signals import noted, outside

OUTAGES = 10
POOL, RECYCLED = 4, 30


@dataclass(frozen=True)
class Usage:
    """What a process holds."""

    files: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> Usage:
        process = psutil.Process(pid)
        return cls(process.num_fds(), process.num_threads())

    def exceeds(self, other: Usage, *, by: int) -> bool:
        return self.files > other.files + by or self.threads > other.threads + by


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
    for early, late in zip(seen[2], seen[-1], strict=True):
        assert not late.exceeds(early, by=4), seen


def recycle(worker: CeleryWorker, number: int) -> None:
    """Have so many pool processes end and be replaced."""
    for key in range(number):
        noted.send(sender=None, key=key)
        publisher.flush(2)
    eventually(all_finished, seconds=120)
    eventually(lambda: len(worker.children()) == POOL)


def test_a_main_process_leaks_nothing_over_forks_of_its_pool(
    redis: RedisServer, start_worker: StartWorker
) -> None:
    """A pool process inherits the pipes of the others, so only later ones compare."""
    worker = start_worker("-c", str(POOL), "--max-tasks-per-child=1")
    recycle(worker, RECYCLED)
    before = usage_besides_pool(worker.pid)
    recycle(worker, 3 * RECYCLED)
    after = usage_besides_pool(worker.pid)
    for early, late in zip(before, after, strict=True):
        assert not late.exceeds(early, by=3), (before, after)


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
