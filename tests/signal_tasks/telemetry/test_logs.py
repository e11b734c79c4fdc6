"""Log lines: a constant event name, and the facts as fields and as text."""

from __future__ import annotations

import logging
import uuid
from typing import Any

import pytest

from signal_tasks import AsyncSignal, Reject, RetryPolicy, signals
from signal_tasks.models import Delivery
from signal_tasks.relay.relay import Relay
from signal_tasks.telemetry import logs
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen
from tests.testapp.models import Thing

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
    assert facts["signal_tasks_run"] == facts["signal_tasks_attempt"] == 1
    assert f"delivery={handle.id}" in record.getMessage()
    assert "on purpose" in record.getMessage()


def test_after_a_replay_the_run_is_another_one(
    signal: AsyncSignal, caplog: pytest.LogCaptureFixture
) -> None:
    signal.connect(fail, name="t.replayed", retry=RetryPolicy(max_attempts=1))
    signal.send(sender=None, error="ValueError")
    run_pending()
    Delivery.objects.all().replay()
    run_pending()
    found = [vars(record) for record in logged(caplog, "delivery_dead")]
    assert [each["signal_tasks_run"] for each in found] == [1, 2]
    assert [each["signal_tasks_attempt"] for each in found] == [1, 1]


def test_a_row_that_is_gone_is_one_warning_with_the_way_out(
    signal: AsyncSignal, caplog: pytest.LogCaptureFixture
) -> None:
    listen(signal)
    thing = Thing.objects.create(name="gone")
    signal.send(sender=None, thing=thing)
    thing.delete()
    run_pending()
    (record,) = logged(caplog, "delivery_dead")
    assert record.levelno == logging.WARNING
    assert record.exc_info is None
    assert 'on_missing="skip"' in record.getMessage()


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
    logs.start()
    logs.start()
    details = signals.PublicationFailed(error=OSError("refused"))
    signals.publication_failed.send(sender=None, details=details)
    assert len(logged(caplog, "publication_failed")) == 1


def pass_finished(**counts: int) -> None:
    """Say that a relay has finished a pass."""
    none = dict.fromkeys(("published", "recovered", "orphaned", "pruned"), 0)
    details = signals.PassFinished(database="default", **(none | counts))
    signals.pass_finished.send(sender=Relay, details=details)


@pytest.mark.parametrize("what", ["recovered", "orphaned"])
def test_what_the_relay_mended_is_a_warning(
    what: str, caplog: pytest.LogCaptureFixture
) -> None:
    pass_finished(**{what: 2})
    (record,) = logged(caplog, "relay_recovered")
    assert record.levelno == logging.WARNING


def test_an_idle_relay_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "signal_tasks"):
        pass_finished()
    assert caplog.records == []


class ForgingError(Exception):
    def __repr__(self) -> str:
        return "a line\n2026-11-25 00:00:00 INFO a forged line"


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even its name")


HOSTILE: dict[str, BaseException] = {
    "megabytes": ValueError("x" * 3_000_000),
    "lines": ValueError("a\r\nforged\x0b\x0c\x85\u2028\u2029line"),
    "control characters": ValueError("\x1b[31m\x07\x00\u202e"),
    "a surrogate": ValueError("\ud800"),
    "forged by repr": ForgingError("the text"),
    "no text": UnspeakableError(),
    "a long name": type("E" * 5_000, (Exception,), {})("the text"),
}


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("last", [True, False], ids=["dead", "failed"])
def test_whatever_an_error_says_is_one_short_line(
    last: bool, what: str, signal: AsyncSignal, caplog: pytest.LogCaptureFixture
) -> None:
    def raises(sender: object, **kwargs: Any) -> None:
        raise HOSTILE[what]

    policy = RetryPolicy(max_attempts=1 if last else 2)
    signal.connect(raises, name=f"t.hostile_{what}", weak=False, retry=policy)
    signal.send(sender=None, argument="an argument of the receiver")
    run_pending()
    (record,) = logged(caplog, "delivery_dead" if last else "delivery_failed")
    for text in (record.getMessage(), str(vars(record)["signal_tasks_error"])):
        assert text.isprintable()
        assert len(text) < 2_000
        assert "an argument of the receiver" not in text


def test_whatever_the_broker_or_database_says_is_one_short_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    error = OSError("refused\n" * 100_000)
    failed = signals.PublicationFailed(error=error)
    signals.publication_failed.send(sender=None, details=failed)
    stopped = signals.PassFailed(database="default", error=error)
    signals.pass_failed.send(sender=Relay, details=stopped)
    for event in ("publication_failed", "pass_failed"):
        (record,) = logged(caplog, event)
        assert record.getMessage().isprintable()
        assert len(record.getMessage()) < 2_000


def test_a_delivery_whose_workers_died_is_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    details = signals.DeliveryDead(
        delivery_id=uuid.uuid4(),
        receiver="t.lost",
        database="default",
        run=2,
        attempt=3,
        reason="lost",
        error="its worker died",
    )
    signals.delivery_dead.send(sender=Relay, details=details)
    (record,) = logged(caplog, "delivery_dead")
    assert record.levelno == logging.ERROR
    assert "t.lost" in record.getMessage()
    assert "run=2 attempt=3" in record.getMessage()
