"""Real workers, and receivers that fail, reject, overrun or leave the process."""

from __future__ import annotations

import signal
import time

import pytest
from django.db import connection, transaction

from signal_tasks import PayloadError
from signal_tasks.broker.publisher import publisher
from signal_tasks.models import Attempt, Delivery, Event
from tests.integration.workers import (
    CeleryWorker,
    all_finished,
    effects,
    eventually,
    keys,
    runs,
    states,
)
from tests.signal_tasks.conftest import finish
from tests.testapp.models import Thing
from tests.testapp.signals import awaited, failed, inside, limited, outside, timed


def reasons() -> list[str]:
    return sorted(Delivery.objects.dead().values_list("reason", flat=True))


def test_a_failing_receiver_is_run_again_and_leaves_one_effect(
    worker: CeleryWorker,
) -> None:
    failed.send(sender=None, key="f", times=2)
    eventually(all_finished)
    assert effects("failed") == ["f"]
    assert [run.key for run in runs("failed")] == ["f"] * 3
    first, second = Attempt.objects.all()
    assert (first.number, first.consequence) == (1, "retried")
    assert (second.number, second.consequence) == (2, "retried")
    assert first.error == "failed on purpose: f"
    assert 'raise RuntimeError(f"failed on purpose' in first.traceback
    assert first.worker


def test_what_fails_always_becomes_a_dead_letter_without_effect(
    worker: CeleryWorker,
) -> None:
    failed.send(sender=None, key="f")
    eventually(all_finished)
    assert (effects("failed"), reasons()) == ([], ["exhausted"])
    assert len(runs("failed")) == 3
    assert [a.consequence for a in Attempt.objects.all()] == [
        "retried",
        "retried",
        "dead",
    ]


def test_a_failure_in_a_batch_undoes_only_itself(worker: CeleryWorker) -> None:
    with transaction.atomic():
        for number in range(30):
            task = "raise" if number == 7 else ""
            inside.send(sender=None, key=number, task=task)
    eventually(all_finished)
    assert states() == {"succeeded": 29, "dead": 1}
    assert effects("inside") == sorted(set(keys(30)) - {"7"})


def test_a_failure_after_the_commit_neither_undoes_nor_repeats(
    worker: CeleryWorker,
) -> None:
    with transaction.atomic():
        for number in range(150):
            task = "raise late" if number % 50 == 7 else ""
            inside.send(sender=None, key=number, task=task)
    eventually(all_finished)
    assert states() == {"succeeded": 150}
    assert effects("inside") == keys(150)
    assert Delivery.objects.filter(attempts=1).count() == 150


def test_a_refused_delivery_is_dead_at_once(worker: CeleryWorker) -> None:
    told = len(worker.output)
    inside.send(sender=None, key="r", task="reject")
    eventually(all_finished)
    assert (len(runs("inside")), reasons()) == (1, ["rejected"])
    eventually(lambda: "raised expected: Reject('on purpose')" in worker.output[told:])
    assert "Traceback" not in worker.output[told:]


def test_asking_to_run_later_may_cost_no_attempt(worker: CeleryWorker) -> None:
    inside.send(sender=None, key="w", task="wait", seconds=1.2)
    eventually(all_finished)
    assert len(runs("inside")) > 1
    assert effects("inside") == ["w"]
    assert Delivery.objects.get().attempts == 1


def test_one_poisoned_delivery_harms_only_itself(worker: CeleryWorker) -> None:
    thing = Thing.objects.create(name="soon gone")
    with transaction.atomic():
        ((_, missing),) = inside.send(sender=None, key="m", thing=thing)
        ((_, broken),) = inside.send(sender=None, key="b")
        Event.objects.filter(pk=broken.event_id).update(payload='{"no": "payload"}')
        for number in range(10):
            inside.send(sender=None, key=number)
        Thing.objects.all().delete()
    eventually(all_finished)
    assert effects("inside") == keys(10)
    assert reasons() == ["missing", "undecodable"]
    assert (missing.refresh().state, broken.refresh().state) == ("dead", "dead")
    assert runs("inside")[0].key == "0"


def test_what_cannot_travel_is_refused_before_anything_is_written(
    worker: CeleryWorker,
) -> None:
    with transaction.atomic():
        with pytest.raises(PayloadError):
            inside.send(sender=None, key=object())
        inside.send(sender=None, key="fine")
    eventually(all_finished)
    assert effects("inside") == ["fine"]


def test_leaving_the_process_politely_is_a_failure_like_any_other(
    worker: CeleryWorker,
) -> None:
    children = set(worker.children())
    inside.send(sender=None, key="e", task="exit")
    outside.send(sender=None, key="e", task="exit")
    eventually(all_finished)
    assert reasons() == ["exhausted", "exhausted"]
    assert effects("inside") == []
    assert {a.error_type for a in Attempt.objects.all()} == {"SystemExit"}
    assert set(worker.children()) == children


def test_a_receiver_that_overruns_its_limit_has_failed(worker: CeleryWorker) -> None:
    children = set(worker.children())
    timed.send(sender=None, key="t", seconds=30)
    eventually(all_finished)
    assert (len(runs("overrun")), reasons()) == (3, ["exhausted"])
    assert {a.error_type for a in Attempt.objects.all()} == {"SoftTimeLimitExceeded"}
    assert set(worker.children()) == children


def test_a_receiver_that_had_to_wait_for_the_database_keeps_its_limit(
    worker: CeleryWorker,
) -> None:
    worker.send_all(signal.SIGSTOP)
    timed.send(sender=None, key="w", seconds=30)
    publisher.flush(5)
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("LOCK TABLE signal_tasks_delivery IN EXCLUSIVE MODE")
        worker.send_all(signal.SIGCONT)
        time.sleep(1.8)  # longer than the limit, which ends while the receiver waits
    eventually(Attempt.objects.exists)
    assert Attempt.objects.get().error_type == "SoftTimeLimitExceeded"
    finish(Delivery.objects.all(), "discarded")


def test_an_async_receiver_that_overruns_has_failed(worker: CeleryWorker) -> None:
    awaited.send(sender=None, key="t", seconds=2.5)
    eventually(lambda: Attempt.objects.exists())
    time.sleep(0.8)  # a receiver that was not cancelled would have returned by now
    assert Attempt.objects.get().error_type == "SoftTimeLimitExceeded"
    assert runs("async to the end") == []
    assert effects("async") == []
    finish(Delivery.objects.all(), "discarded")


def test_a_limited_receiver_keeps_to_its_rate(worker: CeleryWorker) -> None:
    with transaction.atomic():
        for number in range(6):
            limited.send(sender=None, key=number)
    eventually(all_finished)
    times = sorted(run.at for run in runs("slowly"))
    assert times[-1] - times[0] > 1.9
    assert effects("slowly") == keys(6)
