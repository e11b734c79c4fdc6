"""How products react to what happens elsewhere in the shop.

One commit per order, never one per group: products stay locked until the commit, and
only within one order are they locked in a fixed order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from django.dispatch import receiver

from orders.signals import order_cancelled, order_confirmed
from products.services import give_back_stock, take_stock
from products.signals import stock_short
from signal_tasks import current_delivery

if TYPE_CHECKING:
    from orders.models import Order


@receiver(order_confirmed, group_commit=False)
def update_inventory(sender: object, order: Order, **kwargs: object) -> None:
    """Take what the order needs from stock, exactly once and never below zero.

    # Note [Cancelled meanwhile]
    The order is locked before its stock is taken. Whoever cancels it either did so
    before, then nothing is taken; or waits for this transaction, and what it took is
    there to be given back.
    """
    if not order.hold():
        return
    missing = take_stock(
        key=UUID(current_delivery().idempotency_key),
        order_reference=order.reference,
        wanted=order.quantities(),
    )
    if missing:
        stock_short.send(sender=order, order=order, missing=missing)


@receiver(order_cancelled, group_commit=False)
def give_back_inventory(sender: object, order: Order, **kwargs: object) -> None:
    """Put back what the order took, exactly once. See Note [Cancelled meanwhile]."""
    give_back_stock(
        key=UUID(current_delivery().idempotency_key), order_reference=order.reference
    )
