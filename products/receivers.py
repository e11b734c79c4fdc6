"""How products react to what happens elsewhere in the shop."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from django.dispatch import receiver

from orders.signals import order_confirmed
from products.services import take_stock
from products.signals import stock_short
from signal_tasks import current_delivery

if TYPE_CHECKING:
    from orders.models import Order


# One commit per order, never one per group: products stay locked until the commit,
# and only within one order are they locked in a fixed order.
@receiver(order_confirmed, group_commit=False)
def update_inventory(sender: object, order: Order, **kwargs: object) -> None:
    """Take what the order needs from stock, exactly once and never below zero."""
    missing = take_stock(
        key=UUID(current_delivery().idempotency_key),
        order_reference=order.reference,
        wanted=order.quantities(),
    )
    if missing:
        stock_short.send(sender=order, order=order, missing=missing)
