"""Senders and workers of the same keys at the same time, in real transactions."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction

from signal_tasks.models import Delivery, Event, Sequence, Turn
from tests.signal_tasks.ordering.steps import (
    AT_ONCE,
    Ordered,
    in_thread,
    positions,
)

pytestmark = pytest.mark.django_db(transaction=True)
needs_writers = pytest.mark.skipif(
    connection.vendor == "sqlite", reason="SQLite has one writer at a time"
)


@needs_writers
def test_positions_follow_the_commits_not_the_sends() -> None:
    """The second sender waits for the first one, which holds the sequence."""
    ordered = Ordered()
    sent = threading.Event()
    handles: dict[str, Any] = {}

    def second() -> None:
        sent.wait(10)
        handles["second"] = ordered.send("second")

    with in_thread(second), transaction.atomic():
        handles["first"] = ordered.send("first")
        sent.set()
        time.sleep(0.3)  # the second one has had time to commit, had it not waited
        assert "second" not in handles
    assert positions(handles["first"], handles["second"]) == [1, 2]


@needs_writers
def test_a_sender_that_rolls_back_gives_its_position_to_the_next() -> None:
    ordered = Ordered()
    sent = threading.Event()
    handles: dict[str, Any] = {}

    def second() -> None:
        sent.wait(10)
        handles["second"] = ordered.send("second")

    with in_thread(second), transaction.atomic():
        ordered.send("first")
        sent.set()
        time.sleep(0.1)
        transaction.set_rollback(True)
    assert positions(handles["second"]) == [1]


@needs_writers
def test_senders_of_other_keys_do_not_wait() -> None:
    ordered = Ordered()
    ordered.send(0, key="b")
    with transaction.atomic():
        ordered.send(0, key="a")
        ordered.send(0, key="c")
        for key in ("b", "new", "aa"):
            with in_thread(partial(ordered.send, 1, key=key)):
                pass
    assert Turn.objects.count() == 6


def test_many_senders_of_the_same_and_of_new_keys_get_no_error() -> None:
    ordered = Ordered()

    def send(number: int) -> None:
        rng = random.Random(number)
        for n in range(15):
            if rng.random() < 0.3:
                items = [{"n": f"{number} {n} {i}"} for i in range(20)]
                keyed = ordered.signal.using(key=f"many {rng.randrange(3)}")
                keyed.send_many(sender=None, items=items)
            ordered.send(n, key=f"key {rng.randrange(10)}")
            ordered.send(n, key=f"new {number} {n}")

    with ExitStack() as threads:
        for number in range(6):
            threads.enter_context(in_thread(partial(send, number)))
    by_sequence = defaultdict(list)
    for sequence, position in Turn.objects.values_list("sequence_id", "position"):
        by_sequence[sequence].append(position)
    last = dict(Sequence.objects.values_list("pk", "last"))
    assert {pk: sorted(found) for pk, found in by_sequence.items()} == {
        pk: list(range(1, number + 1)) for pk, number in last.items()
    }
    assert Turn.objects.count() == Event.objects.count()


@needs_writers
def test_senders_of_many_keys_in_opposite_orders_do_not_deadlock() -> None:
    ordered = Ordered()
    ordered.signal._key = lambda sender, n, **_: n
    names = [f"key {n}" for n in range(50)]

    def send(number: int) -> None:
        rng = random.Random(number)
        for _ in range(10):
            some = rng.sample(names, len(names))
            ordered.signal.send_many(sender=None, items=[{"n": n} for n in some])

    with ExitStack() as threads:
        for number in range(4):
            threads.enter_context(in_thread(partial(send, number)))
    assert set(Sequence.objects.values_list("last", flat=True)) == {40}


class History:
    """The calls of an ordered receiver, which fails at random; numbers by key."""

    def __init__(self) -> None:
        self.running: dict[str, int] = defaultdict(int)
        self.ended: dict[str, list[int]] = defaultdict(list)
        self.overlaps: list[str] = []
        self.rng = random.Random(1)

    def __call__(self, n: Any) -> None:
        key, number = n
        self.running[key] += 1
        if self.running[key] > 1:
            self.overlaps.append(f"{key} {number}")
        time.sleep(self.rng.random() * 0.002)
        self.running[key] -= 1
        if self.rng.random() < 0.05:
            raise RuntimeError("at random")
        self.ended[key].append(number)


@pytest.mark.parametrize("atomic", [True, False])
def test_workers_that_get_all_messages_at_once_keep_the_order(atomic: bool) -> None:
    """Four workers, doubled messages in any order, failures and replays."""
    ordered = Ordered(atomic=atomic, retry=AT_ONCE)
    ordered.during = history = History()
    handles = [
        ordered.send((f"key {n % 5}", n), key=f"key {n % 5}") for n in range(150)
    ]
    until = time.monotonic() + 120

    def work(number: int) -> None:
        rng = random.Random(number)
        while "pending" in ordered.states() and time.monotonic() < until:
            ordered.run(*rng.sample(handles, 20))
            for dead in Delivery.objects.dead():
                Delivery.objects.filter(pk=dead.pk).replay()

    with ExitStack() as threads:
        for number in range(1 if connection.vendor == "sqlite" else 4):
            threads.enter_context(in_thread(partial(work, number)))
    assert set(ordered.states()) == {"succeeded"}
    assert not history.overlaps
    assert not Turn.objects.exists()
    for numbers in history.ended.values():
        # A transaction that was rolled back runs again from where it began.
        final = [n for at, n in enumerate(numbers) if n not in numbers[at + 1 :]]
        assert final == sorted(final)
        assert atomic or numbers == final


def test_a_sender_and_a_pruned_sequence_do_not_meet() -> None:
    from signal_tasks.steering.turns import Sweep, sweep

    ordered = Ordered()
    done = threading.Event()

    def prune() -> None:
        state = Sweep()
        while not done.is_set():
            sweep(state, database="default")

    try:
        with in_thread(prune):
            for n in range(100):
                handle = ordered.send(n)
                ordered.run(handle)
            done.set()
    finally:
        done.set()
    assert ordered.calls == list(range(100))
    assert not Turn.objects.exists()
