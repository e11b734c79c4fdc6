"""A webhook that the payment service may call several times for one payment."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.dispatch import receiver

from signal_tasks import AsyncSignal, DuplicateEvent

payment_received = AsyncSignal(name="billing.signals.payment_received")


@receiver(payment_received)
def send_receipt(sender: object, amount: int, **kwargs: Any) -> None:
    """Write the receipt; once for each payment."""
    print(f"a receipt for {amount}")


def webhook(payment: dict[str, Any]) -> None:
    """Handle a call; the second one for a payment within a week does nothing."""
    once = payment_received.using(
        dedupe_key=payment["id"], dedupe_for=timedelta(days=7)
    )
    once.send(sender=None, amount=payment["amount"])


def webhook_that_answers(payment: dict[str, Any]) -> str:
    """Do the same, and tell whether it was the first call."""
    once = payment_received.using(
        dedupe_key=payment["id"], dedupe_for=timedelta(days=7), on_duplicate="raise"
    )
    try:
        once.send(sender=None, amount=payment["amount"])
    except DuplicateEvent as duplicate:
        return f"known already, as event {duplicate.event_id}"
    return "accepted"
