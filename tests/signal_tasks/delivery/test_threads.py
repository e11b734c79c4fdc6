"""What is true of the message of one thread is not of those beside it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

import pytest

from signal_tasks import AsyncSignal, RetryPolicy
from signal_tasks.delivery.process import process
from signal_tasks.interrupt import (
    SoftTimeLimitExceeded,
    in_receiver,
    interruptible,
)
from signal_tasks.models import Delivery
from signal_tasks.testing import run_pending
from tests.signal_tasks.delivery.steps import connect


def elsewhere(function: Callable[[], Any]) -> Any:
    """Return what a function returns in another thread."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(function).result()


def test_a_message_that_was_interrupted_ends_no_other() -> None:
    with process.message():
        process.end_message()
        assert process.must_stop
        assert not elsewhere(lambda: process.must_stop)
        with process.message():
            assert process.must_stop  # an eager task inside of it ends, too
    with process.message():
        assert not process.must_stop


def test_a_thread_is_busy_until_its_outermost_message_ends() -> None:
    with process.message():
        with process.message():
            pass
        assert process.busy
        assert not elsewhere(lambda: process.busy)
    assert not process.busy


def test_a_receiver_runs_in_its_own_thread_only() -> None:
    with interruptible:
        with interruptible:
            pass
        assert in_receiver()
        assert not elsewhere(in_receiver)
    assert not in_receiver()


def test_a_receiver_that_raises_runs_no_more() -> None:
    with pytest.raises(LookupError), interruptible:
        raise LookupError
    assert not in_receiver()


@pytest.mark.django_db
@pytest.mark.parametrize("moment", ["__enter__", "__exit__"])
@pytest.mark.parametrize("event", ["call", "return"])
def test_a_limit_that_strikes_while_a_receiver_is_counted_leaves_no_count_behind(
    moment: str, event: str, signal: AsyncSignal
) -> None:
    connect(
        signal,
        lambda sender, **kwargs: None,
        name="t.struck",
        retry=RetryPolicy(max_attempts=1),
    )
    signal.send(sender=None)
    before = sys.gettrace()
    sys.settrace(Strike(moment, event))
    try:
        run_pending()
    finally:
        sys.settrace(before)
    assert not in_receiver()
    assert Delivery.objects.get().state == "dead"


class Strike:
    """Raises what Celery's soft time limit does, where a receiver is counted."""

    def __init__(self, moment: str, event: str) -> None:
        self.moment, self.event = moment, event

    def __call__(self, frame: FrameType, event: str, _: object) -> Any:
        code = frame.f_code
        if code.co_name != self.moment or not code.co_filename.endswith("interrupt.py"):
            return None
        if event == self.event:
            raise SoftTimeLimitExceeded
        return self


def test_a_worker_that_stops_ends_the_messages_of_all_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "stopping", True)
    assert elsewhere(lambda: process.must_stop)
