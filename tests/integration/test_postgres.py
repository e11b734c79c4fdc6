"""Faults that only a database server has: broken connections, restarts, deadlocks."""

from __future__ import annotations

import os
import signal
import time
from functools import partial

import pytest
from django.db import OperationalError, connection, connections, transaction

from signal_tasks import AsyncSignal
from signal_tasks.models import Attempt, Delivery
from tests.integration.conftest import StartWorker
from tests.integration.workers import (
    all_finished,
    effects,
    eventually,
    keys,
    runs,
    runs_of,
    states,
)
from tests.testapp.models import Thing
from tests.testapp.signals import inside, met, outside

pytestmark = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="needs PostgreSQL"
)

BOTH = pytest.mark.parametrize("sent", [inside, outside], ids=["inside", "outside"])
#: Every other connection of the server to the database of the tests.
OTHERS = "datname = current_database() AND pid <> pg_backend_pid()"


def have_run(number: int) -> bool:
    return len(runs()) > number


def end_all_connections() -> None:
    """Break every connection but this one."""
    with connection.cursor() as cursor:
        query = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OTHERS}"
        cursor.execute(query)


@BOTH
def test_broken_connections_in_the_middle_of_work_lose_nothing(
    sent: AsyncSignal, start_worker: StartWorker
) -> None:
    start_worker(TEST_LEASE="2")
    with transaction.atomic():
        for key in range(30):
            sent.send(sender=None, key=key, task="nap", seconds=0.05)
    for number in (3, 9, 15):
        eventually(partial(have_run, number))
        end_all_connections()
    eventually(all_finished)
    assert states() == {"succeeded": 30}
    if sent is inside:
        assert effects("inside") == keys(30)
    assert set(effects(sent.name.rpartition(".")[2])) == set(keys(30))


def test_an_idle_worker_whose_connections_were_broken_delivers_at_once(
    start_worker: StartWorker,
) -> None:
    start_worker("-c", "1", SIGNAL_TASKS={"RELAY_INTERVAL": 3600})
    inside.send(sender=None, key="before")
    eventually(all_finished)
    end_all_connections()
    start = time.monotonic()
    inside.send(sender=None, key="after")
    eventually(all_finished)
    assert time.monotonic() - start < 1
    assert Delivery.objects.filter(attempts=1).count() == 2


@pytest.mark.skipif(
    os.environ.get("TEST_DATABASE") != "postgres", reason="not a server of our own"
)
@BOTH
def test_a_server_that_dies_and_recovers_loses_nothing(
    sent: AsyncSignal, start_worker: StartWorker
) -> None:
    worker = start_worker(TEST_LEASE="3")
    with transaction.atomic():
        for key in range(30):
            sent.send(sender=None, key=key, task="nap", seconds=0.05)
    eventually(lambda: len(runs()) > 5)
    crash_server()
    eventually(all_finished)
    assert states() == {"succeeded": 30}
    if sent is inside:
        assert effects("inside") == keys(30)
    assert set(effects(sent.name.rpartition(".")[2])) == set(keys(30))
    assert worker.is_running()


def crash_server() -> None:
    """Crash the server, and wait until it has recovered from its log.

    It does so when one of its own processes dies, as after an immediate stop.
    """
    query = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"
    with connection.cursor() as cursor:
        cursor.execute(query)
        os.kill(cursor.fetchone()[0], signal.SIGKILL)
    eventually(lambda: not is_served())
    connections.close_all()
    eventually(is_served)


def is_served() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except OperationalError:
        return False
    return True


@pytest.mark.parametrize("number", [1, 3])
def test_a_deadlock_between_receivers_is_resolved(
    number: int, start_worker: StartWorker
) -> None:
    things = [Thing.objects.create(name="untouched") for _ in range(2)]
    start_worker(CELERY={"WORKER_PREFETCH_MULTIPLIER": 1})
    met.send_many(sender=None, items=[{"things": things}] * number)
    eventually(all_finished)
    assert states() == {"succeeded": 2 * number}
    assert len(effects("forwards")) == len(effects("backwards")) == number
    assert len(runs()) > 2 * number
    assert {a.error_type for a in Attempt.objects.all()} <= {"OperationalError"}


def test_a_worker_stopped_by_a_signal_leaves_no_lock_behind(
    start_worker: StartWorker,
) -> None:
    worker = start_worker(CELERY={"WORKER_SOFT_SHUTDOWN_TIMEOUT": 0.1})
    inside.send(sender=None, key="l", task="nap", seconds=20)
    eventually(runs)
    worker.send(signal.SIGQUIT)
    worker.wait()
    # The server learns a moment later that the client of a connection is gone.
    eventually(lambda: not transaction_is_open_elsewhere(), seconds=5)
    assert runs_of("l") == 1


def transaction_is_open_elsewhere() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT state FROM pg_stat_activity WHERE {OTHERS}")
        return ("idle in transaction",) in cursor.fetchall()
