"""Real workers: a batch that is lost, or too slow, loses nothing and does nothing twice."""

from __future__ import annotations

import time

import pytest

from signal_tasks import AsyncSignal
from signal_tasks.models import Attempt, Delivery
from tests.integration.conftest import StartWorker
from tests.integration.workers import (
    all_finished,
    effects,
    eventually,
    keys,
    runs,
    runs_of,
    states,
)
from tests.testapp.signals import bundled_briefly, bundled_inside, bundled_outside

MANY = 40
#: Leases in these tests are far longer than any of them may take.
LEASE = {"TEST_LEASE": "600"}
BOTH = pytest.mark.parametrize(
    ("sent", "what"),
    [(bundled_inside, "bundled inside"), (bundled_outside, "bundled outside")],
    ids=["inside", "outside"],
)


def send(signal: AsyncSignal, task: str = "", **kwargs: object) -> None:
    """Send many events at once, of which the last one has a task."""
    items = [{"key": key} for key in range(MANY - 1)]
    last = {"key": MANY - 1, "task": task, **kwargs}
    signal.send_many(sender=None, items=[*items, last])


def sizes(what: str) -> list[int]:
    return [int(run.key) for run in runs(f"{what} sizes")]


@BOTH
def test_many_that_are_sent_at_once_share_a_call(
    sent: AsyncSignal, what: str, start_worker: StartWorker
) -> None:
    start_worker()
    send(sent)
    eventually(all_finished)
    assert states() == {"succeeded": MANY}
    assert effects(what) == keys(MANY)
    assert sizes(what) == [MANY]


@BOTH
def test_a_worker_that_is_killed_in_a_call_does_nothing_twice_and_loses_nothing(
    sent: AsyncSignal, what: str, start_worker: StartWorker
) -> None:
    """The call is not made again: each of its deliveries is isolated."""
    killed = start_worker("-c", "1", TEST_NAPS="1", **LEASE)
    send(sent, "nap there", seconds=600)
    eventually(lambda: runs(f"{what} sizes"))
    eventually(lambda: runs_of(MANY - 1, what))
    killed.kill()
    killed_at = time.time()
    start_worker(**LEASE, SIGNAL_TASKS={"WORKER_TTL": 2})
    eventually(all_finished)
    assert states() == {"succeeded": MANY}
    assert sizes(what) == [MANY] + [1] * MANY
    again = [run.key for run in runs(what) if run.at > killed_at]
    assert sorted(again) == keys(MANY)
    times = 1 if sent is bundled_inside else 2
    assert effects(what) == sorted(keys(MANY) * times)
    assert set(Delivery.objects.values_list("attempts", flat=True)) == {1}


@BOTH
def test_one_that_kills_its_process_is_lost_alone(
    sent: AsyncSignal, what: str, start_worker: StartWorker
) -> None:
    start_worker()
    send(sent, "crash")
    eventually(all_finished, seconds=60)
    assert states() == {"succeeded": MANY - 1, "dead": 1}
    dead = Delivery.objects.get(state="dead")
    assert (dead.reason, dead.attempts) == ("lost", 3)
    lived = Delivery.objects.filter(state="succeeded")
    assert set(lived.values_list("attempts", flat=True)) == {1}
    if sent is bundled_inside:
        assert effects(what) == sorted(set(keys(MANY)) - {str(MANY - 1)})


def test_one_that_is_too_slow_is_too_slow_alone(start_worker: StartWorker) -> None:
    """The limit strikes once in a message, so each gets a message of its own."""
    start_worker()
    send(bundled_briefly, "nap", seconds=30)
    eventually(all_finished, seconds=60)
    assert states() == {"succeeded": MANY - 1, "dead": 1}
    dead = Delivery.objects.get(state="dead")
    assert (dead.reason, dead.attempts) == ("exhausted", 3)
    assert effects("bundled briefly") == sorted(set(keys(MANY)) - {str(MANY - 1)})
    released = Attempt.objects.filter(consequence="released")
    assert released.count() == MANY
