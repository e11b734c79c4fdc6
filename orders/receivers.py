"""How orders react to what happens elsewhere in the shop."""

from __future__ import annotations

from collections.abc import Mapping

from django.dispatch import receiver

from orders.models import Order
from orders.services import back_order
from products.signals import stock_short


# Inline: the mark belongs in the transaction that took the stock, both or neither.
@receiver(stock_short, inline=True)
def mark_back_ordered(
    sender: object, order: Order, missing: Mapping[int, int], **kwargs: object
) -> None:
    """Mark an order whose products ran short as back-ordered."""
    back_order(order=order, missing=missing)
