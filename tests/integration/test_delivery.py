"""Real workers deliver events when nothing goes wrong."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection, transaction

from signal_tasks.broker.connection import BrokerConnection
from signal_tasks.broker.messages import PublishRequest
from signal_tasks.models import Delivery, Event
from tests.integration.conftest import StartWorker
from tests.integration.workers import (
    CeleryWorker,
    all_finished,
    effects,
    eventually,
    keys,
    runs,
    states,
)
from tests.testapp.models import Effect
from tests.testapp.receivers import work_inside
from tests.testapp.signals import awaited, chained, happened, inside, queued

TASK = f"{work_inside.__module__}.{work_inside.__qualname__}"


def test_each_receiver_runs_once(worker: CeleryWorker) -> None:
    with transaction.atomic():
        for number in range(20):
            happened.send(sender=None, key=number)
    eventually(all_finished)
    assert effects("atomic") == keys(20)
    assert effects("outside") == keys(20)
    assert states() == {"succeeded": 40}
    assert Delivery.objects.filter(attempts=1).count() == 40


def test_several_workers_share_the_work_and_run_nothing_twice(
    worker: CeleryWorker, start_worker: StartWorker
) -> None:
    start_worker()
    for number in range(150):
        happened.send(sender=None, key=number)
    eventually(all_finished, seconds=120)
    assert effects("atomic") == keys(150)
    assert effects("outside") == keys(150)
    assert len({run.pid for run in runs()}) > 2


def test_a_rolled_back_event_is_never_delivered(worker: CeleryWorker) -> None:
    with transaction.atomic():
        happened.send(sender=None, key="outer")
        with transaction.atomic():
            happened.send(sender=None, key="inner")
            transaction.set_rollback(True)
    eventually(all_finished)
    assert effects("atomic") == effects("outside") == ["outer"]
    assert {run.key for run in runs()} == {"outer"}


def test_an_event_outside_of_a_transaction_is_delivered(worker: CeleryWorker) -> None:
    happened.send(sender=None, key="isolated")
    eventually(all_finished)
    assert effects("atomic") == ["isolated"]


def test_a_message_delivered_fifty_times_has_one_effect(worker: CeleryWorker) -> None:
    before = worker.output.count("1 not due")
    with transaction.atomic():
        ((_, handle),) = inside.send(sender=None, key="once")
        publish(handle.id, times=25)
        inside.send(sender=None, key="another")
    publish(handle.id, times=25)
    eventually(all_finished)
    eventually(lambda: worker.output.count("1 not due") >= before + 49)
    assert effects("inside") == ["another", "once"]
    assert len(runs("inside")) == 2


def publish(delivery_id: object, *, times: int = 1) -> None:
    """Publish messages for a delivery, whatever its state."""
    request = PublishRequest(receiver=TASK, database="default", ids=[str(delivery_id)])
    link = BrokerConnection()
    for _ in range(times):
        link.publish([request])
    link.close()


def test_an_async_receiver_runs(worker: CeleryWorker) -> None:
    awaited.send(sender=None, key="a")
    eventually(all_finished)
    assert effects("async") == ["a"]
    assert states() == {"succeeded": 1}


def test_a_queue_of_its_own_is_served_without_saying_so(worker: CeleryWorker) -> None:
    queued.send(sender=None, key="there")
    eventually(all_finished)
    assert effects("elsewhere") == ["there"]


def test_what_a_receiver_sends_is_delivered_and_knows_its_cause(
    worker: CeleryWorker,
) -> None:
    ((_, handle),) = chained.send(sender=None, key="c")
    eventually(all_finished)
    assert effects("sent on") == effects("atomic") == effects("outside") == ["c"]
    assert [e.cause_id for e in Event.objects.exclude(pk=handle.event_id)] == [
        handle.event_id
    ]


def test_a_delayed_event_waits_until_it_is_due(worker: CeleryWorker) -> None:
    inside.using(delay=timedelta(seconds=1.5)).send(sender=None, key="later")
    eventually(all_finished)
    (run,) = runs("inside")
    waited = run.at - Event.objects.get().sent_at.timestamp()
    assert 1.4 < waited < 6


@pytest.mark.skipif(connection.vendor != "postgresql", reason="needs PostgreSQL")
def test_a_database_connection_outlives_a_message(worker: CeleryWorker) -> None:
    for number in range(12):
        inside.send(sender=None, key=number, task="tell")
        eventually(all_finished)
    told = Effect.objects.filter(what="backend").values_list("key", "worker")
    assert len({backend for backend, _ in told}) == len({child for _, child in told})
