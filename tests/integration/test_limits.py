"""Celery's time limits, wherever they are set, count as attempts: once and always."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction

from signal_tasks import AsyncSignal
from signal_tasks.models import Attempt, Delivery
from tests.integration.conftest import StartWorker
from tests.integration.workers import all_finished, effects, eventually, runs_of, states
from tests.testapp.receivers import work_inside, work_outside
from tests.testapp.signals import inside, outside, timed

BOTH = pytest.mark.parametrize("sent", [inside, outside], ids=["inside", "outside"])
NAMES = [f"{f.__module__}.{f.__qualname__}" for f in (work_inside, work_outside)]
ANNOTATIONS = {name: {"time_limit": 1} for name in NAMES}

SOURCES = pytest.mark.parametrize(
    ("options", "celery"),
    [
        pytest.param((), {"TASK_TIME_LIMIT": 1}, id="setting"),
        pytest.param(("--time-limit", "1"), {}, id="command-line"),
        pytest.param((), {"TASK_ANNOTATIONS": ANNOTATIONS}, id="task"),
        pytest.param((), {"TASK_SOFT_TIME_LIMIT": 1}, id="soft-setting"),
        pytest.param(("--soft-time-limit", "1"), {}, id="soft-command-line"),
    ],
)


@SOURCES
@BOTH
def test_a_receiver_that_outlasts_a_limit_of_the_project_is_dead_after_its_attempts(
    sent: AsyncSignal,
    options: tuple[str, ...],
    celery: dict[str, Any],
    start_worker: StartWorker,
) -> None:
    start_worker(*options, CELERY=celery)
    sent.send(sender=None, key="slow", task="nap", seconds=60)
    eventually(all_finished)
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.attempts) == ("dead", 3)
    assert delivery.reason in ("exhausted", "lost")
    assert runs_of("slow") == 3
    numbers = Attempt.objects.order_by("number").values_list("number", flat=True)
    assert list(numbers) == [1, 2, 3]
    assert effects("inside") == []


@BOTH
def test_a_limit_of_the_project_is_one_for_each_delivery_and_not_for_a_message(
    sent: AsyncSignal, start_worker: StartWorker
) -> None:
    """Together they need more than the limit, in one message."""
    with transaction.atomic():
        for key in range(30):
            sent.send(sender=None, key=key, task="nap", seconds=0.1)
    start_worker("-c", "1", CELERY={"TASK_TIME_LIMIT": 1})
    eventually(all_finished)
    assert states() == {"succeeded": 30}
    assert not Attempt.objects.exists()


def test_who_outlasts_a_limit_costs_its_neighbours_no_attempt(
    start_worker: StartWorker,
) -> None:
    with transaction.atomic():
        for key in range(5):
            outside.send(sender=None, key=key)
        outside.send(sender=None, key="slow", task="nap", seconds=60)
        for key in range(5, 10):
            outside.send(sender=None, key=key)
    start_worker("-c", "1", CELERY={"TASK_TIME_LIMIT": 1})
    eventually(all_finished)
    assert states() == {"succeeded": 10, "dead": 1}
    assert runs_of("slow") == 3
    assert Delivery.objects.filter(state="succeeded", attempts=1).count() == 10


def test_a_receivers_own_limit_is_kept_where_the_project_has_a_shorter_one(
    start_worker: StartWorker,
) -> None:
    start_worker(CELERY={"TASK_TIME_LIMIT": 0.5, "TASK_SOFT_TIME_LIMIT": 0.4})
    timed.send(sender=None, key="own", seconds=0.8)  # timeout=1
    eventually(all_finished)
    assert states() == {"succeeded": 1}
