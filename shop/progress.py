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
# What a customer is told of a dead delivery, by the name of its receiver's function.
NOT_DONE = {
    "send_proof": "We could not send you the link",
    "send_order_confirmation": "We could not send the confirmation",
    "send_back_order_notice": "We could not write to you about the back-order",
    "send_back_order_served": "We could not write to you that the rest has come",
    "send_order_cancellation": "We could not write to you about the cancellation",
    "update_inventory": "We could not take your order from stock yet",
    "give_back_inventory": "We could not book your order back into stock yet",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One delivery, as a customer sees it."""

    id: UUID
    title: str
    receiver: str
    state: str
    reason: str
    attempts: int
    ended: bool
    trouble: str  # for the customer, if it is dead or discarded

    @classmethod
    def of(cls, delivery: DeliveryHandle) -> Step:
        """Describe one delivery."""
        name = delivery.receiver.rpartition(".")[2]
        return cls(
            id=delivery.id,
            title=name.replace("_", " ").capitalize(),
            receiver=delivery.receiver,
            state=delivery.state,
            reason=delivery.reason,
            attempts=delivery.attempts,
            ended=delivery.finished,
            trouble=_trouble(name, delivery.state),
        )


def _trouble(name: str, state: str) -> str:
    if state not in ("dead", "discarded"):
        return ""
    found = NOT_DONE.get(name, "We could not do this")
    return f"{found}. We look after it." if state == "dead" else f"{found}."


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """An order, its deliveries and its emails."""

    order: Order
    steps: Sequence[Step]
    lines: Sequence[OrderLine]
    emails: Sequence[Notification]

    @property
    def summary(self) -> str:
        """Return how many steps are done, and how many have failed for good."""
        done = sum(step.state == "succeeded" for step in self.steps)
        failed = sum(bool(step.trouble) for step in self.steps)
        told = f"{done} of {len(self.steps)} done"
        return f"{told}, {failed} failed" if failed else told

    @property
    def failed(self) -> bool:
        """Return True if something will not be done unless somebody acts."""
        return any(step.trouble for step in self.steps)

    @property
    def ended(self) -> bool:
        """Return True if the page will not change by itself any more."""
        return all(step.ended for step in self.steps)


def progress_of(order: Order) -> Progress:
    """Read the progress of an order.

    Deliveries first, then what they wrote: the writes of a delivery that is seen as
    finished are committed and will be read.
    """
    steps = _steps(order.proof_event_id) + _steps(order.confirmation_event_id)
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
