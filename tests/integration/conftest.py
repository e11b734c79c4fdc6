"""A real Redis, and real Celery workers on the test's own database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from celery import current_app

from shop.embedded import RedisServer
from signal_tasks.models import Delivery, Worker
from signal_tasks.publisher import publisher
from signal_tasks.states import State

ROOT = Path(__file__).resolve().parents[2]


def eventually(true: Callable[[], Any], *, seconds: float = 20.0) -> Any:
    """Wait until ``true()`` is, and return what it returned; fail in the end."""
    deadline = time.monotonic() + seconds
    while True:
        result = true()
        if result:
            return result
        if time.monotonic() > deadline:
            pytest.fail(f"not so within {seconds} s: {true}")
        time.sleep(0.05)


def all_ended() -> bool:
    """Whether nothing is owed any more."""
    return not Delivery.objects.live().exists()


def states() -> list[str]:
    """The states of all deliveries."""
    return sorted(Delivery.objects.values_list("state", flat=True))


@dataclass
class CeleryWorker:
    """A worker process of its own, with its pool children."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        """The main process."""
        return self.process.pid

    def children(self) -> list[int]:
        """The processes of the pool."""
        path = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def send(self, number: signal.Signals, *, children: bool = False) -> None:
        """Send a signal to the main process, or first to all its children."""
        for pid in self.children() if children else []:
            os.kill(pid, number)
        os.kill(self.pid, number)

    def wait(self, seconds: float = 30) -> int:
        """Wait for its end."""
        return self.process.wait(seconds)

    def kill(self) -> None:
        """End it and its children now; the pool's children die with the parent."""
        if self.process.poll() is None:
            self.send(signal.SIGCONT, children=True)
            self.process.kill()
            self.process.wait(10)


StartWorker = Callable[..., CeleryWorker]


@pytest.fixture(scope="session")
def redis_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis(redis_process: RedisServer) -> Iterator[RedisServer]:
    """Redis, running and empty, and the broker of this process."""
    if redis_process.process is None:
        redis_process.start()
    flush(redis_process)
    old = current_app.conf.broker_url
    _use_broker(redis_process.url)
    yield redis_process
    publisher.flush(5)
    _use_broker(old)


def flush(server: RedisServer) -> None:
    """Empty Redis."""
    import redis

    with redis.Redis.from_url(server.url) as client:
        client.flushall()


def _use_broker(url: str) -> None:
    current_app.conf.broker_url = url
    current_app.conf.broker_write_url = url
    current_app.conf.broker_read_url = url
    publisher._reset()


@pytest.fixture
def start_worker(
    redis: RedisServer, transactional_db: None, tmp_path: Path
) -> Iterator[StartWorker]:
    """Start workers on this test's database; they are killed at the end."""
    workers: list[CeleryWorker] = []

    def start(*options: str, env: dict[str, str] | None = None) -> CeleryWorker:
        log = tmp_path / f"worker-{len(workers)}.log"
        known = Worker.objects.count()
        name = f"w{len(workers)}@test"
        celery = (sys.executable, "-m", "celery", "-A", "celery_app", "worker")
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*celery, "-n", name, "-l", "INFO", *_concurrency(options), *options],
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **_live(redis), **(env or {})},
                start_new_session=True,
            )
        worker = CeleryWorker(process, log)
        workers.append(worker)
        eventually(lambda: Worker.objects.count() > known, seconds=30)
        return worker

    yield start
    for worker in workers:
        worker.kill()
    for worker in workers:
        print(worker.log.read_text(errors="replace"))


def _concurrency(options: tuple[str, ...]) -> tuple[str, ...]:
    return () if "-c" in options else ("-c", "2")


def _live(redis: RedisServer) -> dict[str, str]:
    return {
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "TEST_LIVE": "1",
        "TEST_BROKER_URL": redis.url,
        "TEST_RELAY_INTERVAL": "0.3",
        "TEST_REPUBLISH_AFTER": "1",
        "PYTHONWARNINGS": "ignore",
    }


__all__ = ["CeleryWorker", "StartWorker", "State", "all_ended", "eventually", "states"]
