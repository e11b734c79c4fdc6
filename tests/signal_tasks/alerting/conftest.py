"""A healthy system, and somebody who is told when it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from signal_tasks.models import Worker
from tests.signal_tasks.alerting import steps

ChooseAlerts = Callable[..., None]


@pytest.fixture
def choose(settings: Any) -> ChooseAlerts:
    """Return a function that sets SIGNAL_TASKS["ALERTS"]."""

    def choose(**options: Any) -> None:
        options = {"AFTER": 0, **options}
        settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "ALERTS": options}

    return choose


@pytest.fixture(autouse=True)
def _listening(choose: ChooseAlerts) -> Iterator[None]:
    choose(CALL=[steps.HEAR], URL="https://shop.example.com/signals")
    steps.go_on.clear()
    yield
    steps.go_on.set()
    steps.heard.clear()


@pytest.fixture
def worker(db: None) -> Worker:
    """A live worker, so that nothing is wrong by itself."""
    return Worker.objects.create(name="celery@here", queues="tests")
