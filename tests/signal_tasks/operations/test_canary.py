"""A canary: growing steps, each only after the last one has succeeded."""

from __future__ import annotations

from typing import Any

import pytest

from signal_tasks import AsyncSignal, Retry, operations
from signal_tasks.models import Attempt, Delivery, Operation, OperationItem
from signal_tasks.operations import Operation as Handle
from signal_tasks.operations import Selection
from signal_tasks.relay import operating
from signal_tasks.steering.snapshot import fresh
from tests.signal_tasks.operations.steps import (
    Machine,
    connect,
    counts,
    dead,
    deliver,
    run_pass,
    states,
)
from tests.testapp.models import Thing

pytestmark = pytest.mark.django_db


@pytest.fixture
def machine(signal: AsyncSignal) -> Machine:
    return connect(signal)


def replay(machine: Machine, **options: Any) -> Handle:
    return operations.replay(Selection(receiver=machine.name), **options)


def steps(machine: Machine, number: int) -> list[int]:
    """Let the relay and the workers take turns; return the sizes of the steps."""
    sizes = []
    for _ in range(number):
        run_pass()
        sizes.append(deliver(machine))
    return sizes


@pytest.mark.parametrize(("number", "canary"), [(100, False), (101, True)])
def test_more_than_a_hundred_go_in_steps_unless_told_otherwise(
    number: int, canary: bool, signal: AsyncSignal, machine: Machine
) -> None:
    dead(signal, number)
    assert replay(machine).canary is canary
    assert (
        operations.replay(Selection(signal=signal.name), canary=False).canary is False
    )
    assert operations.discard(Selection(signal=signal.name)).canary is False


def test_the_steps_grow_while_they_succeed(
    signal: AsyncSignal, machine: Machine
) -> None:
    dead(signal, 700)
    operation = replay(machine)
    assert steps(machine, 7) == [1, 2, 5, 20, 100, 500, 72]
    assert counts(operation) == (700, 700, 0, 0)
    assert operation.state == "done"


def test_a_step_waits_for_the_outcome_of_the_last_one(
    signal: AsyncSignal, machine: Machine
) -> None:
    dead(signal, 130)
    operation = replay(machine)
    run_pass(5)
    assert counts(operation) == (130, 1, 0, 0)
    deliver(machine)
    run_pass(5)
    assert counts(operation) == (130, 3, 0, 0)


def test_a_step_that_fails_stops_it_and_says_why(
    signal: AsyncSignal, machine: Machine
) -> None:
    dead(signal, 130)
    operation = replay(machine)
    assert steps(machine, 2) == [1, 2]
    machine.broken = lambda kwargs: kwargs["n"] in (4, 6)
    assert steps(machine, 2) == [5, 2]  # those that have failed are retried
    assert operation.refresh().state == "stopped"
    assert counts(operation) == (130, 6, 2, 0)
    (group,) = operations.failure_groups()
    assert operation.note == (
        "Step 3: 2 of 5 deliveries have failed. The most frequent error, 2 times: "
        f"ValueError: the machine is broken (failure group {group.fingerprint})"
    )
    assert states() == {"dead": 124, "succeeded": 6}
    assert OperationItem.objects.filter(state="failed").count() == 2


def test_five_of_a_hundred_may_fail(signal: AsyncSignal, machine: Machine) -> None:
    dead(signal, 300)
    operation = replay(machine)
    machine.broken = lambda kwargs: kwargs["n"] % 20 == 9 and kwargs["n"] > 28
    assert steps(machine, 5) == [1, 2, 5, 20, 100]
    assert states()["succeeded"] == 128 - 5
    run_pass()
    assert operation.refresh().state == "done"
    assert counts(operation) == (300, 295, 5, 0)


def test_the_first_outcome_counts_though_a_retry_succeeds(
    signal: AsyncSignal, machine: Machine
) -> None:
    dead(signal, 130)
    operation = replay(machine)
    machine.broken = lambda kwargs: True
    assert steps(machine, 1) == [1]
    machine.broken = lambda kwargs: False
    assert deliver(machine) == 1
    run_pass()
    assert operation.refresh().state == "stopped"
    assert counts(operation) == (130, 0, 1, 0)


def test_attempts_before_the_replay_do_not_count(
    signal: AsyncSignal, machine: Machine
) -> None:
    ids = dead(signal, 130)
    Attempt.objects.bulk_create(
        Attempt(delivery_id=pk, number=1, run=1, consequence="dead") for pk in ids
    )
    replay(machine)
    assert steps(machine, 3) == [1, 2, 5]


def test_a_step_that_its_receiver_discards_has_failed(signal: AsyncSignal) -> None:
    machine = connect(signal, on_missing="skip")
    thing = Thing.objects.create(name="one")
    dead(signal, 130, thing=thing)
    thing.delete()
    operation = replay(machine)
    assert steps(machine, 1) == [1]
    run_pass()
    assert operation.refresh().state == "stopped"
    assert (
        operation.note == "Step 1: 1 of 1 deliveries have failed. They were discarded."
    )


def test_what_asks_to_be_run_later_is_waited_for(signal: AsyncSignal) -> None:
    asked: list[int] = []

    def later(sender: object, **kwargs: Any) -> None:
        if len(asked) < 2:
            asked.append(1)
            raise Retry(after=0, counts=False)

    signal.connect(later, name="t.later", weak=False)
    dead(signal, 130)
    machine = Machine("t.later")
    operation = replay(machine)
    assert steps(machine, 3) == [1, 1, 1]
    run_pass()
    assert counts(operation) == (130, 3, 0, 0)


def test_what_is_paused_is_waited_for(signal: AsyncSignal, machine: Machine) -> None:
    dead(signal, 130)
    operation = replay(machine)
    assert steps(machine, 2) == [1, 2]
    operations.pause(f"receiver:{machine.name}")
    run_pass()
    assert counts(operation) == (130, 8, 0, 0)
    with fresh():
        deliver(machine)
    assert len(machine.calls) == 3
    run_pass(3)
    assert counts(operation) == (130, 8, 0, 0)
    operations.resume(f"receiver:{machine.name}")
    deliver(machine)
    run_pass()
    assert counts(operation) == (130, 28, 0, 0)


def test_the_last_step_is_not_waited_for(signal: AsyncSignal, machine: Machine) -> None:
    dead(signal, 8)
    operation = replay(machine, canary=True)
    assert steps(machine, 2) == [1, 2]
    run_pass()
    assert operation.refresh().state == "done"
    assert counts(operation) == (8, 8, 0, 0)
    assert states() == {"pending": 5, "succeeded": 3}


def test_what_is_skipped_is_no_part_of_a_step(
    signal: AsyncSignal, machine: Machine
) -> None:
    ids = dead(signal, 130)
    operation = replay(machine)
    operating.run_batch(operation.id, "default")
    Delivery.objects.filter(pk__in=ids[:3]).discard()
    assert steps(machine, 3) == [1, 2, 5]
    assert counts(operation) == (130, 8, 0, 3)


def test_a_resumed_canary_goes_on_with_the_same_size(
    signal: AsyncSignal, machine: Machine
) -> None:
    dead(signal, 130)
    operation = replay(machine)
    steps(machine, 2)
    machine.broken = lambda kwargs: True
    steps(machine, 1)
    run_pass()
    assert operation.refresh().state == "stopped"
    machine.broken = lambda kwargs: False
    deliver(machine)  # the retries
    assert operation.resume(by="ann", reason="mended").state == "running"
    assert (operation.note, operation.finished_at) == ("", None)
    assert steps(machine, 4) == [5, 20, 97, 0]
    assert counts(operation) == (130, 125, 5, 0)
    assert [entry.verb for entry in operations.log()] == ["resume", "replay"]


def test_a_stopped_operation_is_not_resumed_beside_the_same_one(
    signal: AsyncSignal, machine: Machine
) -> None:
    dead(signal, 130)
    operation = replay(machine)
    machine.broken = lambda kwargs: True
    steps(machine, 1)
    run_pass()
    other = replay(machine)
    assert other != operation
    with pytest.raises(ValueError, match="open already"):
        operation.resume()
    assert operation.refresh().state == "stopped"


def test_what_another_operation_took_from_a_stopped_one_is_skipped(
    signal: AsyncSignal, machine: Machine
) -> None:
    dead(signal, 110)
    operation = replay(machine)
    machine.broken = lambda kwargs: True
    steps(machine, 1)
    run_pass()
    machine.broken = lambda kwargs: False
    other = operations.replay(Selection(signal=signal.name), canary=False)
    other.work_off(30)
    assert counts(other) == (109, 109, 0, 0)
    operation.resume()
    run_pass()
    assert counts(operation) == (110, 0, 1, 109)
    assert operation.state == "done"


def test_a_stopped_operation_can_be_cancelled(
    signal: AsyncSignal, machine: Machine
) -> None:
    dead(signal, 130)
    operation = replay(machine)
    machine.broken = lambda kwargs: True
    steps(machine, 1)
    run_pass()
    assert operation.cancel(by="ann").state == "cancelled"
    assert Operation.objects.get().open_key is None
    with pytest.raises(ValueError, match="is not stopped"):
        operation.resume()
