"""A real Redis, and real Celery workers on the databases of the test run."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client
from celery import current_app

from signal_tasks.broker.connection import BrokerConnection
from signal_tasks.broker.publisher import publisher
from tests.integration.workers import CeleryWorker, launch
from tests.servers import RedisServer
from tests.testapp.marks import clear

StartWorker = Callable[..., CeleryWorker]


@pytest.fixture(scope="session")
def redis_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session", autouse=True)
def _marks(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["TEST_MARKS"] = str(tmp_path_factory.mktemp("marks"))


@pytest.fixture(autouse=True)
def _no_marks(_marks: None) -> None:
    clear()


@pytest.fixture(autouse=True)
def _soon(settings: Any) -> None:
    """Publish again soon what this process sends and the broker loses."""
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "REPUBLISH_AFTER": 1.0}


@pytest.fixture
def redis(redis_process: RedisServer) -> Iterator[RedisServer]:
    """Start or empty Redis, and make it the broker of this process."""
    if redis_process.process is None:
        redis_process.start()
    flush(redis_process)
    use_broker(redis_process.url)
    yield redis_process
    publisher.flush(5)
    use_broker(None)


def flush(server: RedisServer) -> None:
    """Empty Redis."""
    with redis_client.Redis.from_url(server.url) as client:
        client.flushall()


def use_broker(url: str | list[str] | None) -> None:
    """Use this broker, or these, instead of that of the settings; None goes back."""
    current_app.conf.get("broker_url")  # loads the settings, so that they can change
    for key in ("broker_url", "broker_write_url", "broker_read_url"):
        current_app.conf.changes.pop(key, None)
        if url is not None:
            current_app.conf[key] = url
    publisher._connection = BrokerConnection()


class Workers:
    """Start workers, and kill all of them in the end."""

    def __init__(self, server: RedisServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.started: list[CeleryWorker] = []

    def start(self, *options: str, ready: bool = True, **env: object) -> CeleryWorker:
        """Start a worker; see ``launch``."""
        name = f"w{next(_numbers)}"
        log = self.folder / f"{name}.log"
        worker = launch(name, *options, log=log, broker=self.server.url, **env)
        self.started.append(worker)
        if ready:
            worker.wait_until_ready()
        return worker

    def kill(self) -> None:
        """Kill the workers and show their output."""
        for worker in self.started:
            worker.kill()
        for worker in self.started:
            print(worker.output)


_numbers = itertools.count()


@pytest.fixture
def start_worker(
    redis: RedisServer, transactional_db: None, tmp_path: Path
) -> Iterator[StartWorker]:
    """Start workers on this test's database; they are killed at the end."""
    workers = Workers(redis, tmp_path)
    yield workers.start
    workers.kill()


@pytest.fixture(scope="module")
def shared_worker(
    redis_process: RedisServer,
    django_db_setup: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[CeleryWorker]:
    """Start one worker for all tests of a module."""
    if redis_process.process is None:
        redis_process.start()
    workers = Workers(redis_process, tmp_path_factory.mktemp("worker"))
    yield workers.start(TEST_LEASE="2")
    workers.kill()


@pytest.fixture
def worker(
    shared_worker: CeleryWorker, redis: RedisServer, transactional_db: None
) -> CeleryWorker:
    """Return the worker of the module, with an empty database and broker."""
    assert shared_worker.is_running()
    return shared_worker
