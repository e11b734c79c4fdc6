"""``current_delivery()``: facts about the delivery, and more time for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from signal_tasks import (
    AsyncSignal,
    CurrentDelivery,
    NoCurrentDelivery,
    RetryPolicy,
    current_delivery,
)
from signal_tasks.db.clock import DatabaseNow, uuid7
from signal_tasks.models import Delivery, Extension
from signal_tasks.relay.recovery import recover
from signal_tasks.relay.relay import Relay
from signal_tasks.testing import run_pending
from tests.signal_tasks.conftest import listen
from tests.signal_tasks.delivery.steps import atomic_or_not, connect, run, send
from tests.testapp.models import Effect

pytestmark = pytest.mark.django_db
needs_a_server = pytest.mark.skipif(
    connection.vendor == "sqlite", reason="there is one writer at a time"
)


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


def in_another_thread(call: Callable[[], Any]) -> Any:
    """Call over a connection of its own, which sees only what is committed."""

    def call_and_close() -> Any:
        try:
            return call()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as threads:
        return threads.submit(call_and_close).result()


def seconds_left() -> float:
    """Return how long other workers are kept from the only delivery."""
    ends: list[Any] = [*Delivery.objects.values_list("next_check_at", flat=True)]
    ends += Extension.objects.values_list("until", flat=True)
    return float((max(ends) - timezone.now()).total_seconds())


@pytest.mark.django_db(transaction=True)
@atomic_or_not
def test_a_receiver_may_extend_its_lease(atomic: bool, signal: AsyncSignal) -> None:
    def work_long(sender: object, **kwargs: Any) -> None:
        current_delivery().extend(5000)
        Effect.objects.create(what=str(seconds_left()))

    connect(signal, work_long, atomic=atomic)
    handle = run(send(signal))
    assert handle.state == "succeeded"
    assert 4900 < float(Effect.objects.get().what) < 5010


@needs_a_server
@pytest.mark.django_db(transaction=True)
def test_a_lease_is_extended_at_once_also_inside_an_atomic_receiver(
    signal: AsyncSignal,
) -> None:
    def work_long(sender: object, **kwargs: Any) -> None:
        Effect.objects.create(what="before")
        for seconds in (500, 5000):
            current_delivery().extend(seconds)
            left = in_another_thread(seconds_left)
            assert seconds - 100 < left < seconds + 10

    connect(signal, work_long)
    assert run(send(signal)).state == "succeeded"


@needs_a_server
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_a_lease_can_be_extended_under_every_isolation_level(
    level: str, signal: AsyncSignal
) -> None:
    attempts = []

    def work_long(sender: object, **kwargs: Any) -> None:
        attempts.append(current_delivery().attempt)
        with connection.cursor() as cursor:
            cursor.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
        Effect.objects.create(what="before")
        current_delivery().extend(60)
        current_delivery().extend(120)

    connect(signal, work_long)
    handle = run(send(signal))
    assert (handle.state, attempts) == ("succeeded", [1])


@needs_a_server
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("level", ["READ COMMITTED", "SERIALIZABLE"])
def test_what_is_extended_is_recovered_when_that_is_over_or_its_process_is_gone(
    level: str, signal: AsyncSignal, settings: Any
) -> None:
    settings.SIGNAL_TASKS = {**settings.SIGNAL_TASKS, "LEASE": 1}
    recovered = []

    def work_long(sender: object, **kwargs: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
        Effect.objects.create(what="before")
        current_delivery().extend(60)
        over = Delivery.objects.filter(next_check_at__lte=DatabaseNow())
        while not in_another_thread(over.exists):
            time.sleep(0.05)
        recovered.append(in_another_thread(lambda: recover("default")))
        claimed = in_another_thread(Delivery.objects.get)
        in_another_thread(
            lambda: Delivery.objects.extend([claimed.pk], claimed.lease, 0)
        )
        recovered.append(in_another_thread(lambda: recover("default")))

    connect(signal, work_long)
    run(send(signal))
    assert recovered == [0, 1]
    assert not Effect.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_extensions_that_are_over_are_pruned() -> None:
    now = timezone.now()
    for until in (now - timedelta(seconds=60), now + timedelta(seconds=60)):
        Extension.objects.create(delivery_id=uuid7(), lease_end=now, until=until)
    relay = Relay("relay@test")
    relay.run_once()
    relay.close()
    assert [each.until > now for each in Extension.objects.all()] == [True]


@atomic_or_not
def test_a_lease_can_be_extended_inside_of_a_testcase(
    atomic: bool, signal: AsyncSignal
) -> None:
    connect(
        signal, lambda **_: current_delivery().extend(60), name="t.x", atomic=atomic
    )
    assert run(send(signal)).state == "succeeded"
