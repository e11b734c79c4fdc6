"""The public API as users type it: never run, checked by ``mypy --strict``."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from django.db.models.signals import post_delete, post_save
from django.dispatch import Signal, receiver

from signal_tasks import (
    AsyncSignal,
    BatchItem,
    Breaker,
    CurrentDelivery,
    DeliveryHandle,
    HealthReport,
    Reject,
    Retry,
    RetryPolicy,
    Snapshot,
    async_receiver,
    current_delivery,
    deliveries_of,
    flush,
    health,
    register_type,
)
from signal_tasks import receiver as typed_receiver
from signal_tasks.testing import Sent, assert_sent, capture_signals, run_pending
from tests.testapp.models import Thing

order_confirmed = AsyncSignal()
renamed = AsyncSignal(True, name="orders.renamed", aliases=["orders.former"])
as_django: Signal = order_confirmed


@dataclass
class Money:
    amount: int


register_type(Money, encode=lambda money: money.amount, decode=Money, name="money")


@receiver(order_confirmed)
def update_inventory(sender: object, order: Thing, **kwargs: Any) -> None:
    delivery = current_delivery()
    assert_type(delivery, CurrentDelivery)
    assert_type(delivery.id, uuid.UUID)
    assert_type(delivery.event_id, uuid.UUID)
    assert_type(delivery.signal, str)
    assert_type(delivery.receiver, str)
    assert_type(delivery.attempt, int)
    assert_type(delivery.max_attempts, int)
    assert_type(delivery.idempotency_key, str)
    assert_type(delivery.sent_at, datetime)
    assert_type(delivery.headers, Mapping[str, Any])
    delivery.extend(30)
    if delivery.attempt > 2:
        raise Reject("why")
    raise Retry(after=timedelta(minutes=1), counts=False)


@receiver(
    [order_confirmed, renamed],
    sender=Thing,
    atomic=False,
    queue="email",
    retry=RetryPolicy(max_attempts=8, backoff=1, give_up_on=(ValueError,)),
    timeout=30,
)
async def send_confirmation(sender: object, **kwargs: Any) -> None: ...


@async_receiver(post_save, sender=Thing, when=lambda created, **kwargs: created)
def create_profile(
    sender: object, instance: Thing, created: bool, **kwargs: Any
) -> str:
    return instance.name


@typed_receiver(order_confirmed, timeout=5, breaker=Breaker(failures=3))
def typed(sender: object, **kwargs: Any) -> None: ...


@typed_receiver([order_confirmed, renamed], sender=Thing, inline=True)
def typed_twice(sender: object, **kwargs: Any) -> None: ...


@typed_receiver(post_save, sender=Thing, dispatch_uid="uid")
def of_django(sender: object, **kwargs: Any) -> None: ...


def misspelt() -> None:
    typed_receiver(order_confirmed, timeuot=5)  # type: ignore[call-overload]
    typed_receiver(order_confirmed, timeout="5")  # type: ignore[call-overload]
    typed_receiver(post_save, atomic=False)  # type: ignore[call-overload]
    async_receiver(post_save, quue="email")  # type: ignore[call-arg]
    async_receiver(post_save, atomic="no")  # type: ignore[arg-type]
    async_receiver(order_confirmed, inline=True)  # type: ignore[call-arg]


@async_receiver([post_save, post_delete], snapshot=True, exclude=["using"], raw=True)
def audit(sender: object, **kwargs: Any) -> None: ...


@receiver(order_confirmed, batch=100)
def in_batches(
    batch: Sequence[BatchItem], **kwargs: Any
) -> Mapping[BatchItem, Exception | None]:
    for item in batch:
        assert_type(item.id, uuid.UUID)
        assert_type(item.event_id, uuid.UUID)
        assert_type(item.delivery, CurrentDelivery)
        assert_type(item.arguments, Mapping[str, Any])
        item.delivery.extend(30)
    return {item: None if item["order"] else Reject("why") for item in batch}


@typed_receiver(order_confirmed, batch=10, atomic=False)
async def in_async_batches(batch: Sequence[BatchItem], **kwargs: Any) -> object:
    return batch


@async_receiver(post_save, sender=Thing, batch=10)
def batches_of_django(batch: Sequence[BatchItem], **kwargs: Any) -> object:
    return [item.id for item in batch]


assert_type(create_profile(None, Thing(), True), str)  # decorating changes no type


def connecting() -> None:
    assert_type(
        order_confirmed.connect(
            update_inventory,
            Thing,
            True,
            "uid",
            inline=False,
            name="a.name",
            aliases=("former",),
            queue=None,
            atomic=True,
            retry=None,
            timeout=None,
            rate_limit="10/m",
            on_missing="skip",
            when=None,
            group_commit=False,
        ),
        None,
    )
    order_confirmed.connect(update_inventory, on_missing="explode")  # type: ignore[arg-type]
    order_confirmed.connect(update_inventory, prioritty=1)  # type: ignore[call-arg]
    assert_type(order_confirmed.disconnect(update_inventory), bool)
    assert_type(order_confirmed.has_listeners(Thing), bool)
    assert_type(order_confirmed.name, str)


def sending(thing: Thing) -> None:
    for _, response in order_confirmed.send(sender=thing, order=Snapshot(thing)):
        if isinstance(response, DeliveryHandle):
            assert_type(response.id, uuid.UUID)
            assert_type(response.refresh(), DeliveryHandle)
            assert_type(response.state, str)
    bound = order_confirmed.using(
        delay=timedelta(hours=1), database="default", headers={"trace": "abc"}
    )
    order_confirmed.using(at=datetime(2030, 1, 1, tzinfo=UTC))
    order_confirmed.using(subject=thing)
    order_confirmed.using(subject="order 5")
    bound.send(sender=None, using="a keyword, not an option")
    assert_type(bound.send_many(sender=Thing, items=[{"n": 1}]), list[uuid.UUID])
    assert_type(deliveries_of(uuid.uuid4()), list[DeliveryHandle])
    assert_type(flush(timeout=0.5), bool)
    assert_type(health(), HealthReport)
    assert_type(health()["receivers"]["a.name"]["dead"], int)
    health()["healty"]  # type: ignore[typeddict-item]


async def sending_from_async_code() -> None:
    await order_confirmed.asend(sender=None)
    await order_confirmed.using(delay=5).asend_robust(sender=None)


def testing() -> None:
    assert_type(run_pending(twice=True, shuffle=7), list[DeliveryHandle])
    with capture_signals() as sent:
        assert_type(sent, list[Sent])
    assert_type(assert_sent(order_confirmed, order=1), Sent)
