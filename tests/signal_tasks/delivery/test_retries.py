"""Failed attempts: run again after a delay, or given up."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone

from signal_tasks import AsyncSignal, Reject, Retry, RetryPolicy, current_delivery
from signal_tasks.models import Attempt, Delivery, Event
from signal_tasks.testing import run_pending
from tests.signal_tasks.delivery.steps import (
    AT_ONCE,
    atomic_or_not,
    connect,
    raises,
    row,
    run,
    send,
)
from tests.testapp.models import Effect

pytestmark = pytest.mark.django_db


@atomic_or_not
def test_a_failure_is_retried_after_the_delay_of_its_policy(
    atomic: bool, signal: AsyncSignal
) -> None:
    policy = RetryPolicy(backoff=100, factor=3, jitter=False)
    connect(signal, raises(ValueError()), retry=policy, atomic=atomic)
    before = timezone.now()
    handle = run(send(signal))
    assert (handle.state, handle.attempts) == ("pending", 1)
    delay = row(handle).available_at - before
    assert timedelta(seconds=99) < delay < timedelta(seconds=110)
    assert run_pending() == []


def test_the_policy_of_the_project_holds_where_a_receiver_has_none(
    signal: AsyncSignal, settings: Any
) -> None:
    settings.SIGNAL_TASKS = {"RETRY": RetryPolicy(max_attempts=1)}
    connect(signal, raises(ValueError()))
    assert run(send(signal)).state == "dead"


def test_the_delay_is_drawn_by_full_jitter(signal: AsyncSignal) -> None:
    policy = RetryPolicy(backoff=1000, max_delay=1000)
    connect(signal, raises(ValueError()), retry=policy)
    before = timezone.now()
    signal.send_many(sender=None, items=[{}] * 60)
    run_pending()
    times = Delivery.objects.values_list("available_at", flat=True)
    delays = [(time - before).total_seconds() for time in times]
    assert all(-1 < delay < 1010 for delay in delays)
    assert min(delays) < 300 < 700 < max(delays)


@atomic_or_not
def test_the_last_failure_exhausts_it(atomic: bool, signal: AsyncSignal) -> None:
    connect(signal, raises(ValueError("no")), retry=AT_ONCE, atomic=atomic)
    handle = send(signal)
    states = [(run(handle).state, handle.attempts) for _ in range(3)]
    assert states == [("pending", 1), ("pending", 2), ("dead", 3)]
    assert handle.reason == "exhausted"
    assert run_pending() == []


def test_it_succeeds_when_a_later_attempt_does(signal: AsyncSignal) -> None:
    def second_time(sender: object, **kwargs: Any) -> None:
        if current_delivery().attempt == 1:
            raise ValueError
        Effect.objects.create(what="done")

    connect(signal, second_time, retry=AT_ONCE)
    handle = send(signal)
    assert run(handle).state == "pending"
    assert run(handle).state == "succeeded"
    assert handle.attempts == 2
    assert Effect.objects.count() == 1


OUTCOMES: dict[str, tuple[dict[str, Any], BaseException, str, str]] = {
    "Reject": ({}, Reject("never"), "dead", "rejected"),
    "give_up_on": ({"give_up_on": (KeyError,)}, KeyError("x"), "dead", "rejected"),
    "not in retry_on": ({"retry_on": (OSError,)}, KeyError("x"), "dead", "rejected"),
    "in retry_on": ({"retry_on": (OSError,)}, TimeoutError(), "pending", ""),
    "one attempt": ({"max_attempts": 1}, ValueError(), "dead", "exhausted"),
    "too late": ({"give_up_after": 1e-9}, ValueError(), "dead", "exhausted"),
    "in time": ({"give_up_after": 1e9}, ValueError(), "pending", ""),
    "sys.exit()": ({}, SystemExit(1), "pending", ""),
}


@atomic_or_not
@pytest.mark.parametrize("what", OUTCOMES)
def test_the_policy_and_the_error_decide_what_becomes_of_it(
    what: str, atomic: bool, signal: AsyncSignal
) -> None:
    policy, error, state, reason = OUTCOMES[what]
    connect(signal, raises(error), retry=RetryPolicy(**policy), atomic=atomic)
    handle = run(send(signal))
    assert (handle.state, handle.reason, handle.attempts) == (state, reason, 1)
    assert Attempt.objects.get().error_type == type(error).__name__


@pytest.mark.parametrize("after", [500, timedelta(seconds=500)])
def test_a_receiver_may_ask_to_be_run_again_later(
    after: Any, signal: AsyncSignal
) -> None:
    connect(signal, raises(Retry("not yet", after=after)))
    before = timezone.now()
    handle = run(send(signal))
    assert (handle.state, handle.attempts) == ("pending", 1)
    delay = row(handle).available_at - before
    assert timedelta(seconds=499) < delay < timedelta(seconds=510)
    assert Attempt.objects.get().error == "not yet"


def test_asking_again_spends_attempts(signal: AsyncSignal) -> None:
    connect(signal, raises(Retry(after=0)), retry=AT_ONCE)
    handle = send(signal)
    assert [run(handle).state for _ in range(3)] == ["pending", "pending", "dead"]
    assert handle.reason == "exhausted"


def test_asking_again_without_counting_spends_no_attempt(signal: AsyncSignal) -> None:
    seen = []

    def again(sender: object, **kwargs: Any) -> None:
        seen.append(current_delivery().attempt)
        if len(seen) < 6:
            raise Retry(after=0, counts=False)

    connect(signal, again, retry=AT_ONCE)
    handle = send(signal)
    for _ in range(6):
        run_pending()
    assert seen == [1] * 6
    assert (handle.refresh().state, handle.attempts) == ("succeeded", 1)


@atomic_or_not
@pytest.mark.parametrize("number", [1, 7], ids=["alone", "together"])
def test_asking_again_without_counting_comes_to_an_end(
    number: int, atomic: bool, signal: AsyncSignal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Retry, "MAX_UNCOUNTED", 5)
    error = Retry("not yet", after=0, counts=False)
    connect(signal, raises(error), retry=AT_ONCE, atomic=atomic)
    signal.send_many(sender=None, items=[{}] * number)
    for _ in range(4):
        run_pending()
    assert Delivery.objects.filter(state="pending", attempts=0).count() == number
    run_pending()
    dead = Delivery.objects.filter(state="dead", reason="exhausted", attempts=1)
    assert dead.count() == number
    for delivery in dead:
        deferred, last = delivery.failures.all()
        assert (deferred.consequence, deferred.times) == ("deferred", 4)
        assert (last.consequence, last.times) == ("dead", 1)
        assert "asked 5 times" in last.error
        assert "not yet" in last.error


def test_the_record_of_what_was_deferred_is_that_of_the_last_time(
    signal: AsyncSignal,
) -> None:
    seen: list[int] = []

    def again(sender: object, **kwargs: Any) -> None:
        seen.append(1)
        raise Retry(f"for the {len(seen)}th time", after=0, counts=False)

    connect(signal, again)
    send(signal)
    run_pending()
    first = Attempt.objects.get()
    run_pending()
    run_pending()
    last = Attempt.objects.get()
    assert (last.times, last.error) == (3, "for the 3th time")
    assert last.failed_at > first.failed_at


def test_a_replay_may_ask_as_often_again(
    signal: AsyncSignal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Retry, "MAX_UNCOUNTED", 3)
    connect(signal, raises(Retry(after=0, counts=False)))
    handle = send(signal)
    for _ in range(2):
        assert [run(handle).state for _ in range(3)] == ["pending", "pending", "dead"]
        Delivery.objects.all().replay()


def test_failures_in_between_do_not_make_it_endless(
    signal: AsyncSignal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was deferred counts for all attempts together, not for each."""
    monkeypatch.setattr(Retry, "MAX_UNCOUNTED", 4)
    calls: list[int] = []

    def in_turn(sender: object, **kwargs: Any) -> None:
        calls.append(1)
        if len(calls) % 2:
            raise Retry(after=0, counts=False)
        raise ValueError

    policy = RetryPolicy(max_attempts=100, backoff=0)
    connect(signal, in_turn, retry=policy)
    handle = send(signal)
    for _ in range(7):
        run(handle)
    assert (handle.state, len(calls), handle.attempts) == ("dead", 7, 4)


def test_an_age_may_bound_it_in_place_of_a_number(
    signal: AsyncSignal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Retry, "MAX_UNCOUNTED", 2)
    policy = RetryPolicy(give_up_after=3600)
    connect(signal, raises(Retry(after=0, counts=False)), retry=policy)
    handle = send(signal)
    assert [run(handle).state for _ in range(4)] == ["pending"] * 4
    assert Attempt.objects.get().times == 4
    grow_older(hours=2)
    assert (run(handle).state, handle.reason) == ("dead", "exhausted")


@pytest.mark.parametrize("after", [-1, float("nan"), timedelta(days=-1)])
def test_a_wait_that_makes_no_sense_is_refused_where_it_is_written(after: Any) -> None:
    with pytest.raises(ValueError, match="Retry"):
        Retry(after=after)


@pytest.mark.parametrize("after", [1e300, 10**400], ids=["float", "int"])
def test_a_wait_of_ages_is_kept_within_what_databases_can_tell(
    after: float, signal: AsyncSignal
) -> None:
    connect(signal, raises(Retry(after=after)))
    assert run(send(signal)).state == "pending"
    assert row(send(signal)).available_at.year < 2300


def grow_older(*, hours: float) -> None:
    """Let the events have been sent so much earlier."""
    Event.objects.update(sent_at=F("sent_at") - timedelta(hours=hours))


AN_HOUR = RetryPolicy(max_attempts=9, backoff=0, give_up_after=3600)


@atomic_or_not
def test_the_first_attempt_is_made_however_late(
    atomic: bool, signal: AsyncSignal
) -> None:
    connect(signal, lambda sender, **kwargs: None, retry=AN_HOUR, atomic=atomic)
    handle = send(signal)
    grow_older(hours=2)
    assert run(handle).state == "succeeded"


@atomic_or_not
def test_no_further_attempt_begins_after_the_age_of_the_policy(
    atomic: bool, signal: AsyncSignal
) -> None:
    """It has waited in a queue for longer than its delay."""
    calls: list[int] = []

    def fail(sender: object, **kwargs: Any) -> None:
        calls.append(1)
        raise ValueError

    connect(signal, fail, retry=AN_HOUR, atomic=atomic)
    handle = send(signal)
    assert run(handle).state == "pending"
    grow_older(hours=2)
    assert (run(handle).state, handle.reason, len(calls)) == ("dead", "exhausted", 1)
    assert "give_up_after" in Attempt.objects.latest("pk").error


def test_what_was_deferred_has_had_its_first_attempt(signal: AsyncSignal) -> None:
    calls: list[int] = []

    def again(sender: object, **kwargs: Any) -> None:
        calls.append(1)
        raise Retry(after=0, counts=False)

    connect(signal, again, retry=AN_HOUR)
    handle = send(signal)
    assert run(handle).state == "pending"
    grow_older(hours=2)
    assert (run(handle).state, len(calls)) == ("dead", 1)


def test_no_attempt_follows_a_failure_whose_delay_ends_after_the_age(
    signal: AsyncSignal,
) -> None:
    policy = RetryPolicy(backoff=4000, max_delay=4000, jitter=False, give_up_after=3600)
    connect(signal, raises(ValueError()), retry=policy)
    assert (run(send(signal)).state, Attempt.objects.get().consequence) == (
        "dead",
        "dead",
    )


def test_a_replay_of_an_old_event_gets_one_attempt(signal: AsyncSignal) -> None:
    """Its age counts since the send, so that is its last one, too."""
    calls: list[int] = []

    def fail(sender: object, **kwargs: Any) -> None:
        calls.append(1)
        raise ValueError

    connect(signal, fail, retry=AN_HOUR)
    handle = send(signal)
    run(handle)
    grow_older(hours=2)
    assert run(handle).state == "dead"
    for number in (2, 3):
        assert Delivery.objects.all().replay() == 1
        assert (run(handle).state, handle.reason) == ("dead", "exhausted")
        assert (len(calls), handle.attempts) == (number, 1)


def test_a_replay_starts_a_clean_count(signal: AsyncSignal) -> None:
    connect(signal, raises(ValueError()), retry=AT_ONCE)
    handle = send(signal)
    for _ in range(2):
        assert [run(handle).state for _ in range(3)] == ["pending", "pending", "dead"]
        Delivery.objects.all().replay()
    numbers = Attempt.objects.order_by("pk").values_list("run", "number")
    assert list(numbers) == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)]
