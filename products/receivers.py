"""Receivers of the products app: take stock, and give it back.

Each delivery has a transaction of its own (``group_commit=False``). Products stay
locked until the commit, and only the products of one order are locked in a fixed
order: two batches of several orders could deadlock.
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
    """Take the order's products from stock, once and never below zero.

    # Note [Cancelled meanwhile]
    The order is locked before its stock is taken. A cancellation either came first,
    and nothing is taken; or it waits for this transaction, and then gives back what
    was taken here.
    """
    if not order.lock():
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
    """Return what the order took to stock, once. See Note [Cancelled meanwhile]."""
    give_back_stock(
        key=UUID(current_delivery().idempotency_key), order_reference=order.reference
    )
