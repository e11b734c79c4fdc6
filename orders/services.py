"""What can be done with orders. Each of these is one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from uuid import UUID

from django.db import transaction

from customers.services import remember_customer
from orders.models import Order, OrderLine
from orders.signals import order_back_ordered, order_confirmed
from products.models import Product
from signal_tasks import DeliveryHandle


@transaction.atomic
def place_order(
    *, name: str, email: str, lines: Iterable[tuple[Product, int]]
) -> Order:
    """Write down what somebody wants, at the prices of this moment."""
    order = Order.objects.create(
        customer=remember_customer(name=name, email=email),
        customer_name=name,
        customer_email=email,
    )
    OrderLine.objects.bulk_create(
        OrderLine(
            order=order, product=product, quantity=quantity, unit_price=product.price
        )
        for product, quantity in lines
    )
    return order


@transaction.atomic
def confirm_order(*, order: Order) -> bool:
    """Confirm the order and announce it; False, and nothing sent, the second time."""
    if not order.mark_confirmed():
        return False
    responses = order_confirmed.send(sender=order, order=order)
    order.note_event(confirmation_event_id=_event_of(responses))
    return True


@transaction.atomic
def back_order(*, order: Order, missing: Mapping[int, int]) -> bool:
    """Mark what has to wait and announce it; False, and nothing sent, if it was."""
    if not order.mark_back_ordered(missing):
        return False
    responses = order_back_ordered.send(sender=order, order=order)
    order.note_event(back_order_event_id=_event_of(responses))
    return True


def _event_of(responses: Iterable[tuple[object, object]]) -> UUID | None:
    handles = (answer for _, answer in responses if isinstance(answer, DeliveryHandle))
    return next((handle.event_id for handle in handles), None)
