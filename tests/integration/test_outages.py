"""Nothing is lost while the broker is down, empty or silent."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis as redis_client
from django.db import connection, transaction

from signal_tasks import health
from signal_tasks.broker.publisher import publisher
from tests.integration.conftest import StartWorker, flush
from tests.integration.workers import (
    all_finished,
    effects,
    eventually,
    keys,
    python,
    runs,
    runs_of,
    states,
)
from tests.servers import RedisServer
from tests.testapp.signals import happened, outside, queued

#: The longest time (seconds) of a send and its commit on a busy machine.
A_MOMENT = 0.3


@contextmanager
def no_connection_from_here() -> Iterator[None]:
    """Fail when this thread opens a connection; others may."""
    this = threading.get_ident()
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: Any) -> None:
        if threading.get_ident() == this:
            pytest.fail(f"the sending thread connects to {address}")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        yield


def send_and_commit(number: int) -> float:
    """Send so many events in a transaction each; return the longest time."""
    longest = 0.0
    for key in range(number):
        start = time.perf_counter()
        with transaction.atomic():
            happened.send(sender=None, key=key)
        longest = max(longest, time.perf_counter() - start)
    return longest


def send_singly(number: int, *, seconds: float) -> None:
    """Send events to a napping receiver, each in a message of its own."""
    for key in range(number):
        outside.send(sender=None, key=key, task="nap", seconds=seconds)
        assert publisher.flush(5)


def test_the_sending_thread_opens_no_connection_to_the_broker(
    redis: RedisServer, transactional_db: None
) -> None:
    connection.ensure_connection()  # PyMySQL connects by Python's sockets, too
    with no_connection_from_here():
        send_and_commit(3)
    assert publisher.flush(5)
    with redis_client.Redis.from_url(redis.url) as client:
        assert client.llen("tests") > 0


def test_events_sent_before_any_worker_runs_are_delivered_when_one_starts(
    redis: RedisServer, start_worker: StartWorker
) -> None:
    send_and_commit(20)
    start_worker()
    eventually(all_finished)
    assert effects("atomic") == effects("outside") == keys(20)


def test_events_sent_while_the_broker_is_down_are_delivered_when_it_is_back(
    redis: RedisServer, start_worker: StartWorker
) -> None:
    worker = start_worker()
    redis.kill()
    assert send_and_commit(20) < A_MOMENT
    assert states() == {"pending": 40}
    redis.start()
    eventually(all_finished)
    assert effects("atomic") == effects("outside") == keys(20)
    assert worker.is_running()


def test_events_sent_while_the_broker_hangs_cost_no_more(
    redis: RedisServer, start_worker: StartWorker
) -> None:
    start_worker()
    happened.send(sender=None, key="before")  # the connection is open now
    eventually(all_finished)
    redis.pause()
    try:
        with no_connection_from_here():
            assert send_and_commit(20) < A_MOMENT
        assert states() == {"pending": 40, "succeeded": 2}
    finally:
        redis.resume()
    eventually(all_finished)
    assert effects("atomic") == [*keys(20), "before"]


def test_what_was_queued_in_a_broker_that_is_emptied_is_delivered(
    redis: RedisServer, start_worker: StartWorker
) -> None:
    worker = start_worker()
    worker.send_all(signal.SIGSTOP)
    send_singly(12, seconds=0)
    with redis_client.Redis.from_url(redis.url) as client:
        assert client.llen("tests") > 10
    flush(redis)
    worker.send_all(signal.SIGCONT)
    start = time.monotonic()
    eventually(all_finished)
    assert effects("outside") == keys(12)
    assert time.monotonic() - start < 10


def test_a_busy_worker_survives_a_broker_that_comes_back_empty(
    redis: RedisServer, start_worker: StartWorker
) -> None:
    worker = start_worker()
    send_singly(8, seconds=0.6)  # two run, the others are held unacked
    eventually(lambda: len(runs()) > 1)
    redis.kill()
    time.sleep(0.5)
    (redis.folder / "appendonly.aof").unlink()
    redis.start()
    eventually(all_finished, seconds=60)
    assert effects("outside") == keys(8)
    assert worker.is_running()
    outside.send(sender=None, key="after")
    eventually(all_finished)
    assert "after" in effects("outside")


def test_a_pool_of_threads_survives_it_too(
    redis: RedisServer, start_worker: StartWorker
) -> None:
    worker = start_worker("--pool", "threads")
    send_singly(6, seconds=0.4)
    eventually(runs)
    redis.kill()
    time.sleep(0.5)
    redis.start()
    eventually(all_finished, seconds=60)
    assert effects("outside") == keys(6)
    assert worker.is_running()


def test_a_process_that_ends_does_not_wait_for_a_silent_broker(
    redis: RedisServer, transactional_db: None
) -> None:
    redis.pause()
    try:
        done = python(f"{SEND}\nimport time; print(time.monotonic())", redis.url)
        now = time.monotonic()  # of the machine, not of a process
    finally:
        redis.resume()
    assert done.returncode == 0
    assert states() == {"pending": 2}
    assert now - float(done.stdout) < 6  # since its last line


def test_what_a_process_publishes_as_it_ends_arrives(
    redis: RedisServer, start_worker: StartWorker
) -> None:
    start_worker(SIGNAL_TASKS={"RELAY_IN_WORKER": False})
    assert python(SEND, redis.url).returncode == 0
    eventually(all_finished)
    assert runs_of("web") == 2


def test_a_process_that_dies_right_after_its_commit_has_lost_nothing(
    redis: RedisServer, start_worker: StartWorker
) -> None:
    start_worker()
    done = python(f"{SEND}\nimport os; os._exit(7)", redis.url)
    assert done.returncode == 7
    assert set(states()) <= {"pending", "running", "succeeded"}
    eventually(all_finished)
    assert runs_of("web") == 2


def test_a_receiver_that_cannot_be_routed_harms_no_other(
    redis: RedisServer, start_worker: StartWorker
) -> None:
    start_worker(SIGNAL_TASKS={"RELAY_IN_WORKER": False})
    strict = {"TASK_CREATE_MISSING_QUEUES": False}
    sent = "from tests.testapp.signals import happened, queued\n"
    sent += "with __import__('django').db.transaction.atomic():\n"
    sent += " queued.send(sender=None, key='q'); happened.send(sender=None, key='h')"
    done = python(sent, redis.url, CELERY=strict)
    assert "QueueNotFound" in done.stderr or "elsewhere" in done.stderr, done
    eventually(lambda: effects("atomic") == effects("outside") == ["h"])
    assert effects("elsewhere") == []
    start_worker()
    eventually(all_finished)
    assert effects("elsewhere") == ["q"]


def test_a_queue_that_the_broker_refuses_harms_no_other(
    redis: RedisServer, start_worker: StartWorker
) -> None:
    start_worker("-Q", "tests")
    with redis_client.Redis.from_url(redis.url) as client:
        client.set("elsewhere", "not a list")
    for key in range(5):
        with transaction.atomic():
            queued.send(sender=None, key=key)
            happened.send(sender=None, key=key)
        assert publisher.flush(5)
    eventually(lambda: effects("atomic") == effects("outside") == keys(5), seconds=10)
    refused = "5 deliveries of tests.testapp.receivers.note_elsewhere cannot be publi"
    eventually(lambda: any(refused in problem for problem in health()["problems"]))
    with redis_client.Redis.from_url(redis.url) as client:
        client.delete("elsewhere")
    start_worker("-Q", "elsewhere")
    eventually(all_finished)
    assert effects("elsewhere") == keys(5)
    assert health()["parked"] == 0


SEND = """
from django.db import transaction
from tests.testapp.signals import happened
with transaction.atomic():
    happened.send(sender=None, key="web")
"""
