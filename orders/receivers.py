"""Receivers of the orders app: mark and serve back-orders."""

from __future__ import annotations

from collections.abc import Mapping

from django.dispatch import receiver

from orders.models import Order
from orders.services import back_order, serve_back_orders
from products.models import Product
from products.signals import stock_arrived, stock_short
from signal_tasks import current_delivery


# Inline: the order is marked in the transaction that took the stock, or not at all.
@receiver(stock_short, inline=True)
def mark_back_ordered(
    sender: object, order: Order, missing: Mapping[int, int], **kwargs: object
) -> None:
    """Mark an order whose products ran short as back-ordered."""
    back_order(order=order, missing=missing)


# The movements of one product are worked off in their order, so that no two wait for the
# same rows. A long queue takes several transactions, each of which keeps the product and
# its orders locked for a moment only.
@receiver(stock_arrived, atomic=False, ordered=True, on_dead="skip")
def serve_back_orders_of(sender: object, product: Product, **kwargs: object) -> None:
    """Give the stock of a product to the orders that wait for it, oldest first."""
    while serve_back_orders(product=product):
        current_delivery().extend(60)
