"""One message of Celery's remote control: what it changes is seen, or it is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery import current_app
from django.db.models import F

from signal_tasks import health
from signal_tasks.models import Delivery, Worker
from tests.integration.conftest import StartWorker
from tests.integration.workers import (
    all_finished,
    effects,
    eventually,
    remote_control,
    states,
)
from tests.testapp.receivers import note_slowly, overrun, work_inside
from tests.testapp.signals import inside, timed

CONTROL = {"WORKER_ENABLE_REMOTE_CONTROL": True}


def name_of(receiver: Callable[..., object]) -> str:
    return f"{receiver.__module__}.{receiver.__qualname__}"


@pytest.fixture
def control(redis: Any) -> Iterator[Any]:
    """Send commands to all workers, over the broker of this test."""
    control = remote_control()
    with current_app.connection_for_write() as connection:

        def send(command: str, **arguments: Any) -> Any:
            replies = control.broadcast(
                command, arguments, connection=connection, reply=True, timeout=3
            )
            (reply,) = (answer for each in replies for answer in each.values())
            return reply

        yield send


def consumed() -> str:
    return str(Worker.objects.get().queues)


def let_time_pass() -> None:
    ago = timedelta(seconds=31)
    Delivery.objects.update(available_at=F("available_at") - ago)


def test_a_queue_that_a_message_has_cancelled_is_a_problem_until_it_is_back(
    start_worker: StartWorker, control: Any
) -> None:
    start_worker(CELERY=CONTROL)
    eventually(lambda: "tests" in consumed().split())
    control("cancel_consumer", queue="tests")
    inside.send(sender=None, key="waits")
    eventually(lambda: "tests" not in consumed().split(), seconds=10)
    let_time_pass()
    (problem,) = health()["problems"]
    assert "add_consumer tests" in problem
    control("add_consumer", queue="tests")
    eventually(all_finished)
    assert effects("inside") == ["waits"]
    eventually(lambda: health()["healthy"], seconds=10)


def test_a_worker_without_a_process_consumes_nothing(
    start_worker: StartWorker, control: Any
) -> None:
    start_worker("-c", "1", CELERY=CONTROL)
    eventually(lambda: "tests" in consumed().split())
    control("pool_shrink", n=1)
    eventually(lambda: consumed() == "", seconds=10)
    control("pool_grow", n=1)
    eventually(lambda: "tests" in consumed().split(), seconds=10)


@pytest.mark.parametrize(
    ("command", "receiver", "limits"),
    [
        ("time_limit", work_inside, {"soft": 0.01, "hard": 0.02}),
        ("time_limit", overrun, {"soft": 99, "hard": 99}),
        ("rate_limit", work_inside, {"rate_limit": "1/h"}),
        ("rate_limit", note_slowly, {"rate_limit": "99/s"}),
    ],
)
def test_the_limits_of_a_receiver_are_not_changed(
    command: str,
    receiver: Callable[..., object],
    limits: dict[str, Any],
    start_worker: StartWorker,
    control: Any,
) -> None:
    start_worker("-c", "1", CELERY=CONTROL)
    reply = control(command, task_name=name_of(receiver), **limits)
    assert "set in code" in reply["error"]
    for key in range(2):
        inside.send(sender=None, key=key, task="nap", seconds=0.1)
    timed.send(sender=None, seconds=60)
    eventually(all_finished)
    assert states() == {"succeeded": 2, "dead": 1}


def test_without_remote_control_no_message_changes_anything(
    start_worker: StartWorker, redis: Any
) -> None:
    worker = start_worker(CELERY={"WORKER_ENABLE_REMOTE_CONTROL": False})
    eventually(lambda: "tests" in consumed().split())
    with current_app.connection_for_write() as connection:
        remote_control().broadcast("shutdown", connection=connection)
    inside.send(sender=None, key="runs")
    eventually(all_finished)
    assert worker.is_running()
