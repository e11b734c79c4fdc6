"""Steps of the tests of the relay: send, let time pass, look into a queue."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from celery import current_app
from django.db.models import F
from django.utils import timezone

from signal_tasks import AsyncSignal, DeliveryHandle
from signal_tasks.models import Delivery
from signal_tasks.relay.publishing import PassResult
from signal_tasks.relay.relay import Relay


@dataclass(frozen=True)
class Received:
    """A message, as a worker would find it in its queue."""

    task: str
    ids: list[str]
    database: str


def received(queue: str = "tests") -> list[Received]:
    """Take all messages out of a queue of the broker."""
    found = []
    with current_app.connection_for_read() as link:
        channel = link.default_channel
        while queue in channel.queues and (raw := channel.basic_get(queue, True)):
            (ids, database), _, _ = raw.decode()
            found.append(Received(raw.headers["task"], ids, database))
    return found


def send(signal: AsyncSignal, number: int = 1) -> list[str]:
    """Send events that no process publishes; return the ids of their deliveries."""
    signal.send_many(sender=None, items=[{}] * number)
    pass_time()
    return [str(pk) for pk in Delivery.objects.order_by("pk").values_list("pk")[0:]]


def pending(signal: AsyncSignal, number: int = 1) -> list[DeliveryHandle]:
    return [signal.send(sender=None)[0][1] for _ in range(number)]


def lose(handle: DeliveryHandle, *others: DeliveryHandle) -> None:
    """Claim deliveries of one message, as a worker does that then dies."""
    rows = Delivery.objects.all()
    ids = [each.id for each in (handle, *others)]
    claimed = rows.claim(ids, names=[handle.receiver], lease=60)
    assert len(claimed) == len(ids)
    pass_time()


def pass_time(hours: float = 24) -> None:
    """Make everything due for the relay."""
    ago = timedelta(hours=hours)
    Delivery.objects.filter(next_check_at__isnull=False).update(
        next_check_at=F("next_check_at") - ago
    )


def only() -> Delivery:
    delivery: Delivery = Delivery.objects.get()
    return delivery


def wait() -> float:
    """Return after how many seconds the relay looks at the only delivery again."""
    at = only().next_check_at
    assert at is not None
    return (at - timezone.now()).total_seconds()


def run_pass(relay: Relay) -> PassResult:
    (done,) = relay.run_once().values()
    return done
