"""Rates: tokens from the database, for all processes together."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, connections
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from signal_tasks.models import Gate
from signal_tasks.steering.rates import Block, is_turn, releasable, take

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def name() -> str:
    return f"tests.receiver_{uuid.uuid4().hex}"


def pass_time(name: str, seconds: float) -> None:
    """Have a gate behave as if so many seconds had passed."""
    ago = timedelta(seconds=seconds)
    gates = Gate.objects.filter(receiver=name)
    for field in ("next_token_at", "released_at"):
        gates.exclude(**{field: None}).update(**{field: F(field) - ago})


def test_the_first_token_is_there_at_once(name: str) -> None:
    assert take(name, "default", 1.0, 1) == 1


def test_a_token_is_not_there_before_its_time(name: str) -> None:
    assert take(name, "default", 0.1, 1) == 1
    assert take(name, "default", 0.1, 1) == 0
    pass_time(name, 9)
    assert take(name, "default", 0.1, 1) == 0
    pass_time(name, 0.6)
    assert take(name, "default", 0.1, 1) == 1


def test_no_more_than_an_eighth_of_a_second_is_taken_at_once(name: str) -> None:
    assert take(name, "default", 80.0, 1000) == 10


def test_a_block_has_at_least_one_token(name: str) -> None:
    assert take(name, "default", 0.001, 1000) == 1


def test_tokens_of_a_long_time_ago_are_lost(name: str) -> None:
    assert take(name, "default", 8.0, 1) == 1
    pass_time(name, 3600)
    taken, started = 0, time.monotonic()
    while granted := take(name, "default", 8.0, 1):
        taken += granted
    passed = 0.75 + time.monotonic() - started
    assert 7 <= taken <= 8.0 * passed + 1


def test_receivers_have_rates_of_their_own(name: str) -> None:
    assert take(name, "default", 0.1, 1) == 1
    assert take(f"{name}_2", "default", 0.1, 1) == 1


def test_single_deliveries_in_quick_succession_need_few_statements(
    name: str, django_assert_max_num_queries: Any
) -> None:
    with django_assert_max_num_queries(60):
        for _ in range(100):
            assert take(name, "default", 1e6, 1) == 1


def test_what_is_left_of_a_block_is_void_soon() -> None:
    block = Block()
    block.refill(10, now=100.0)
    assert block.use(4, now=100.1) == 4
    assert block.use(4, now=100.2) == 0


def test_a_block_that_was_used_up_early_is_followed_by_one_of_twice_its_size() -> None:
    block = Block()
    block.refill(10, now=100.0)
    assert block.use(10, now=100.01) == 10
    assert block.next_size(now=100.02) == 20


def test_a_block_that_was_not_used_up_is_followed_by_what_was_used() -> None:
    block = Block()
    block.refill(10, now=100.0)
    assert block.use(4, now=100.1) == 4
    assert block.next_size(now=101.0) == 4


def test_many_processes_together_keep_the_rate(name: str) -> None:
    rate, seconds = 40.0, 3.0
    taken: list[float] = []

    def consume() -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            taken.extend([time.monotonic()] * _take_apart(name, rate))
            time.sleep(0.01)
        connections.close_all()

    in_threads(consume, 4)
    # A busy machine may take fewer.
    assert rate * seconds * 0.3 <= len(taken) <= rate * (seconds + 1)


def _take_apart(name: str, rate: float) -> int:
    """Take one token, as a process does that has none left."""
    return take(name, "default", rate, 1)


def in_threads(function: Callable[[], None], number: int) -> None:
    threads = [threading.Thread(target=function) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_one_of_several_relays_releases_what_the_rate_allows(name: str) -> None:
    rate, started = 100.0, time.monotonic()
    Gate.objects.create(receiver=name, released_at=timezone.now())
    pass_time(name, 0.4)
    released = sum(releasable(name, "default", rate) for _ in range(3))
    passed = 0.4 + time.monotonic() - started
    assert 42 <= released <= rate * passed * 1.05 + 1


def test_a_relay_that_was_away_does_not_release_all_of_that_time(name: str) -> None:
    Gate.objects.create(receiver=name, released_at=timezone.now())
    pass_time(name, 3600)
    assert releasable(name, "default", 100.0) == 105


def test_one_is_released_when_its_token_is_due(name: str) -> None:
    take(name, "default", 0.5, 1)
    assert releasable(name, "default", 0.5) == 0
    pass_time(name, 1.6)
    assert releasable(name, "default", 0.5) == 1


@pytest.mark.skipif(connection.vendor != "postgresql", reason="it can be told apart")
def test_tokens_do_not_wait_for_the_disk(name: str) -> None:
    with CaptureQueriesContext(connection) as queries:
        take(name, "default", 1.0, 1)
    made = [query["sql"] for query in queries.captured_queries]
    assert "SET LOCAL synchronous_commit = off" in made


def test_a_rate_that_is_raised_holds_at_once(name: str) -> None:
    assert take(name, "default", 1 / 3600, 1) == 1
    pass_time(name, 1)
    assert releasable(name, "default", 0.1) == 1
    assert take(name, "default", 0.1, 1) == 1
    assert take(name, "default", 0.1, 1) == 0


def test_a_rate_that_is_lowered_holds_at_once(name: str) -> None:
    assert take(name, "default", 80.0, 100) == 10
    pass_time(name, 1)
    assert take(name, "default", 1 / 3600, 100) == 1
    assert take(name, "default", 1 / 3600, 100) == 0


def test_a_clock_that_was_set_back_stops_nothing(name: str) -> None:
    take(name, "default", 80.0, 100)
    assert releasable(name, "default", 80.0) >= 1
    pass_time(name, -3600)
    assert releasable(name, "default", 80.0) >= 1
    assert take(name, "default", 80.0, 100) == 10
    pass_time(name, -3600)
    assert is_turn(name, "default")
