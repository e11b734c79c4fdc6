"""``current_delivery()``: facts about the delivery, and more time for it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from signal_tasks import (
    AsyncSignal,
    CurrentDelivery,
    NoCurrentDelivery,
    RetryPolicy,
    current_delivery,
)
from signal_tasks.models import Delivery
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen
from tests.signal_tasks.delivery.steps import atomic_or_not, connect, run, send
from tests.testapp.models import Effect

pytestmark = pytest.mark.django_db


def test_a_receiver_knows_its_delivery(signal: AsyncSignal) -> None:
    seen: list[CurrentDelivery] = []

    def look(sender: object, **kwargs: Any) -> None:
        seen.append(current_delivery())
        raise ValueError

    policy = RetryPolicy(max_attempts=5, backoff=0)
    connect(signal, look, name="t.look", retry=policy)
    ((_, handle),) = signal.using(headers={"trace": "abc"}).send(sender=None)
    run_pending()
    run_pending()
    first, second = seen
    assert (first.id, first.event_id) == (handle.id, handle.event_id)
    assert (first.signal, first.receiver) == (signal.name, "t.look")
    assert (first.attempt, second.attempt) == (1, 2)
    assert first.max_attempts == 5
    assert first.idempotency_key == second.idempotency_key
    assert isinstance(first.idempotency_key, str)
    assert first.headers == {"trace": "abc"}
    assert first.database == "default"
    assert abs(first.sent_at - timezone.now()) < timedelta(minutes=1)


def test_two_receivers_of_an_event_have_different_idempotency_keys(
    signal: AsyncSignal,
) -> None:
    keys = []

    def one(sender: object, **kwargs: Any) -> None:
        keys.append(current_delivery().idempotency_key)

    def two(sender: object, **kwargs: Any) -> None:
        keys.append(current_delivery().idempotency_key)

    connect(signal, one)
    connect(signal, two)
    signal.send(sender=None)
    run_pending()
    assert len(set(keys)) == 2


def test_outside_of_a_receiver_there_is_no_current_delivery(
    signal: AsyncSignal,
) -> None:
    listen(signal)
    send(signal)
    run_pending()
    with pytest.raises(NoCurrentDelivery):
        current_delivery()
    with pytest.raises(LookupError):
        current_delivery()


def test_an_inline_receiver_has_no_current_delivery(signal: AsyncSignal) -> None:
    def inline(sender: object, **kwargs: Any) -> None:
        current_delivery()

    signal.connect(inline, inline=True)
    with pytest.raises(NoCurrentDelivery):
        signal.send(sender=None)


@pytest.mark.django_db(transaction=True)
@atomic_or_not
def test_a_receiver_may_extend_its_lease(atomic: bool, signal: AsyncSignal) -> None:
    def work_long(sender: object, **kwargs: Any) -> None:
        current_delivery().extend(5000)
        until = Delivery.objects.get().next_check_at
        assert until is not None
        Effect.objects.create(what=str((until - timezone.now()).total_seconds()))

    connect(signal, work_long, atomic=atomic)
    handle = run(send(signal))
    assert handle.state == "succeeded"
    assert 4900 < float(Effect.objects.get().what) < 5010
