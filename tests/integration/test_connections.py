"""Connections of the database in each pool of Celery, with and without Django's pool.

``TEST_RESTARTS=20`` is the long form.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from tests.integration.conftest import StartWorker
from tests.integration.test_failover import Cluster, cluster, finished
from tests.integration.workers import all_finished, eventually, runs, states
from tests.testapp.signals import inside, outside

__all__ = ["cluster"]

pytestmark = pytest.mark.skipif(
    os.environ.get("TEST_DATABASE") != "postgres", reason="needs PostgreSQL"
)


def needs(package: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"{package} is not installed")


def pooled(size: int) -> dict[str, Any]:
    options = {"pool": {"min_size": 1, "max_size": size, "timeout": 3}}
    return {"CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": True, "OPTIONS": options}


def sessions() -> int:
    """Return the number of other connections to the database of the tests."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return int(cursor.fetchone()[0])


def naps(number: int, seconds: float) -> None:
    """Send events whose receivers take some time."""
    for key in range(number):
        inside.send(sender=None, key=key, task="nap", seconds=seconds)


@needs("psycopg_pool")
def test_idle_threads_give_their_connections_back_to_the_pool(
    start_worker: StartWorker,
) -> None:
    worker = start_worker("-P", "threads", "-c", "4", DEFAULT_DATABASE=pooled(4))
    naps(8, 0.3)
    eventually(all_finished)
    inside.using(delay=1).send(sender=None, key="late")  # which only a relay publishes
    eventually(all_finished, seconds=15)
    assert states() == {"succeeded": 9}
    assert "pass_failed" not in worker.output


@needs("psycopg_pool")
def test_a_relay_works_while_all_connections_of_the_pool_are_taken(
    start_worker: StartWorker,
) -> None:
    worker = start_worker("-P", "threads", "-c", "4", DEFAULT_DATABASE=pooled(2))
    naps(2, 8.0)
    eventually(lambda: len(runs()) == 2)
    lost = "UPDATE signal_tasks_delivery SET next_check_at = now()"
    outside.using(delay=0.1).send(sender=None, key="published")
    with connection.cursor() as cursor:
        cursor.execute(f"{lost} WHERE receiver LIKE '%work_outside'")

    def is_published() -> bool:
        with connection.cursor() as cursor:
            cursor.execute("SELECT max(publish_count) FROM signal_tasks_delivery")
            return bool(cursor.fetchone()[0])

    eventually(is_published, seconds=5)
    assert "pass_failed" not in worker.output
    eventually(all_finished, seconds=40)


@needs("psycopg_pool")
def test_pool_processes_that_are_replaced_leave_the_pool_of_others_alone(
    start_worker: StartWorker,
) -> None:
    worker = start_worker(
        "-c", "2", "--max-tasks-per-child", "2", DEFAULT_DATABASE=pooled(2)
    )
    for key in range(40):
        inside.send(sender=None, key=key, task="nap", seconds=0.05)
        outside.using(delay=0.05).send(sender=None, key=key)
    eventually(all_finished, seconds=60)
    assert states() == {"succeeded": 80}
    assert "pass_failed" not in worker.output
    assert "OperationalError" not in worker.output


@needs("gevent")
@pytest.mark.parametrize("age", [0, 600])
def test_greenlets_keep_no_connection(age: int, start_worker: StartWorker) -> None:
    start_worker("-P", "gevent", "-c", "10", DEFAULT_DATABASE={"CONN_MAX_AGE": age})
    naps(60, 0.1)
    most = 0

    def done() -> bool:
        nonlocal most
        most = max(most, sessions())
        return all_finished()

    eventually(done, seconds=60)
    assert most <= 13  # the greenlets, relay and reporter
    eventually(lambda: sessions() <= 2, seconds=5)


RESTARTS = int(os.environ.get("TEST_RESTARTS", "8"))
POOLS = [("-c", "2"), ("-P", "threads", "-c", "3"), ("-P", "gevent", "-c", "3")]


@pytest.mark.timeout(180 + 15 * RESTARTS)
@pytest.mark.parametrize("pool", POOLS, ids=lambda pool: pool[1])
def test_restarts_of_the_database_leave_neither_files_nor_threads_behind(
    pool: tuple[str, ...], cluster: Cluster
) -> None:
    if "gevent" in pool and importlib.util.find_spec("gevent") is None:
        pytest.skip("gevent is not installed")
    cluster.prepare(CONN_MAX_AGE=600)
    worker = cluster.start(*pool)
    held = []
    for restart in range(RESTARTS):
        cluster.send(4, first=4 * restart)
        eventually(lambda: finished(cluster.primary) == 8 * (restart + 1))  # noqa: B023
        held.append([_held(pid) for pid in (worker.pid, *worker.children())])
        cluster.primary.stop()
        cluster.primary.start()
    totals = [_total(each) for each in held]
    print("files and threads of the worker after each restart:", *totals)
    for early, *late in zip(totals[0], *totals[-3:], strict=True):
        assert min(late) <= early + 4  # such as an event loop in one more thread


def _held(pid: int) -> tuple[int, int]:
    """Return the number of open files and of threads of a process."""
    process = Path(f"/proc/{pid}")
    return len(list((process / "fd").iterdir())), len(
        list((process / "task").iterdir())
    )


def _total(processes: list[tuple[int, int]]) -> tuple[int, int]:
    files, threads = zip(*processes, strict=True)
    return sum(files), sum(threads)
