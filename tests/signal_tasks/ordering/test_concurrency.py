"""Senders and workers of the same keys at the same time, in real transactions."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction

from signal_tasks import DeliveryHandle, operations
from signal_tasks.db.clock import from_now
from signal_tasks.delivery.writing import FOLLOW_AFTER
from signal_tasks.models import Delivery, Event, Sequence, Turn
from signal_tasks.relay.recovery import recover
from signal_tasks.states import State
from tests.signal_tasks.ordering.steps import (
    AT_ONCE,
    ONCE,
    Ordered,
    in_thread,
    lose,
    positions,
)

pytestmark = pytest.mark.django_db(transaction=True)
on_postgres = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="others send each statement by itself"
)
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


@needs_writers
def test_what_is_sent_while_the_one_before_it_finishes_runs_without_a_relay() -> None:
    """The finishing worker does not see it, so its own message looks again."""
    ordered = Ordered()
    first = ordered.send(1)
    finishing = SlowCommit()

    def finish() -> None:
        with connection.execute_wrapper(finishing):
            ordered.run(first)

    with in_thread(finish):
        assert finishing.has_looked.wait(30)
        second = ordered.send(2)
        ordered.run(second)
    assert ordered.calls == [1, 2]
    assert ordered.states() == ["succeeded", "succeeded"]


@on_postgres
def test_so_it_does_where_the_look_is_sent_along_with_the_finish() -> None:
    ordered = Ordered()
    first = ordered.send(1)
    with slow_commits(), in_thread(lambda: ordered.run(first)):
        until = time.monotonic() + 30
        while not is_locked(first) and time.monotonic() < until:
            time.sleep(0.001)
        second = ordered.send(2)
        ordered.run(second)
    assert ordered.calls == [1, 2]
    assert ordered.states() == ["succeeded", "succeeded"]


@contextmanager
def slow_commits() -> Iterator[None]:
    """Let each transaction that gives up a turn take its time to commit."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_sleep(0.2); RETURN NULL; END $$; "
            "CREATE CONSTRAINT TRIGGER wait AFTER DELETE ON signal_tasks_turn "
            "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait()"
        )
        try:
            yield
        finally:
            cursor.execute("DROP FUNCTION wait CASCADE")


def is_locked(handle: DeliveryHandle) -> bool:
    turns = Turn.objects.filter(pk=handle.id)
    with transaction.atomic():
        return not turns.select_for_update(skip_locked=True).exists()


class SlowCommit:
    """Waits once turns were given up and it is known what comes next."""

    def __init__(self) -> None:
        self.has_looked = threading.Event()
        self._gave_up = False

    def __call__(
        self, execute: Any, sql: str, params: Any, many: Any, context: Any
    ) -> Any:
        result = execute(sql, params, many, context)
        gives_up = "DELETE FROM signal_tasks_turn" in sql
        looks = "AND turn.position >" in sql or "AND position >" in sql
        if (self._gave_up or gives_up) and looks:
            self.has_looked.set()
            time.sleep(0.2)
        self._gave_up = self._gave_up or gives_up
        return result


class SentMeanwhile:
    """The second delivery is sent, and moved away, while the first one runs."""

    def __init__(self, **options: Any) -> None:
        self.ordered = Ordered(**options)
        self.first = self.ordered.send(1)
        self.ordered.during = self._send

    def _send(self, n: Any) -> None:
        if n == 1:
            assert Event.objects.count() == 1  # from now on this is what it sees
            with in_thread(lambda: self.ordered.run(self.ordered.send(2))):
                pass


@needs_writers
@pytest.mark.usefixtures("repeatable_read")
@pytest.mark.parametrize("atomic", [True, False])
def test_what_was_sent_since_the_snapshot_of_the_one_before_it_runs_without_a_relay(
    atomic: bool,
) -> None:
    sent = SentMeanwhile(atomic=atomic)
    sent.ordered.run(sent.first)
    assert sent.ordered.calls == [1, 2]
    assert sent.ordered.states() == ["succeeded", "succeeded"]


@needs_writers
@pytest.mark.usefixtures("repeatable_read")
def test_a_worker_that_does_not_go_on_wakes_what_was_sent_since_its_snapshot() -> None:
    sent = SentMeanwhile()
    sent.ordered.run(sent.first, follows=False)
    soon = Delivery.objects.filter(next_check_at__lte=from_now(FOLLOW_AFTER))
    assert soon.get().state == "pending"


def skip(first: DeliveryHandle) -> None:
    operations.skip(first.id, by="somebody")


def discard(first: DeliveryHandle) -> None:
    Delivery.objects.filter(pk=first.id).discard()


def prune(first: DeliveryHandle) -> None:
    Delivery.objects.prune(State.DEAD, older_than=timedelta(0), limit=10)


class TwoGiveUp:
    """The first delivery gives up its turn while the second one is discarded.

    Each has locked its own row before, and the discard is the first to commit. The turn
    of the first is still there for it, as that of the second is for the other.
    """

    def __init__(
        self,
        give_up: Callable[[], object],
        first: DeliveryHandle,
        second: DeliveryHandle,
    ) -> None:
        self._second = second
        self._is_discarded, self._is_given_up = threading.Event(), threading.Event()
        with transaction.atomic():
            Delivery.objects.select_for_update().get(pk=first.id)
            with in_thread(self._discard):
                try:
                    assert self._is_discarded.wait(30)
                    give_up()
                finally:
                    self._is_given_up.set()

    def _discard(self) -> None:
        with transaction.atomic():
            discard(self._second)
            self._is_discarded.set()
            assert self._is_given_up.wait(30)


@needs_writers
@pytest.mark.parametrize("give_up", [skip, discard, prune])
def test_what_is_behind_two_that_are_given_up_at_the_same_time_is_due(
    give_up: Callable[[DeliveryHandle], None],
) -> None:
    ordered = Ordered(retry=ONCE)
    ordered.rejected = {0}
    first, second, third = ordered.send_all(range(3))
    ordered.run(first, second, third)
    TwoGiveUp(partial(give_up, first), first, second)
    due = Delivery.objects.filter(next_check_at__lte=from_now(0))
    assert [each.pk for each in due] == [third.id]


@needs_writers
def test_so_is_what_is_behind_one_that_relays_give_up_as_lost() -> None:
    ordered = Ordered(on_dead="skip", retry=ONCE)
    first, second, third = ordered.send_all(range(3))
    lose(ordered, first)
    ordered.run(second, third)
    TwoGiveUp(partial(recover, "default"), first, second)
    due = Delivery.objects.filter(next_check_at__lte=from_now(0))
    assert [each.pk for each in due] == [third.id]
