"""Several workers, relays and operators at the same event at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.db import connection

from signal_tasks import AsyncSignal, operations
from signal_tasks.models import Delivery, Event
from signal_tasks.relay.settling import sweep
from signal_tasks.settling import settle
from tests.signal_tasks.conftest import finish, listen
from tests.signal_tasks.operations.steps import run_pass
from tests.signal_tasks.settling.steps import (
    fail,
    hear_settled,
    let_pass,
    look_as_a_relay,
    run,
    settlings,
    told,
    waiting,
)
from tests.testapp.models import Thing

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        connection.vendor == "sqlite", reason="SQLite has one writer at a time"
    ),
]
ROUNDS = 10


def at_once(*steps: Callable[[], Any]) -> None:
    """Run each step in a thread of its own, over its own connection."""
    ready = threading.Barrier(len(steps))
    errors: list[BaseException] = []

    def go(step: Callable[[], Any]) -> None:
        try:
            connection.ensure_connection()
            ready.wait(30)
            step()
        except BaseException as error:  # noqa: BLE001 - the test shows it
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=go, args=[each], daemon=True) for each in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors


def finish_both_at_once(signal: AsyncSignal) -> None:
    """Each receiver returns when the other is about to: both commit, then look."""
    together = threading.Barrier(2)

    def first(sender: object, **kwargs: Any) -> None:
        together.wait(30)

    def second(sender: object, **kwargs: Any) -> None:
        together.wait(30)

    signal.connect(first, name="t.first", weak=False)
    signal.connect(second, name="t.second", weak=False)
    hear_settled(signal)
    for number in range(1, ROUNDS + 1):
        signal.send(sender=None)
        at_once(lambda: run("t.first"), lambda: run("t.second"))
        assert settlings(signal) == number
        assert not waiting()


def test_two_last_deliveries_that_finish_at_the_same_moment_settle_once(
    signal: AsyncSignal,
) -> None:
    finish_both_at_once(signal)


@pytest.mark.usefixtures("repeatable_read")
def test_so_they_do_where_transactions_see_nothing_that_commits_after_they_began(
    signal: AsyncSignal,
) -> None:
    finish_both_at_once(signal)


class Crossing:
    """Two workers that settle two events each, about the same two in opposite order.

    Each waits for the other one before its second event, once.
    """

    def __init__(self, signal: AsyncSignal) -> None:
        self.heard: list[str] = []
        self._together = threading.Barrier(2)
        self._met: set[int] = set()
        self._things = {line: Thing.objects.create(name=line).pk for line in "ab"}
        listen(signal, name="t.only")
        signal.settled.connect(self._settled, weak=False, inline=True)
        self.events = []
        for lines in ("ba", "ab"):
            items = [{"line": line, "nth": n} for n, line in enumerate(lines)]
            self.events.append(signal.send_many(sender=None, items=items))
        finish(Delivery.objects.all(), "succeeded")

    def settle(self) -> None:
        at_once(*[partial(settle, ids, database="default") for ids in self.events])

    def _settled(self, sender: object, line: str, nth: int, **kwargs: Any) -> None:
        thread = threading.get_ident()
        if nth and thread not in self._met:
            self._met.add(thread)
            self._together.wait(30)
        Thing.objects.filter(pk=self._things[line]).update(name=line)
        self.heard.append(line)


def test_workers_that_settle_events_of_the_same_keys_do_not_deadlock() -> None:
    signal = AsyncSignal(name="tests.crossing", key=lambda sender, line, **_: line)
    hear_settled(signal, name="t.ordered", ordered=True)
    failures = told()
    crossing = Crossing(signal)
    crossing.settle()
    assert not failures
    assert settlings(signal) == 4
    assert len(crossing.heard) == 4
    assert not waiting()


def test_workers_whose_inline_receivers_deadlock_settle_each_event_by_itself(
    signal: AsyncSignal,
) -> None:
    hear_settled(signal, name="t.durable")
    failures = told()
    crossing = Crossing(signal)
    crossing.settle()
    assert not failures
    assert settlings(signal) == 4
    assert not waiting()


def test_of_many_that_look_at_the_same_time_one_settles(signal: AsyncSignal) -> None:
    listen(signal, name="t.only")
    hear_settled(signal)
    for number in range(1, ROUNDS + 1):
        signal.send(sender=None)
        event = Event.objects.filter(signal=signal.name).latest("sent_at")
        finish(Delivery.objects.filter(event=event), "succeeded")
        at_once(*[partial(settle, [event.pk], database="default")] * 4)
        assert settlings(signal) == number


def test_relays_that_look_at_the_same_time_leave_nothing_and_settle_nothing_twice(
    signal: AsyncSignal,
) -> None:
    listen(signal, name="t.only")
    hear_settled(signal)
    for number in range(1, 4):
        signal.send_many(sender=None, items=[{"n": n} for n in range(250)])
        finish(Delivery.objects.filter(receiver="t.only"), "succeeded")
        let_pass(11)
        at_once(*[partial(sweep, "default", seconds=60)] * 3)
        assert settlings(signal) == 250 * number
        assert not waiting()


def test_a_replay_while_others_settle_is_settled_again(signal: AsyncSignal) -> None:
    """Whoever comes first: after the replayed run has finished, it is sent once more."""
    fail(signal, name="t.fails")
    hear_settled(signal)
    for _ in range(ROUNDS):
        signal.send(sender=None)
        event = Event.objects.filter(signal=signal.name).latest("sent_at")
        finish(Delivery.objects.filter(event=event), "dead")
        ids = [Delivery.objects.get(event=event).pk]
        operations.replay(operations.Selection(ids=ids))
        before = settlings(signal)
        at_once(lambda: run_pass(3), partial(settle, [event.pk], database="default"))
        run_pass(5)
        assert Delivery.objects.get(event=event).state == "pending"
        assert waiting() == {event.pk}
        assert settlings(signal) - before in (0, 1)
        before = settlings(signal)
        run("t.fails")
        look_as_a_relay()
        assert settlings(signal) == before + 1
        assert not waiting()
