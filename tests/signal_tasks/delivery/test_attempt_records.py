"""The record of a failed attempt: complete, bounded, and possible for any error."""

from __future__ import annotations

from typing import Any

import pytest
from celery import current_app

from signal_tasks import AsyncSignal, RetryPolicy
from signal_tasks.models import Attempt
from signal_tasks.testing import run_pending
from tests.signal_tasks.delivery.steps import AT_ONCE, connect, raises, run, send

pytestmark = pytest.mark.django_db


def test_every_failed_attempt_is_recorded(signal: AsyncSignal) -> None:
    connect(signal, raises(ValueError("the reason")), retry=AT_ONCE)
    handle = send(signal)
    for _ in range(3):
        run_pending()
    attempts = Attempt.objects.filter(delivery_id=handle.id).order_by("pk")
    assert [(a.number, a.consequence) for a in attempts] == [
        (1, "retried"),
        (2, "retried"),
        (3, "dead"),
    ]
    for attempt in attempts:
        assert (attempt.error_type, attempt.error) == ("ValueError", "the reason")
        assert "in failing" in attempt.traceback
        assert "the reason" in attempt.traceback
        assert attempt.worker
        assert attempt.seconds is not None


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even its name")


RECORDED: dict[str, tuple[BaseException, str]] = {
    "NUL": (ValueError("a\0b"), "a\\x00b"),
    "a surrogate": (ValueError("a\ud800b"), "a\\ud800b"),
    "no text": (UnspeakableError(), "(the error cannot be shown)"),
    "markup": (ValueError("<script>alert(1)</script>"), "<script>alert(1)</script>"),
}


@pytest.mark.parametrize("what", RECORDED)
def test_any_error_can_be_recorded(what: str, signal: AsyncSignal) -> None:
    error, text = RECORDED[what]
    connect(signal, raises(error))
    assert run(send(signal)).state == "pending"
    attempt = Attempt.objects.get()
    assert attempt.error == text
    assert "\0" not in attempt.traceback


def test_what_is_recorded_is_bounded_and_keeps_the_end(
    signal: AsyncSignal, settings: Any
) -> None:
    settings.SIGNAL_TASKS = {"MAX_TRACEBACK_CHARS": 500}
    connect(signal, raises(ValueError("x" * 100_000 + "the end")))
    run(send(signal))
    attempt = Attempt.objects.get()
    assert len(attempt.error) <= 2000
    assert len(attempt.traceback) <= 500
    assert attempt.traceback.rstrip().endswith("the end")


def test_an_error_of_megabytes_leaves_room_for_its_traceback(
    signal: AsyncSignal,
) -> None:
    connect(signal, raises(ValueError("x" * 3_000_000 + "the end")))
    run(send(signal))
    attempt = Attempt.objects.get()
    assert len(attempt.error) == 2000
    assert "in failing" in attempt.traceback
    assert attempt.traceback.rstrip().endswith("the end")


def test_an_error_with_a_very_long_type_name_is_recorded(signal: AsyncSignal) -> None:
    error = type("E" * 400, (Exception,), {})()
    connect(signal, raises(error))
    run(send(signal))
    assert Attempt.objects.get().error_type == "E" * 255


@pytest.mark.parametrize("last", [True, False], ids=["dead", "retried"])
def test_celery_logs_and_sends_no_megabytes(last: bool, signal: AsyncSignal) -> None:
    policy = RetryPolicy(max_attempts=1 if last else 2)
    error = ValueError("x" * 3_000_000)
    connect(signal, raises(error), name=f"t.megabytes_{last}", retry=policy)
    handle = send(signal)
    task = current_app.tasks[handle.receiver]
    done = task.apply(args=[[str(handle.id)], "default"])
    assert done.state == ("FAILURE" if last else "RETRY")
    assert "ValueError: xxx" in repr(done.result)
    assert len(repr(done.result)) + len(done.traceback) < 20_000
