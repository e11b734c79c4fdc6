"""The relay makes deliveries of lost workers pending again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F

from signal_tasks import AsyncSignal, RetryPolicy
from signal_tasks.db.complete import complete
from signal_tasks.models import Attempt, Delivery
from signal_tasks.relay.recovery import recover
from signal_tasks.relay.relay import Relay
from tests.signal_tasks.conftest import listen
from tests.signal_tasks.relay.steps import (
    lose,
    only,
    pass_time,
    pending,
    received,
    run_pass,
    wait,
)

pytestmark = pytest.mark.django_db


def test_a_delivery_that_was_lost_alone_has_spent_its_attempt(
    signal: AsyncSignal,
) -> None:
    listen(signal, retry=RetryPolicy(max_attempts=2, backoff=50, jitter=False))
    (handle,) = pending(signal)
    lose(handle)
    assert recover("default") == 1
    handle.refresh()
    assert (handle.state, handle.attempts) == ("pending", 1)
    assert only().isolated is True
    assert wait() == pytest.approx(50, abs=3)
    attempt = Attempt.objects.get()
    assert (attempt.error_type, attempt.number) == ("WorkerLost", 1)


def test_it_is_dead_when_its_attempts_are_spent(signal: AsyncSignal) -> None:
    listen(signal, retry=RetryPolicy(max_attempts=2, backoff=0))
    (handle,) = pending(signal)
    for _ in range(2):
        lose(handle)
        recover("default")
    handle.refresh()
    assert (handle.state, handle.reason, handle.attempts) == ("dead", "lost", 2)
    assert [a.consequence for a in Attempt.objects.all()] == ["retried", "dead"]


def test_deliveries_that_were_lost_together_lose_no_attempt(
    signal: AsyncSignal,
) -> None:
    listen(signal)
    handles = pending(signal, 3)
    lose(*handles)
    assert recover("default") == 3
    for handle in handles:
        assert (handle.refresh().state, handle.attempts) == ("pending", 0)
    assert Delivery.objects.filter(isolated=True).count() == 3


def test_they_are_published_one_to_a_message_and_claimed_alone(
    signal: AsyncSignal, relay: Relay
) -> None:
    listen(signal, name="t.suspects")
    handles = pending(signal, 3)
    lose(*handles)
    run_pass(relay)
    pass_time()
    run_pass(relay)
    assert {len(message.ids) for message in received()} == {1}
    ids = [handle.id for handle in handles]
    rows = Delivery.objects.all()
    assert rows.claim(ids, names=["t.suspects"], lease=60) == []
    assert len(rows.claim(ids[:1], names=["t.suspects"], lease=60)) == 1


def test_a_lease_that_is_not_over_is_respected(signal: AsyncSignal) -> None:
    listen(signal, name="t.at_work")
    (handle,) = pending(signal)
    Delivery.objects.claim([handle.id], names=["t.at_work"], lease=60)
    assert recover("default") == 0
    assert handle.refresh().state == "running"


def test_a_worker_that_comes_back_after_its_lease_finds_it_claimed(
    signal: AsyncSignal,
) -> None:
    listen(signal, name="t.late")
    (handle,) = pending(signal)
    rows = Delivery.objects.all()
    (mine,) = rows.claim([handle.id], names=["t.late"], lease=60)
    pass_time()
    recover("default")
    Delivery.objects.update(available_at=F("available_at") - timedelta(hours=1))
    (theirs,) = rows.claim([handle.id], names=["t.late"], lease=60)
    assert complete([mine.id], lease=mine.lease, database="default") == 0
    assert complete([theirs.id], lease=theirs.lease, database="default") == 1


def test_a_delivery_without_a_known_receiver_is_recovered_too(
    signal: AsyncSignal,
) -> None:
    def gone(sender: object, **kwargs: Any) -> None: ...

    signal.connect(gone, name="t.gone")
    (handle,) = pending(signal)
    lose(handle)
    signal.disconnect(gone)
    recover("default")
    assert handle.refresh().state == "pending"
