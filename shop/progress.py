"""The progress of an order, read from all apps for the order page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from notifications.models import Notification
from orders.models import Order, OrderLine
from signal_tasks import DeliveryHandle, deliveries_of

# The events that may follow the confirmation, in the order of the page.
LATER = ("back_order_event_id", "served_event_id", "cancellation_event_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One delivery, as a customer sees it."""

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
            ended=delivery.finished,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """An order, its deliveries and its emails."""

    order: Order
    steps: Sequence[Step]
    lines: Sequence[OrderLine]
    emails: Sequence[Notification]

    @property
    def done(self) -> int:
        """Return how many steps have finished."""
        return sum(step.ended for step in self.steps)

    @property
    def ended(self) -> bool:
        """Return True if the page will not change by itself any more."""
        return all(step.ended for step in self.steps)


def progress_of(order: Order) -> Progress:
    """Read the progress of an order.

    Deliveries first, then what they wrote: the writes of a delivery that is seen as
    finished are committed and will be read.
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
