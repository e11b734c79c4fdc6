"""Steps of the tests of limits: send, run as a worker does, let time pass."""

from __future__ import annotations

import math
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.db.models import F

from signal_tasks import AsyncSignal, RetryPolicy, signals
from signal_tasks.delivery.message import process_message
from signal_tasks.delivery.result import MessageResult
from signal_tasks.models import Delivery, Event, Gate, HeldDelivery
from signal_tasks.signals import BreakerChanged
from signal_tasks.steering import snapshot
from tests.signal_tasks.relay.steps import pass_time as make_due

AT_ONCE = RetryPolicy(max_attempts=3, backoff=0, jitter=False)


class Service:
    """A receiver that works, or raises the error that it is given."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.calls = 0
        self.meanwhile: Callable[[], None] | None = None

    def __call__(self, sender: object, **kwargs: Any) -> None:
        self.calls += 1
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        if self.error is not None:
            raise self.error


def connect(signal: AsyncSignal, function: Callable[..., Any], **options: Any) -> str:
    """Connect a receiver; return its name."""
    name = f"t.receiver_{uuid.uuid4().hex}"

    def receiver(sender: object, **kwargs: Any) -> None:
        function(sender, **kwargs)

    signal.connect(receiver, weak=False, **{"name": name, "retry": AT_ONCE, **options})
    return name


def send(signal: AsyncSignal, number: int = 1) -> list[str]:
    """Send events; return the ids of their deliveries."""
    signal.send_many(sender=None, items=[{}] * number)
    rows = Delivery.objects.filter(event__signal=signal.name).order_by("pk")
    return [str(pk) for pk in rows.values_list("pk", flat=True)][-number:]


def run(name: str, ids: list[str]) -> MessageResult:
    """Process a message with these ids."""
    return process_message(name, ids, "default", seconds=math.inf)


def states(ids: list[str]) -> dict[str, int]:
    rows = Delivery.objects.filter(pk__in=ids)
    return dict(Counter(rows.values_list("state", flat=True)))


def held(name: str) -> dict[str, int]:
    """Return how many deliveries are held at a gate, by the reason."""
    rows = HeldDelivery.objects.filter(receiver=name)
    return dict(Counter(rows.values_list("why", flat=True)))


def pass_time(name: str, seconds: float) -> None:
    """Have a gate, and what is due for relays, behave as if this time had passed."""
    ago = timedelta(seconds=seconds)
    gates = Gate.objects.filter(receiver=name)
    fields = ("next_token_at", "released_at", "probe_at", "failing_since")
    for field in fields:
        gates.exclude(**{field: None}).update(**{field: F(field) - ago})
    make_due(hours=seconds / 3600)
    Delivery.objects.update(available_at=F("available_at") - ago)
    Event.objects.update(sent_at=F("sent_at") - ago)
    snapshot.forget()


def gate(name: str) -> Gate:
    return Gate.objects.get(receiver=name)


@contextmanager
def changes() -> Iterator[list[BreakerChanged]]:
    """Collect what breakers tell in this block."""
    told: list[BreakerChanged] = []

    def listen(details: BreakerChanged, **kwargs: Any) -> None:
        told.append(details)

    signals.breaker_changed.connect(listen)
    try:
        yield told
    finally:
        signals.breaker_changed.disconnect(listen)
