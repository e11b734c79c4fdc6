"""Deliveries whose worker dies, hangs or is paused are not lost."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from django.db import connection, transaction

from signal_tasks import AsyncSignal
from signal_tasks.models import Attempt, Delivery, Worker
from tests.integration.conftest import StartWorker
from tests.integration.workers import (
    Run,
    all_finished,
    effects,
    eventually,
    keys,
    runs,
    runs_of,
    states,
)
from tests.testapp.signals import inside, outside, timed

BOTH = pytest.mark.parametrize("sent", [inside, outside], ids=["inside", "outside"])


@BOTH
def test_a_receiver_that_kills_its_process_is_given_up_as_lost(
    sent: AsyncSignal, start_worker: StartWorker
) -> None:
    start_worker(TEST_LEASE="0.5")
    sent.send(sender=None, key="c", task="crash")
    eventually(all_finished)
    assert runs_of("c") == 3
    assert Delivery.objects.get().reason == "lost"
    assert Delivery.objects.get().attempts == 3
    assert {a.error_type for a in Attempt.objects.all()} == {"WorkerLost"}


@BOTH
def test_what_shared_a_message_with_a_killer_succeeds_and_loses_no_attempt(
    sent: AsyncSignal, start_worker: StartWorker
) -> None:
    with transaction.atomic():
        for number in range(20):
            sent.send(sender=None, key=number, task="crash" if number == 7 else "")
    start_worker(TEST_LEASE="1")
    eventually(all_finished)
    assert states() == {"succeeded": 19, "dead": 1}
    assert Delivery.objects.get(state="dead").reason == "lost"
    assert runs_of(7) == Delivery.objects.get(state="dead").attempts == 3
    assert Delivery.objects.filter(state="succeeded", attempts=1).count() == 19
    assert set(effects(sent.name.rpartition(".")[2])) >= set(keys(20)) - {"7"}


@BOTH
def test_a_killed_pool_process_loses_nothing(
    sent: AsyncSignal, start_worker: StartWorker
) -> None:
    start_worker(TEST_LEASE="1")
    sent.send(sender=None, key="k", task="nap", seconds=0.7)
    os.kill(begun(sent).pid, signal.SIGKILL)
    eventually(all_finished)
    check_finish("k", sent)


@BOTH
def test_what_a_killed_pool_process_held_does_not_wait_for_its_lease(
    sent: AsyncSignal, start_worker: StartWorker
) -> None:
    start_worker(TEST_LEASE="300")
    sent.send(sender=None, key="k", task="nap", seconds=0.7)
    os.kill(begun(sent).pid, signal.SIGKILL)
    eventually(all_finished, seconds=15)
    check_finish("k", sent)


def test_what_another_process_runs_is_left_to_it(start_worker: StartWorker) -> None:
    start_worker(TEST_LEASE="300")
    outside.send(sender=None, key="killed", task="nap", seconds=2)
    (killed,) = eventually(runs)
    outside.send(sender=None, key="spared", task="nap", seconds=2)
    eventually(lambda: runs_of("spared"))
    os.kill(killed.pid, signal.SIGKILL)
    eventually(all_finished)
    assert runs_of("spared") == 1
    assert runs_of("killed") == 2


@BOTH
def test_a_killed_worker_loses_nothing(
    sent: AsyncSignal, start_worker: StartWorker
) -> None:
    first = start_worker(TEST_LEASE="1")
    sent.send(sender=None, key="k", task="nap", seconds=0.7)
    begun(sent)
    first.kill()
    start_worker(TEST_LEASE="1")
    eventually(all_finished)
    check_finish("k", sent)


def begun(sent: AsyncSignal) -> Run:
    """Wait until its receiver has left all that a kill leaves there."""
    if sent is outside:
        eventually(lambda: effects("outside"))
    (run,) = eventually(runs)
    assert isinstance(run, Run)
    return run


def check_finish(key: str, sent: AsyncSignal) -> None:
    what = sent.name.rpartition(".")[2]
    assert states() == {"succeeded": 1}
    assert runs_of(key) == 2
    # What ran outside of a transaction had its effect when its process was killed.
    assert effects(what) == [key] * (1 if sent is inside else 2)


@pytest.mark.skipif(connection.vendor != "sqlite", reason="SQLite locks by process")
def test_a_replaced_pool_process_inherits_no_open_file_of_the_database(
    start_worker: StartWorker,
) -> None:
    worker = start_worker("-c", "1")
    (child,) = worker.children()
    eventually(Worker.objects.exists)  # the relay has used its connection
    os.kill(child, signal.SIGKILL)
    eventually(lambda: worker.children() not in ([], [child]))
    (child,) = worker.children()
    files = [str(fd.readlink()) for fd in Path(f"/proc/{child}/fd").iterdir()]
    assert not [file for file in files if ".sqlite3" in file]
    inside.send(sender=None, key="i")
    eventually(all_finished)
    assert {run.pid for run in runs()} == {child}


def test_a_receiver_deaf_to_its_limit_is_ended_and_given_up(
    start_worker: StartWorker,
) -> None:
    start_worker()
    timed.send(sender=None, key="deaf", seconds=60, deaf=True)
    eventually(lambda: runs_of("deaf") == 2)
    # The process records the failure itself, unless it is killed before.
    assert Attempt.objects.get().error_type in ("TimeoutError", "WorkerLost")
    assert Delivery.objects.get().attempts == 2


@pytest.mark.skipif(connection.vendor == "sqlite", reason="it locks all of SQLite")
def test_a_worker_paused_past_its_lease_neither_doubles_nor_overwrites(
    start_worker: StartWorker,
) -> None:
    first = start_worker(TEST_LEASE="1")
    inside.send(sender=None, key="p", task="nap", seconds=0.5)
    eventually(runs)
    first.send_all(signal.SIGSTOP)
    second = start_worker(TEST_LEASE="5")
    eventually(all_finished)
    finished = Delivery.objects.values().get()
    first.send_all(signal.SIGCONT)
    eventually(lambda: "1 fenced" in first.output)
    assert effects("inside") == ["p"]
    assert Delivery.objects.values().get() == finished
    assert len(runs("inside")) == 2
    assert first.is_running()
    assert second.is_running()


def test_a_worker_paused_outside_of_a_transaction_does_not_overwrite(
    start_worker: StartWorker,
) -> None:
    first = start_worker(TEST_LEASE="1")
    outside.send(sender=None, key="p", task="nap", seconds=0.5)
    eventually(lambda: effects("outside"))
    first.send_all(signal.SIGSTOP)
    start_worker(TEST_LEASE="5")
    eventually(all_finished)
    finished = Delivery.objects.values().get()
    first.send_all(signal.SIGCONT)
    eventually(lambda: "1 fenced" in first.output)
    assert Delivery.objects.values().get() == finished
    assert runs_of("p") == 2


@pytest.mark.skipif(connection.vendor != "sqlite", reason="others go on meanwhile")
def test_a_worker_paused_while_it_locks_sqlite_goes_on_where_it_was(
    start_worker: StartWorker,
) -> None:
    first = start_worker(TEST_LEASE="1")
    inside.send(sender=None, key="p", task="nap", seconds=0.5)
    eventually(runs)
    first.send_all(signal.SIGSTOP)
    start_worker(TEST_LEASE="5")
    first.send_all(signal.SIGCONT)
    eventually(all_finished)
    assert effects("inside") == ["p"]
