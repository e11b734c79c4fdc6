"""Log lines: a constant event name, and the facts as fields and as text."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from signal_tasks import AsyncSignal, Reject, RetryPolicy, signals, telemetry
from signal_tasks.relay import Passage, Relay
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen

pytestmark = pytest.mark.django_db


def logged(caplog: pytest.LogCaptureFixture, event: str) -> list[logging.LogRecord]:
    return [r for r in caplog.records if r.getMessage().split()[0] == event]


def fail(sender: object, error: str, **kwargs: Any) -> None:
    raise {"Reject": Reject, "ValueError": ValueError}[error]("on purpose")


@pytest.mark.parametrize(
    ("error", "event", "level"),
    [
        ("ValueError", "delivery_failed", logging.WARNING),
        ("Reject", "delivery_dead", logging.ERROR),
    ],
)
def test_a_failure_is_logged_once_with_its_facts(
    error: str,
    event: str,
    level: int,
    signal: AsyncSignal,
    caplog: pytest.LogCaptureFixture,
) -> None:
    signal.connect(fail, name="t.logged", retry=RetryPolicy(backoff=100))
    ((_, handle),) = signal.send(sender=None, error=error)
    run_pending()
    (record,) = logged(caplog, event)
    assert record.levelno == level
    facts = vars(record)
    assert facts["signal_tasks_receiver"] == "t.logged"
    assert facts["signal_tasks_delivery"] == handle.id
    assert facts["signal_tasks_attempt"] == 1
    assert f"delivery={handle.id}" in record.getMessage()
    assert "on purpose" in record.getMessage()


def test_a_success_is_logged_for_debugging_only(
    signal: AsyncSignal, caplog: pytest.LogCaptureFixture
) -> None:
    listen(signal)
    signal.send(sender=None)
    with caplog.at_level(logging.INFO, "signal_tasks"):
        run_pending()
    assert not logged(caplog, "delivery_succeeded")
    signal.send(sender=None)
    with caplog.at_level(logging.DEBUG, "signal_tasks"):
        run_pending()
    assert len(logged(caplog, "delivery_succeeded")) == 1


def test_starting_twice_logs_once(caplog: pytest.LogCaptureFixture) -> None:
    telemetry.start()
    telemetry.start()
    signals.broker_failed.send(sender=None, error="refused")
    assert len(logged(caplog, "broker_failed")) == 1


@pytest.mark.parametrize(
    ("passage", "event"),
    [
        (Passage(recovered=2), "relay_recovered"),
        (Passage(orphaned=1), "relay_recovered"),
    ],
)
def test_what_the_relay_mended_is_a_warning(
    passage: Passage, event: str, caplog: pytest.LogCaptureFixture
) -> None:
    signals.relay_passed.send(sender=Relay, database="default", passage=passage)
    (record,) = logged(caplog, event)
    assert record.levelno == logging.WARNING


def test_an_idle_relay_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "signal_tasks"):
        signals.relay_passed.send(sender=Relay, database="default", passage=Passage())
    assert caplog.records == []
