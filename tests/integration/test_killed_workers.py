"""A worker that is killed as a whole leaves nothing waiting for its leases."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest
from django.db import connection
from django.db.models import Q

from signal_tasks.db.clock import from_now
from signal_tasks.models import Delivery, Worker
from tests.integration.conftest import StartWorker
from tests.integration.workers import (
    CeleryWorker,
    all_finished,
    eventually,
    keys,
    runs,
    runs_of,
    states,
)
from tests.servers import RedisServer
from tests.testapp.signals import noted, outside

#: Leases in these tests are far longer than any of them may take.
LEASE = {"TEST_LEASE": "600"}
MANY = 1000
#: One claim takes all, once it has seen how quick they are.
LARGE = {"CHUNK_SIZE": MANY, "GROUP_SECONDS": 60, "MESSAGE_SECONDS": 600}


def running() -> int:
    return Delivery.objects.filter(state="running").count()


def leased_long() -> Q:
    """Select deliveries that run under a lease of several minutes."""
    return Q(state="running", isolated=False, next_check_at__gt=from_now(60))


def reports() -> list[str]:
    return sorted(Worker.objects.values_list("name", flat=True))


def wait_for_reports(number: int) -> None:
    eventually(lambda: len(reports()) == number)


def holding(worker: CeleryWorker, number: int) -> None:
    """Have this worker hold so many deliveries; the first of them naps in it."""
    warm = 0
    while warm < number:  # each claim is at most four times as large as the last
        items = [{"key": f"warm{n}"} for n in range(warm, 2 * warm + 10)]
        noted.send_many(sender=None, items=items)
        warm += len(items)
        eventually(all_finished)
    naps = [{"key": key, "naps": True} for key in range(number)]
    noted.send_many(sender=None, items=naps)
    eventually(lambda: running() == number)


@pytest.mark.skipif(connection.vendor == "sqlite", reason="one writer at a time")
def test_a_thousand_deliveries_of_a_killed_worker_are_released_within_15_s(
    redis: RedisServer, start_worker: StartWorker, settings: Any
) -> None:
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "CHUNK_SIZE": MANY}
    killed = start_worker("-c", "1", SIGNAL_TASKS=LARGE, TEST_NAPS="1", **LEASE)
    holding(killed, MANY)
    start_worker(TEST_REPUBLISH_AFTER="5", TEST_RELAY_INTERVAL="1", **LEASE)
    wait_for_reports(2)
    killed.kill()
    killed_at = time.time()
    eventually(lambda: not Delivery.objects.filter(leased_long()).exists())
    assert time.time() - killed_at < 15
    eventually(all_finished, seconds=150)  # each has a message of its own now
    again = [run for run in runs("note") if run.at > killed_at]
    assert sorted(run.key for run in again) == keys(MANY)
    after = sorted(run.at - killed_at for run in again)
    print(f"ran again after {after[0]:.1f} s (the first) to {after[-1]:.1f} s (all)")


def test_what_a_killed_worker_held_runs_again_when_it_is_started_again(
    redis: RedisServer, start_worker: StartWorker
) -> None:
    worker = start_worker(TEST_NAPS="1", **LEASE)
    outside.send(sender=None, key="held", task="nap there", seconds=600)
    eventually(runs)
    wait_for_reports(1)
    worker.kill()
    start_worker(**LEASE)
    eventually(all_finished)
    assert runs_of("held") == 2
    eventually(lambda: len(reports()) == 1)


def test_a_worker_without_a_relay_is_missed_by_another_relay(
    redis: RedisServer, start_worker: StartWorker
) -> None:
    killed = start_worker(
        TEST_NAPS="1", SIGNAL_TASKS={"RELAY_IN_WORKER": False}, **LEASE
    )
    outside.send(sender=None, key="held", task="nap there", seconds=600)
    eventually(runs)
    start_worker(**LEASE)
    wait_for_reports(2)
    killed.kill()
    eventually(all_finished)
    assert runs_of("held") == 2


def test_a_worker_without_a_relay_takes_its_report_along_when_it_stops(
    redis: RedisServer, start_worker: StartWorker
) -> None:
    worker = start_worker(SIGNAL_TASKS={"RELAY_IN_WORKER": False})
    wait_for_reports(1)
    worker.send(signal.SIGTERM)
    worker.wait()
    assert reports() == []


def test_a_worker_at_work_for_longer_than_its_reports_may_stop_keeps_its_lease(
    redis: RedisServer, start_worker: StartWorker
) -> None:
    for _ in range(2):
        start_worker(SIGNAL_TASKS={"WORKER_TTL": 2}, **LEASE)
    wait_for_reports(2)
    outside.send(sender=None, key="long", task="nap", seconds=8)
    eventually(all_finished)
    assert runs_of("long") == 1
    assert states() == {"succeeded": 1}


def test_a_worker_that_was_paused_is_fenced_and_goes_on(
    redis: RedisServer, start_worker: StartWorker
) -> None:
    paused = start_worker(TEST_NAPS="1", SIGNAL_TASKS={"WORKER_TTL": 2}, **LEASE)
    outside.send(sender=None, key="paused", task="nap there", seconds=10)
    eventually(runs)
    start_worker(SIGNAL_TASKS={"WORKER_TTL": 2}, **LEASE)
    wait_for_reports(2)
    paused.send_all(signal.SIGSTOP)
    eventually(all_finished)
    paused.send_all(signal.SIGCONT)
    eventually(lambda: "delivery_fenced" in paused.output)
    assert runs_of("paused") == 2
    assert states() == {"succeeded": 1}
    wait_for_reports(2)
