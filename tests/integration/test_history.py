"""Counts of real workers add up, over their processes and over their lives."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from signal_tasks.models import History
from signal_tasks.models.history import ALL, MINUTE, TOTAL
from tests.integration.conftest import StartWorker
from tests.integration.workers import (
    ROOT,
    all_finished,
    environment,
    eventually,
    runs,
)
from tests.servers import RedisServer
from tests.testapp.receivers import fail, note_atomically, note_outside
from tests.testapp.signals import failed, happened

ATOMIC, OUTSIDE, FAILING = (
    f"{each.__module__}.{each.__qualname__}"
    for each in (note_atomically, note_outside, fail)
)


def total(receiver: str, column: str = "succeeded", step: int = TOTAL) -> int:
    rows = History.objects.filter(receiver=receiver, step=step)
    return sum(rows.values_list(column, flat=True))


def send(number: int) -> None:
    happened.send_many(sender=None, items=[{"key": key} for key in range(number)])


def test_the_counts_of_several_processes_and_workers_add_up(
    start_worker: StartWorker,
) -> None:
    start_worker("-n", "w@left")
    start_worker("-n", "w@right")
    send(400)
    eventually(all_finished)
    assert len({run.pid for run in runs()}) > 1
    eventually(lambda: total(ALL) == 800)
    assert total(ATOMIC) == total(OUTSIDE) == 400
    assert total(ATOMIC, step=MINUTE) == 400
    assert total(ATOMIC, "attempts_0") == 400


def test_a_worker_that_is_stopped_writes_what_it_has_counted(
    start_worker: StartWorker,
) -> None:
    worker = start_worker()
    send(50)
    failed.send(sender=None, times=1)
    eventually(all_finished)
    worker.send(signal.SIGTERM)
    worker.wait(60)
    assert total(ATOMIC) == 50
    assert (total(FAILING, "retried"), total(FAILING)) == (1, 1)


def test_counts_survive_a_worker_that_is_killed_and_started_again(
    start_worker: StartWorker,
) -> None:
    worker = start_worker()
    send(30)
    eventually(lambda: total(ATOMIC) == 30)
    worker.kill()
    start_worker()
    send(30)
    eventually(lambda: total(ATOMIC) == 60)


def test_processes_that_the_pool_recycles_write_what_they_have_counted(
    start_worker: StartWorker,
) -> None:
    start_worker("--max-tasks-per-child", "1")
    for _ in range(6):
        send(5)
        eventually(all_finished)
    eventually(lambda: total(ATOMIC) == 30)


def test_without_the_setting_nothing_is_counted(start_worker: StartWorker) -> None:
    worker = start_worker(SIGNAL_TASKS={"HISTORY": False})
    send(20)
    eventually(all_finished)
    worker.send(signal.SIGTERM)
    worker.wait(60)
    assert not History.objects.exists()


@pytest.fixture
def exporter(redis: RedisServer, transactional_db: None) -> Iterator[str]:
    """Start the exporter as a process of its own; return its address."""
    command = (sys.executable, "-u", "-m", "django", "signal_tasks", "exporter")
    process = subprocess.Popen(
        [*command, "--port", "0"],
        cwd=ROOT,
        env=environment(redis.url),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    yield process.stdout.readline().split()[-1]
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    process.stdout.close()


def scraped(url: str, name: str) -> float:
    with urlopen(url, timeout=30) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    samples = [sample for family in families for sample in family.samples]
    return sum(sample.value for sample in samples if sample.name == name)


def test_the_exporter_tells_what_all_workers_have_done(
    exporter: str, start_worker: StartWorker
) -> None:
    start_worker()
    send(100)
    eventually(lambda: scraped(exporter, "signal_tasks_attempts_total") == 200)
    assert scraped(exporter, "signal_tasks_workers") == 1
    assert scraped(exporter, "signal_tasks_run_seconds_count") == 200
