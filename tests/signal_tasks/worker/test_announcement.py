"""A worker says once what it serves, and in development each delivery."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from celery import signals as celery_signals

from signal_tasks import AsyncSignal, signals
from signal_tasks.states import State
from signal_tasks.telemetry.logs import follow_deliveries, logger, say
from signal_tasks.worker.announcement import announce, text_of
from tests.signal_tasks.conftest import listen


@pytest.fixture
def default_level(
    caplog: pytest.LogCaptureFixture,
) -> Iterator[pytest.LogCaptureFixture]:
    """Log as a worker without -l does."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.WARNING)
    yield caplog
    root.setLevel(level)


class Part:
    """A part of a Celery worker."""

    def __init__(self, **parts: Any) -> None:
        vars(self).update(parts)


@pytest.fixture
def worker() -> Any:
    queues = [Part(name="tests")]
    consumer = Part(task_consumer=Part(queues=queues))
    return Part(hostname="celery@here", consumer=consumer)


def test_the_line_has_queues_receivers_and_relay(
    signal: AsyncSignal, settings: Any
) -> None:
    listen(signal, name="a.here")
    listen(signal, name="t.elsewhere", queue="mail")
    text = text_of("celery@here", ["tests", "other"])
    assert text.startswith("celery@here serves the queues other, tests; receivers: ")
    assert " a.here" in text
    assert "t.elsewhere" not in text
    assert "use other queues); relay: yes" in text
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "RELAY_IN_WORKER": False}
    assert text_of("celery@here", []).endswith("relay: no")


def test_it_is_said_once_however_often_the_worker_connects_again(
    worker: Any, caplog: pytest.LogCaptureFixture
) -> None:
    announce(worker)
    for _ in range(2):
        celery_signals.worker_ready.send(sender=worker.consumer)
    (message,) = caplog.messages
    assert message.startswith("celery@here serves the queues tests; receivers: ")


def test_a_worker_at_its_default_level_says_it_as_information(
    default_level: pytest.LogCaptureFixture,
) -> None:
    say("ready")
    assert default_level.messages == ["ready"]
    assert default_level.records[0].levelno == logging.INFO


def test_a_level_that_the_project_gave_to_the_logger_holds(
    default_level: pytest.LogCaptureFixture,
) -> None:
    with default_level.at_level(logging.WARNING, logger=logger.name):
        say("ready")
    assert default_level.messages == []


def finished(state: State) -> signals.AttemptFinished:
    return signals.AttemptFinished(
        delivery_id=uuid.uuid4(),
        event_id=uuid.UUID(int=7),
        signal="orders.confirmed",
        receiver="stock.take",
        database="default",
        worker="celery@here",
        run=1,
        attempt=1,
        state=state,
        reason="",
        seconds=0.0123,
        waited=0.0,
        retry_in=None,
        error=None,
    )


@pytest.fixture
def _followed() -> Iterator[None]:
    follow_deliveries()
    yield
    signals.attempt_finished.disconnect(dispatch_uid="signal_tasks.say")


@pytest.mark.usefixtures("_followed")
def test_in_development_each_delivery_is_a_line(
    default_level: pytest.LogCaptureFixture,
) -> None:
    signals.attempt_finished.send(None, details=finished(State.SUCCEEDED))
    event = "00000000-0000-0000-0000-000000000007"
    assert default_level.messages == [
        f"stock.take: succeeded in 12 ms, event orders.confirmed {event}"
    ]


@pytest.mark.parametrize("debug", [True, False])
def test_in_production_nobody_listens_to_say_deliveries(
    worker: Any, settings: Any, debug: bool
) -> None:
    settings.DEBUG = debug
    announce(worker)
    celery_signals.worker_ready.send(sender=worker.consumer)
    was_listening = signals.attempt_finished.disconnect(dispatch_uid="signal_tasks.say")
    assert was_listening is debug
