"""Each pool of Celery runs all kinds of receivers, or refuses to start."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import current_app
from django.db import connection, transaction

from signal_tasks import AsyncSignal
from signal_tasks.models import Attempt, Delivery
from tests.integration.conftest import StartWorker, Workers
from tests.integration.workers import (
    ROOT,
    all_finished,
    effects,
    environment,
    eventually,
    keys,
    remote_control,
    runs,
    runs_of,
    states,
)
from tests.servers import RedisServer
from tests.testapp.signals import (
    async_inside,
    bridged,
    failed,
    inside,
    outside,
    timed,
)

THREADS, SOLO = ("-P", "threads", "-c", "4"), ("-P", "solo")
GEVENT = ("-P", "gevent", "-c", "10")
no_gevent = importlib.util.find_spec("gevent") is None and "CI" not in os.environ
with_gevent = pytest.mark.skipif(no_gevent, reason="gevent is not installed")
on_server = pytest.mark.skipif(
    no_gevent or connection.vendor == "sqlite",
    reason="gevent is not installed, or refused on SQLite",
)
POOLS = [THREADS, SOLO, pytest.param(GEVENT, marks=on_server)]
each_pool = pytest.mark.parametrize("pool", POOLS, ids=lambda pool: pool[1])
EACH = [inside, outside, async_inside, bridged]


def succeed_once(number: int) -> None:
    """Check that all have succeeded in their first attempt."""
    eventually(all_finished)
    assert states() == {"succeeded": number}
    assert Delivery.objects.filter(attempts=1).count() == number
    assert not Attempt.objects.exists()


@each_pool
def test_sync_and_async_receivers_run_beside_each_other(
    pool: tuple[str, ...], start_worker: StartWorker
) -> None:
    start_worker(*pool)
    for key in range(25):
        for sent in EACH:
            sent.send(sender=None, key=key, task="nap", seconds=0.02)
    succeed_once(100)
    for what in ("inside", "outside", "async inside", "bridged"):
        assert effects(what) == keys(25)


@each_pool
@pytest.mark.parametrize("sent", [failed, async_inside], ids=["sync", "async"])
def test_a_failed_attempt_is_undone_and_repeated(
    sent: AsyncSignal, pool: tuple[str, ...], start_worker: StartWorker
) -> None:
    start_worker(*pool)
    for key in range(5):
        sent.send(sender=None, key=key, times=2)
    eventually(all_finished)
    assert states() == {"succeeded": 5}
    assert Delivery.objects.filter(attempts=3).count() == 5
    assert Attempt.objects.filter(error__contains="on purpose").count() == 10
    what = "failed" if sent is failed else "async inside"
    assert effects(what) == keys(5)


@each_pool
def test_a_receiver_that_always_fails_harms_no_other(
    pool: tuple[str, ...], start_worker: StartWorker
) -> None:
    start_worker(*pool)
    for key in range(10):
        async_inside.send(sender=None, key=f"bad {key}", times=99)
        inside.send(sender=None, key=key, task="nap", seconds=0.02)
    eventually(all_finished)
    assert states() == {"succeeded": 10, "dead": 10}
    assert (effects("inside"), effects("async inside")) == (keys(10), [])


@each_pool
@pytest.mark.parametrize("sent", EACH, ids=lambda sent: sent.name.split(".")[-1])
def test_a_warm_stop_finishes_what_runs_and_releases_the_rest(
    sent: AsyncSignal, pool: tuple[str, ...], start_worker: StartWorker
) -> None:
    with transaction.atomic():
        for key in range(12):
            sent.send(sender=None, key=key, task="nap", seconds=0.6)
    worker = start_worker(*pool, ready=False)
    eventually(runs)
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    assert not Delivery.objects.filter(state="running").exists()
    assert states()["succeeded"] >= 1
    start_worker(*pool)
    succeed_once(12)
    assert {runs_of(key) for key in range(12)} == {1}


@on_server
@pytest.mark.parametrize("soft", [0, 1], ids=["cold", "soft"])
@pytest.mark.parametrize("sent", EACH, ids=lambda sent: sent.name.split(".")[-1])
def test_a_cold_stop_releases_what_runs_in_greenlets(
    sent: AsyncSignal, soft: int, start_worker: StartWorker
) -> None:
    worker = start_worker(*GEVENT, CELERY={"WORKER_SOFT_SHUTDOWN_TIMEOUT": soft})
    for key in range(4):
        sent.send(sender=None, key=key, task="nap", seconds=20)
    eventually(runs)
    worker.send(signal.SIGQUIT)
    worker.wait(15)
    assert states() == {"pending": 4}
    assert Delivery.objects.filter(attempts=0).count() == 4
    assert not Attempt.objects.exists()


@on_server
def test_a_terminated_message_stops_nothing_but_its_receiver(
    start_worker: StartWorker,
) -> None:
    worker = start_worker(*GEVENT)
    inside.send(sender=None, key="long", task="nap once", seconds=20)
    eventually(runs)
    task = eventually(lambda: received(worker.output))
    outside.send(sender=None, key="beside", task="nap", seconds=1)
    with current_app.connection_for_write() as broker:
        remote_control().revoke(task, terminate=True, connection=broker)
    succeed_once(2)
    assert (runs_of("long"), runs_of("beside")) == (2, 1)
    inside.send(sender=None, key="after")
    succeed_once(3)


def received(output: str) -> list[str]:
    """Return the ids of the messages that a worker has received."""
    return re.findall(r"\[([0-9a-f-]{36})\] received", output)


@on_server
@pytest.mark.skipif(connection.vendor != "postgresql", reason="counts by PostgreSQL")
@pytest.mark.parametrize("max_age", [0, 600])
def test_greenlets_have_no_more_connections_than_the_pool_has_places(
    max_age: int, start_worker: StartWorker
) -> None:
    before = _sessions()
    start_worker(*GEVENT, DEFAULT_DATABASE={"CONN_MAX_AGE": max_age})
    with transaction.atomic():
        for key in range(30):
            for sent in (outside, async_inside):
                sent.send(sender=None, key=key, task="nap", seconds=0.1)
    most = 0

    def finished() -> bool:
        nonlocal most
        most = max(most, _sessions() - before)
        return all_finished()

    eventually(finished)
    assert 1 < most <= 10 + 2
    eventually(lambda: _sessions() - before <= 2)
    succeed_once(60)


def _sessions() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return int(cursor.fetchone()[0])


@each_pool
def test_receivers_may_start_processes(
    pool: tuple[str, ...], start_worker: StartWorker
) -> None:
    start_worker(*pool)
    for key in range(12):
        inside.send(sender=None, key=key, task="run", seconds=0.1)
    succeed_once(12)


@on_server
def test_a_time_limit_of_celery_ends_no_greenlet(start_worker: StartWorker) -> None:
    start_worker(*GEVENT, "--time-limit", "1")
    inside.send(sender=None, key="long", task="nap", seconds=2)
    succeed_once(1)


@pytest.mark.parametrize("pool", POOLS, ids=lambda pool: pool[1])
def test_a_worker_tells_of_time_limits_that_its_pool_does_not_enforce(
    pool: tuple[str, ...], start_worker: StartWorker
) -> None:
    worker = start_worker(*pool, SIGNAL_TASKS={"RELAY_IN_WORKER": False})
    assert f"The {pool[1]} pool ends no receiver at its time limit" in worker.output
    assert "tests.testapp.receivers.overrun" in worker.output
    timed.send(sender=None, key="late", seconds=1.5)
    succeed_once(1)


def test_the_prefork_pool_has_nothing_to_tell(start_worker: StartWorker) -> None:
    assert "time limit" not in start_worker().output


@pytest.fixture
def start_refused(redis: RedisServer, tmp_path: Path) -> Iterator[StartWorker]:
    workers = Workers(redis, tmp_path)
    yield lambda *options, **env: workers.start(*options, ready=False, **env)
    workers.kill()


def test_the_eventlet_pool_is_refused_at_start(start_refused: StartWorker) -> None:
    worker = start_refused(CELERY={"WORKER_POOL": "eventlet"})
    assert worker.wait() == 1
    assert "The eventlet pool is not supported" in worker.output


@with_gevent
def test_the_gevent_pool_is_refused_without_its_patches(
    start_refused: StartWorker,
) -> None:
    worker = start_refused(CELERY={"WORKER_POOL": "gevent"})
    assert worker.wait() == 1
    assert "--pool gevent" in worker.output


@with_gevent
@pytest.mark.skipif(connection.vendor != "sqlite", reason="needs SQLite")
def test_the_gevent_pool_is_refused_on_sqlite(start_refused: StartWorker) -> None:
    worker = start_refused(*GEVENT)
    assert worker.wait() == 1
    assert "database 'default' stops all greenlets" in worker.output


EVENT_LOOPS = """
from gevent import monkey; monkey.patch_all()
import asyncio, os, django, gevent
from asgiref.sync import async_to_sync, sync_to_async

django.setup()
from signal_tasks.worker.greenlets import run_event_loops_in_threads

run_event_loops_in_threads()
main, seen = gevent.get_hub(), set()

def look():
    try:
        asyncio.get_running_loop()
        seen.add("an event loop")
    except RuntimeError:
        pass
    if gevent.get_hub() is not main:
        seen.add("another thread")

def back(number):
    look()
    gevent.sleep(0.001)
    return async_to_sync(coroutine)(number, depth=1)

async def coroutine(number, depth=0):
    await asyncio.sleep(0.001)
    return number if depth else await sync_to_async(back)(number)

def watch():
    while True:
        look()
        gevent.sleep(0.001)

gevent.spawn(watch)
for _ in range(40):
    calls = [gevent.spawn(async_to_sync(coroutine), number) for number in range(50)]
    gevent.joinall(calls, timeout=30)
    assert [call.value for call in calls] == list(range(50))
assert not seen, seen
threads = lambda: len(os.listdir("/proc/self/task"))
with gevent.Timeout(30):
    while threads() > 1:
        gevent.sleep(0.1)
"""


@with_gevent
def test_event_loops_run_beside_greenlets_and_leave_no_thread_behind() -> None:
    run = subprocess.run(
        [sys.executable, "-c", EVENT_LOOPS],
        cwd=ROOT,
        env=environment("memory://"),
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert run.returncode == 0, run.stderr
