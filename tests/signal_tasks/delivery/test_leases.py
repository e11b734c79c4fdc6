"""The leases of a dead process are found by another one; those of a live one are not."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable

import pytest

from signal_tasks.delivery.leases import SIZE, SLOTS, HeldLease, LeaseTable

FIRST, SECOND = uuid.uuid4(), uuid.uuid4()


@pytest.fixture
def table() -> LeaseTable:
    return LeaseTable()


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


def test_the_last_leases_of_a_dead_process_are_told_once(table: LeaseTable) -> None:
    def hold() -> None:
        table.record("default", 1, [FIRST])
        table.record("other", 7, [FIRST, SECOND])

    in_a_process_that_dies(hold)
    assert list(table.leases_of_dead_processes()) == [
        HeldLease("other", 7, (FIRST, SECOND))
    ]
    assert list(table.leases_of_dead_processes()) == []


def test_the_leases_of_a_living_process_are_not_told(table: LeaseTable) -> None:
    table.record("default", 1, [FIRST])
    assert list(table.leases_of_dead_processes()) == []


def test_too_many_leases_to_note_are_left_to_expire(table: LeaseTable) -> None:
    many = [uuid.uuid4() for _ in range(1000)]
    in_a_process_that_dies(lambda: table.record("default", 1, many))
    assert list(table.leases_of_dead_processes()) == []


def test_half_written_leases_are_passed_over(table: LeaseTable) -> None:
    pid = in_a_process_that_dies(lambda: table.record("default", 1, [FIRST]))
    table._memory[pid % SLOTS * SIZE + 10] = 0
    assert list(table.leases_of_dead_processes()) == []


@pytest.mark.parametrize(
    "facts", ["[1]", "7", '[1, "default", 7]', '[1, "default", 7, ["half-an-id"]]']
)
def test_halves_of_two_writings_are_no_reason_to_end_a_relay(
    facts: str, table: LeaseTable
) -> None:
    table._memory[: len(facts) + 1] = facts.encode() + b"\0"
    assert list(table.leases_of_dead_processes()) == []
