"""Failures: each of its event or receiver alone, tried again, and ended at last."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest

from signal_tasks import AsyncSignal, Coalesce, operations
from signal_tasks.interrupt import SoftTimeLimitExceeded
from signal_tasks.models import Delivery, Event
from signal_tasks.settling import settle
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen
from tests.signal_tasks.settling.steps import (
    fail,
    finish_ago,
    hear_settled,
    let_pass,
    look_as_a_relay,
    run,
    settlings,
    told,
    waiting,
)
from tests.testapp.models import Thing

pytestmark = pytest.mark.django_db(transaction=True)


def broken_for(signal: AsyncSignal, broken: set[int]) -> list[int]:
    """Connect an inline receiver of ``settled`` that fails for these; return the others."""
    heard = []

    def receive(sender: object, n: int, **kwargs: Any) -> None:
        Thing.objects.create(name=f"of {n}")
        if n in broken:
            raise ValueError("not today")
        heard.append(n)

    signal.settled.connect(receive, weak=False, inline=True)
    return heard


def test_a_failure_concerns_its_event_alone_and_is_tried_again(
    signal: AsyncSignal, caplog: pytest.LogCaptureFixture
) -> None:
    listen(signal, name="t.only")
    broken = {1}
    heard = broken_for(signal, broken)
    signal.send_many(sender=None, items=[{"n": n} for n in range(3)])
    run("t.only")
    assert heard == [0, 2]
    assert set(Thing.objects.values_list("name", flat=True)) == {"of 0", "of 2"}
    assert set(Delivery.objects.values_list("state", flat=True)) == {"succeeded"}
    assert "settling_failed" in caplog.text
    assert len(waiting()) == 1
    let_pass(11)
    assert look_as_a_relay() == 0
    assert look_as_a_relay() == 0
    broken.clear()
    let_pass(21)
    assert look_as_a_relay() == 1
    assert heard == [0, 2, 1]
    assert not waiting()


def test_a_failure_is_told_with_its_event_and_error(signal: AsyncSignal) -> None:
    listen(signal, name="t.only")
    broken_for(signal, {1})
    signal.send(sender=None, n=1)
    event = Event.objects.get()
    failures = told()
    run("t.only")
    (details,) = failures
    assert (details.event_id, details.signal) == (event.pk, signal.name)
    assert str(details.error) == "not today"
    assert not details.given_up


# -- an end of it -----------------------------------------------------------------


@pytest.mark.parametrize(("days", "given_up"), [(6, False), (8, True)])
def test_a_failure_is_tried_again_for_a_week(
    signal: AsyncSignal, days: int, given_up: bool
) -> None:
    listen(signal, name="t.only")
    broken_for(signal, {1})
    signal.send(sender=None, n=1)
    finish_ago(timedelta(days=days))
    let_pass(11)
    failures = told()
    look_as_a_relay()
    assert [details.given_up for details in failures] == [given_up]
    assert bool(waiting()) is not given_up
    let_pass(1000)
    look_as_a_relay()
    assert len(failures) == (1 if given_up else 2)


def test_what_has_finished_long_ago_and_does_not_fail_is_settled(
    signal: AsyncSignal,
) -> None:
    listen(signal, name="t.only")
    hear_settled(signal)
    signal.send(sender=None)
    finish_ago(timedelta(days=30))
    let_pass(11)
    assert look_as_a_relay() == 1
    assert settlings(signal) == 1


def test_a_chain_that_is_too_long_is_told_once_and_given_up(
    signal: AsyncSignal, settings: Any
) -> None:
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "MAX_DEPTH": 1}
    first = AsyncSignal(name=f"tests.first_{uuid.uuid4().hex}")

    def go_on(sender: object, **kwargs: Any) -> None:
        signal.send(sender=None)

    first.connect(go_on, name="t.go_on", weak=False)
    listen(signal, name="t.only")
    hear_settled(signal)
    failures = told()
    first.send(sender=None)
    run_pending()
    assert [type(details.error).__name__ for details in failures] == ["SignalLoop"]
    assert failures[0].given_up
    assert not waiting()


def test_what_finds_the_events_fails_without_an_error(signal: AsyncSignal) -> None:
    """The caller has committed, and has more to do."""
    hear_settled(signal)
    broken = Event.objects.extra(where=["no_such_column = 1"])
    failures = told()
    assert settle(broken.values_list("pk", flat=True), database="default") == 0
    assert [details.event_id for details in failures] == [None]


# -- of one receiver --------------------------------------------------------------


def test_a_when_that_fails_keeps_settled_from_its_receiver_alone(
    signal: AsyncSignal,
) -> None:
    listen(signal, name="t.only")
    hear_settled(signal, name="t.picky", when=lambda sender, order, **_: order.paid)
    others = hear_settled(signal, name="t.other")
    failures = told()
    signal.send(sender=None, order=None)
    event = Event.objects.get()
    run_pending()
    let_pass(1000)
    look_as_a_relay()
    assert len(others) == 1
    assert not Delivery.objects.filter(receiver="t.picky").exists()
    (details,) = failures
    assert (details.event_id, details.receiver) == (event.pk, "t.picky")
    assert details.given_up
    assert isinstance(details.error, AttributeError)


@pytest.mark.parametrize("failing", ["when", "key"])
def test_a_statement_that_fails_in_a_function_of_one_receiver_harms_no_other(
    failing: str,
) -> None:
    def ask(sender: object, **kwargs: Any) -> Any:
        Thing.objects.create(name="of the one that fails")
        return list(Thing.objects.extra(where=["no_such_column = 1"]))

    name = f"tests.failing_{uuid.uuid4().hex}"
    signal = AsyncSignal(name=name, key=ask if failing == "key" else None)
    picky: Any = {"when": ask} if failing == "when" else {"ordered": True}
    listen(signal, name="t.only")
    hear_settled(signal, name="t.picky", **picky)
    others = hear_settled(signal, name="t.other")
    failures = told()
    signal.send(sender=None)
    run_pending()
    assert len(others) == 1
    assert [details.receiver for details in failures] == ["t.picky"]
    assert not Thing.objects.exists()


def test_a_coalescing_receiver_whose_key_fails_is_left_out_alone(
    signal: AsyncSignal,
) -> None:
    keyed = Coalesce(key=lambda sender, order, **_: order.pk, within=0.001)
    listen(signal, name="t.only")
    hear_settled(signal, name="t.merged", coalesce=keyed)
    others = hear_settled(signal, name="t.other")
    failures = told()
    signal.send(sender=None, order=None)
    run_pending()
    assert len(others) == 1
    assert [details.receiver for details in failures] == ["t.merged"]


def test_a_time_limit_that_strikes_in_a_when_is_no_answer(signal: AsyncSignal) -> None:
    limits: list[Exception] = [SoftTimeLimitExceeded()]

    def ask(sender: object, **kwargs: Any) -> bool:
        if limits:
            raise limits.pop()
        return True

    listen(signal, name="t.only")
    hear_settled(signal, when=ask)
    signal.send(sender=None)
    run("t.only")
    assert settlings(signal) == 0
    let_pass(11)
    assert look_as_a_relay() == 1
    assert settlings(signal) == 1


# -- replays ----------------------------------------------------------------------


def test_what_an_inline_receiver_replays_settles_again(signal: AsyncSignal) -> None:
    """The replay is a part of the transaction that settles."""
    heard = []

    def replay(
        sender: object, event_id: uuid.UUID, outcomes: dict[str, str], **kwargs: Any
    ) -> None:
        heard.append(outcomes)
        if len(heard) == 1:
            (pk,) = Delivery.objects.filter(event_id=event_id).values_list(
                "pk", flat=True
            )
            operations.replay(operations.Selection(ids=[pk])).work_off()

    fail(signal, name="t.fails")
    signal.settled.connect(replay, weak=False, inline=True)
    signal.send(sender=None)
    run_pending()
    run_pending()
    assert heard == [{"t.fails": "dead"}] * 2
    assert not waiting()
