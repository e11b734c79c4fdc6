"""What is described of an event: its subject, and the attempts of each run."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from signal_tasks import AsyncSignal, DeliveryHandle, RetryPolicy, operations
from signal_tasks.models import Attempt, Delivery, FailureGroup
from signal_tasks.testing import run_pending
from tests.signal_tasks.delivery.steps import connect, raises

pytestmark = pytest.mark.django_db


@pytest.fixture
def handle(signal: AsyncSignal) -> DeliveryHandle:
    """Send an event whose delivery fails twice in each run."""
    twice = RetryPolicy(max_attempts=2, backoff=0, jitter=False)
    connect(signal, raises(ValueError("on purpose")), retry=twice)
    ((_, handle),) = signal.using(subject="order 5").send(sender=None)
    assert isinstance(handle, DeliveryHandle)
    return handle


def described(handle: DeliveryHandle) -> dict[str, Any]:
    told = operations.describe(handle.event_id)
    assert told is not None
    return told


def test_the_attempts_of_each_run_are_told_apart_with_their_times(
    handle: DeliveryHandle,
) -> None:
    for _ in range(2):
        run_pending()
        run_pending()
        Delivery.objects.all().replay()
    (delivery,) = described(handle)["deliveries"]
    failures = delivery["failures"]
    told = [(each["run"], each["number"]) for each in failures]
    assert told == [(1, 1), (1, 2), (2, 1), (2, 2)]
    times = [datetime.fromisoformat(each["failed_at"]) for each in failures]
    assert times == sorted(set(times))
    assert str(Attempt.objects.last()).startswith("ValueError in run 2, attempt 2 of")


def test_an_event_is_described_with_its_subject_and_failures_with_their_group(
    handle: DeliveryHandle,
) -> None:
    run_pending()
    told = described(handle)
    assert told["subject"] == "order 5"
    (failure,) = told["deliveries"][0]["failures"]
    assert failure["fingerprint"] == FailureGroup.objects.get().fingerprint
