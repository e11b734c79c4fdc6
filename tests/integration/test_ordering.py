"""Real workers keep the order of each key, whatever dies, fails or is paused."""

from __future__ import annotations

import os
import random
import signal
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from django.db import connections, transaction

from signal_tasks import AsyncSignal, operations
from signal_tasks.models import Delivery, Sequence, Turn
from tests.integration.conftest import StartWorker
from tests.integration.workers import (
    CeleryWorker,
    all_finished,
    eventually,
    runs,
    states,
)
from tests.testapp.models import Effect
from tests.testapp.signals import lined_inside, lined_outside

BOTH = pytest.mark.parametrize(
    "sent", [lined_inside, lined_outside], ids=["inside", "outside"]
)


def order(line: str) -> list[int]:
    """Return the effects of a line in the order in which they were left."""
    rows = Effect.objects.filter(what=f"line {line}").order_by("pk")
    return [int(key) for key in rows.values_list("key", flat=True)]


def send(sent: AsyncSignal, line: str, numbers: Any, **kwargs: Any) -> None:
    for number in numbers:
        sent.send(sender=None, line=line, key=number, **kwargs)


def assert_one_at_a_time(line: str) -> None:
    """Check that each began after the one before it had ended, as far as that did."""
    begun = [run.at for run in runs(f"begun {line}")]
    ended = [run.at for run in runs(f"ended {line}")]
    moments = sorted([(at, 1) for at in begun] + [(at, -1) for at in ended])
    assert all(first[1] != second[1] for first, second in pairwise(moments))


@BOTH
def test_lines_that_many_threads_send_run_in_the_order_of_their_commits(
    sent: AsyncSignal, start_worker: StartWorker
) -> None:
    for _ in range(2):
        start_worker()
    counts = dict.fromkeys("abc", 0)
    locks = {line: threading.Lock() for line in counts}

    def client(number: int) -> None:
        rng = random.Random(number)
        for _ in range(20):
            line = rng.choice("abc")
            with locks[line], transaction.atomic():
                counts[line] += 1
                send(sent, line, [counts[line]])
        connections.close_all()

    threads = [threading.Thread(target=client, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    eventually(all_finished)
    for line, count in counts.items():
        assert order(line) == list(range(1, count + 1))
        if sent is lined_outside:
            assert_one_at_a_time(line)
    assert not Turn.objects.exists()


@BOTH
def test_a_killed_pool_process_keeps_the_order(
    sent: AsyncSignal, start_worker: StartWorker
) -> None:
    start_worker(TEST_LEASE="1")
    with transaction.atomic():
        send(sent, "a", range(3))
        send(sent, "a", [3], task="nap once", seconds=1)
        send(sent, "a", range(4, 30))
    run = eventually(lambda: [run for run in runs("begun a") if run.key == "3"])[0]
    os.kill(run.pid, signal.SIGKILL)
    eventually(all_finished)
    assert states() == {"succeeded": 30}
    final = last_of_each(order("a"))
    assert final == list(range(30))
    if sent is lined_inside:
        assert order("a") == final


def last_of_each(numbers: list[int]) -> list[int]:
    return [n for place, n in enumerate(numbers) if n not in numbers[place + 1 :]]


def test_a_killed_worker_keeps_the_order(start_worker: StartWorker) -> None:
    first = start_worker(TEST_LEASE="2")
    with transaction.atomic():
        send(lined_inside, "a", [0], task="nap once", seconds=1)
        send(lined_inside, "a", range(1, 20))
        send(lined_inside, "b", range(20))
    eventually(lambda: runs("begun a"))
    first.kill()
    start_worker(TEST_LEASE="2")
    eventually(all_finished)
    assert order("a") == order("b") == list(range(20))


@BOTH
def test_failures_keep_what_comes_behind_them_waiting(
    sent: AsyncSignal, start_worker: StartWorker
) -> None:
    start_worker()
    with transaction.atomic():
        send(sent, "a", range(5))
        send(sent, "a", [5], task="wait", seconds=1.5)
        send(sent, "a", range(6, 10))
        send(sent, "b", range(10))
    eventually(lambda: len(order("b")) == 10)
    eventually(all_finished)
    assert last_of_each(order("a")) == order("b") == list(range(10))


@BOTH
def test_a_dead_letter_blocks_until_it_is_replayed(
    sent: AsyncSignal, start_worker: StartWorker, monkeypatch: Any
) -> None:
    start_worker()
    with transaction.atomic():
        send(sent, "a", range(3))
        send(sent, "a", [3], task="reject")
        send(sent, "a", range(4, 8))
        send(sent, "b", range(8))
    (blocked,) = eventually(operations.blocked_keys)
    eventually(lambda: len(order("b")) == 8)
    assert (blocked.key, blocked.waiting) == ("a", 4)
    assert max(order("a")) <= 3
    Delivery.objects.filter(pk=blocked.delivery_id).discard()
    eventually(all_finished, seconds=10)
    assert [n for n in order("a") if n != 3] == [0, 1, 2, 4, 5, 6, 7]


def test_a_skipped_dead_letter_lets_the_others_run_at_once(
    start_worker: StartWorker,
) -> None:
    start_worker()
    send(lined_inside, "a", [0], task="reject")
    send(lined_inside, "a", range(1, 5))
    (blocked,) = eventually(operations.blocked_keys)
    eventually(lambda: operations.blocked_keys()[0].waiting == 4)
    operations.skip(blocked.delivery_id, by="ann", reason="wrong")
    eventually(all_finished, seconds=10)
    assert order("a") == [1, 2, 3, 4]
    assert states() == {"dead": 1, "succeeded": 4}


def test_a_paused_receiver_goes_on_in_its_order(start_worker: StartWorker) -> None:
    start_worker()
    operations.pause("receiver:tests.testapp.receivers.work_in_line", reason="test")
    try:
        with transaction.atomic():
            send(lined_inside, "a", range(20))
        eventually(lambda: Sequence.objects.filter(last=20))
    finally:
        operations.resume("receiver:tests.testapp.receivers.work_in_line")
    eventually(all_finished)
    assert order("a") == list(range(20))


def test_a_lost_broker_keeps_the_order(
    start_worker: StartWorker, redis: Any, tmp_path: Path
) -> None:
    start_worker()
    with transaction.atomic():
        send(lined_inside, "a", range(10), task="nap", seconds=0.05)
    eventually(lambda: order("a"))
    from tests.integration.conftest import flush

    flush(redis)
    with transaction.atomic():
        send(lined_inside, "a", range(10, 20))
    eventually(all_finished)
    assert order("a") == list(range(20))


def test_a_stopped_worker_leaves_the_rest_in_order(
    start_worker: StartWorker,
) -> None:
    first: CeleryWorker = start_worker()
    with transaction.atomic():
        send(lined_inside, "a", range(30), task="nap", seconds=0.05)
    eventually(lambda: len(order("a")) > 1 or runs("begun a"))
    first.send(signal.SIGTERM)
    start_worker()
    eventually(all_finished)
    assert order("a") == list(range(30))
