"""How consecutive failures are counted: pure, with the time as an argument."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from signal_tasks import Breaker
from signal_tasks.steering.breaker import Count, count

THREE = Breaker(failures=3, window=60)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def test_failures_add_up() -> None:
    once = count(Count(), [False], THREE, NOON)
    assert once == Count(1, NOON)
    assert count(once, [False], THREE, after(5)) == Count(2, NOON)


def test_a_success_begins_anew() -> None:
    assert count(Count(2, NOON), [True], THREE, after(5)) == Count()


def test_failures_before_a_success_of_the_same_batch_do_not_count() -> None:
    results = [False, True, False]
    assert count(Count(1, NOON), results, THREE, after(5)) == Count(1, after(5))


def test_a_breaker_opens_in_the_middle_of_a_batch() -> None:
    results = [False, False, False, True]
    assert count(Count(), results, THREE, NOON).failures == 3


def test_failures_are_forgotten_when_the_window_is_over() -> None:
    assert count(Count(2, NOON), [False], THREE, after(60)).failures == 3
    assert count(Count(2, NOON), [False], THREE, after(61)) == Count(1, after(61))
