"""What the order page shows of an order: gathered from all apps, never written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from notifications.models import Notification
from orders.models import Order, OrderLine
from signal_tasks import DeliveryHandle, deliveries_of

# What may follow from the confirmation of an order, in the order of the page.
LATER = ("back_order_event_id", "served_event_id", "cancellation_event_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One delivery, as a customer may read it."""

    title: str
    receiver: str
    state: str
    reason: str
    attempts: int
    ended: bool

    @classmethod
    def of(cls, delivery: DeliveryHandle) -> Step:
        """Describe one delivery."""
        return cls(
            title=delivery.receiver.rpartition(".")[2].replace("_", " ").capitalize(),
            receiver=delivery.receiver,
            state=delivery.state,
            reason=delivery.reason,
            attempts=delivery.attempts,
            ended=delivery.ended,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """An order and all that follows from it, as far as it has come."""

    order: Order
    steps: Sequence[Step]
    lines: Sequence[OrderLine]
    emails: Sequence[Notification]

    @property
    def done(self) -> int:
        """How many of the steps have ended."""
        return sum(step.ended for step in self.steps)

    @property
    def ended(self) -> bool:
        """Whether nothing on the page will change by itself any more."""
        return all(step.ended for step in self.steps)


def progress_of(order: Order) -> Progress:
    """Read how far an order has come.

    In this order: what a delivery writes is there when its end is seen, so whoever
    sees the end first and then reads the rest has all of it.
    """
    steps = _steps(order.confirmation_event_id)
    order.refresh_from_db(fields=["status", *LATER])
    for event_id in LATER:
        steps += _steps(getattr(order, event_id))
    return Progress(
        order=order,
        steps=steps,
        lines=list(order.lines.select_related("product")),
        emails=list(Notification.objects.filter(order=order)),
    )


def _steps(event_id: UUID | None) -> list[Step]:
    deliveries = deliveries_of(event_id) if event_id else []
    return sorted(map(Step.of, deliveries), key=lambda step: step.receiver)
