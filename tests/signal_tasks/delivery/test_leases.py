"""The leases of a dead process are found by another one; those of a live one are not."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable

import pytest

from signal_tasks.holdings import SIZE, SLOTS, Holding, Holdings

FIRST, SECOND = uuid.uuid4(), uuid.uuid4()


@pytest.fixture
def holdings() -> Holdings:
    return Holdings()


def in_a_process_that_dies(action: Callable[[], None]) -> int:
    """Do it in a child that then dies; return its process id."""
    pid = os.fork()
    if not pid:
        try:
            action()
        finally:
            os._exit(9)
    os.waitpid(pid, 0)
    return pid


def test_the_last_leases_of_a_dead_process_are_told_once(holdings: Holdings) -> None:
    def hold() -> None:
        holdings.note("default", {FIRST: 1})
        holdings.note("other", {FIRST: 2, SECOND: 7})

    in_a_process_that_dies(hold)
    assert list(holdings.of_the_dead()) == [Holding("other", {FIRST: 2, SECOND: 7})]
    assert list(holdings.of_the_dead()) == []


def test_the_leases_of_a_living_process_are_not_told(holdings: Holdings) -> None:
    holdings.note("default", {FIRST: 1})
    assert list(holdings.of_the_dead()) == []


def test_too_many_leases_to_note_are_left_to_expire(holdings: Holdings) -> None:
    many = {uuid.uuid4(): 1 for _ in range(1000)}
    in_a_process_that_dies(lambda: holdings.note("default", many))
    assert list(holdings.of_the_dead()) == []


def test_half_written_leases_are_passed_over(holdings: Holdings) -> None:
    pid = in_a_process_that_dies(lambda: holdings.note("default", {FIRST: 1}))
    holdings._memory[pid % SLOTS * SIZE + 10] = 0
    assert list(holdings.of_the_dead()) == []


@pytest.mark.parametrize(
    "facts", ["[1]", "7", '[1, "default", []]', '[1, "default", {"half-an-id": 1}]']
)
def test_halves_of_two_writings_are_no_reason_to_end_a_relay(
    facts: str, holdings: Holdings
) -> None:
    holdings._memory[: len(facts) + 1] = facts.encode() + b"\0"
    assert list(holdings.of_the_dead()) == []
