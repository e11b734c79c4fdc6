"""Real workers count what fails by its cause."""

from __future__ import annotations

import pytest

from signal_tasks import AsyncSignal, operations
from tests.integration.workers import CeleryWorker, all_finished, eventually
from tests.testapp.signals import async_inside, failed, inside, outside


def test_what_several_processes_fail_at_is_one_group(worker: CeleryWorker) -> None:
    for number in range(20):
        failed.send(sender=None, key=str(number))
    eventually(all_finished)
    (group,) = operations.failure_groups()
    assert group.location == "tests.testapp.receivers.fail"
    assert group.sample.startswith("failed on purpose: ")
    assert (group.failures, group.dead) == (60, 20)


@pytest.mark.parametrize(
    ("signal", "named", "location"),
    [
        (inside, {"task": "raise"}, "stumble"),
        (outside, {"task": "raise"}, "stumble"),
        (inside, {"task": "reject"}, "reject"),
        (async_inside, {"times": 99}, "work_async"),
    ],
    ids=["atomic", "not atomic", "rejected", "async"],
)
def test_a_group_names_the_function_that_failed(
    signal: AsyncSignal, named: dict[str, object], location: str, worker: CeleryWorker
) -> None:
    signal.send(sender=None, key="f", **named)
    eventually(all_finished)
    (group,) = operations.failure_groups()
    assert group.location == f"tests.testapp.receivers.{location}"
    assert group.dead == 1


def test_a_receiver_that_kills_its_process_has_a_group(worker: CeleryWorker) -> None:
    inside.send(sender=None, key="c", task="crash")
    eventually(all_finished)
    (group,) = operations.failure_groups()
    assert group.error_type == "signal_tasks.exceptions.WorkerLost"
    assert (group.receiver, group.location) == (
        "tests.testapp.receivers.work_inside",
        "",
    )
    assert (group.failures, group.dead) == (3, 1)
