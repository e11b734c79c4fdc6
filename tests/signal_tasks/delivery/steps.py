"""Steps of the tests of deliveries: connect a receiver, send, run."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from signal_tasks import AsyncSignal, DeliveryHandle, RetryPolicy
from signal_tasks.models import Delivery
from signal_tasks.testing import run_pending
from tests.testapp.models import Effect

AT_ONCE = RetryPolicy(max_attempts=3, backoff=0, jitter=False)
atomic_or_not = pytest.mark.parametrize("atomic", [True, False])


def connect(signal: AsyncSignal, function: Callable[..., Any], **options: Any) -> None:
    name = f"t.{function.__name__}_{uuid.uuid4().hex}"
    signal.connect(function, weak=False, **({"name": name} | options))


def send(signal: AsyncSignal, **kwargs: Any) -> DeliveryHandle:
    ((_, handle),) = signal.send(sender=None, **kwargs)
    assert isinstance(handle, DeliveryHandle)
    return handle


def run(handle: DeliveryHandle) -> DeliveryHandle:
    run_pending()
    return handle.refresh()


def row(handle: DeliveryHandle) -> Delivery:
    return Delivery.objects.get(pk=handle.id)


def raises(error: BaseException) -> Callable[..., Any]:
    def failing(sender: object, **kwargs: Any) -> None:
        Effect.objects.create(what="before the error")
        raise error

    return failing


def ids_of(signal: AsyncSignal, name: str) -> list[str]:
    rows = Delivery.objects.filter(receiver=name)
    return [str(pk) for pk in rows.order_by("pk").values_list("pk", flat=True)]
