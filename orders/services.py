"""Place, confirm and cancel orders, and serve back-orders.

Each function is one transaction: it changes rows and sends its signal, or neither."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from uuid import UUID, uuid4

from django.contrib.auth.models import AnonymousUser, User
from django.db import transaction

from customers.services import remember_customer
from orders.models import Order, OrderLine
from orders.signals import (
    back_order_served,
    order_back_ordered,
    order_cancelled,
    order_confirmed,
)
from products.models import Product
from products.services import lock_product, serve_stock
from signal_tasks import DeliveryHandle

BATCH_SIZE = 50  # orders served in one transaction, which keeps their product locked


class AddressNotProved(Exception):
    """The email address of the order is not proved yet."""


@transaction.atomic
def place_order(
    *,
    name: str,
    email: str,
    lines: Iterable[tuple[Product, int]],
    user: User | AnonymousUser | None = None,
    visitor: UUID | None = None,
) -> Order:
    """Create an order at the present prices."""
    order = Order.objects.create(
        user_id=user.pk if user else None,
        visitor=visitor,
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
    """Confirm the order and send its signal; return False if that was done.

    Raise ``AddressNotProved`` if its emails would go to somebody who did not ask.
    """
    if not order.address_is_proved():
        raise AddressNotProved
    if not order.mark_confirmed():
        return False
    responses = order_confirmed.send(sender=order, order=order)
    order.note_event(confirmation_event_id=_event_of(responses))
    return True


@transaction.atomic
def back_order(*, order: Order, missing: Mapping[int, int]) -> bool:
    """Mark what is missing and send the signal; return False if that was done."""
    if not order.mark_back_ordered(missing):
        return False
    responses = order_back_ordered.send(sender=order, order=order)
    order.note_event(back_order_event_id=_event_of(responses))
    return True


@transaction.atomic
def cancel_order(*, order: Order) -> bool:
    """Cancel the order and send its signal; return False if that was done."""
    if not order.mark_cancelled():
        return False
    responses = order_cancelled.send(sender=order, order=order)
    order.note_event(cancellation_event_id=_event_of(responses))
    return True


@transaction.atomic
def serve_back_orders(*, product: Product) -> bool:
    """Give the stock of a product to the orders that wait for it, oldest first.

    Lock the product first, then one order after the other: see Note [Cancelled
    meanwhile]. Return False when nothing is left to serve; a long queue is served in
    several transactions. What was served waits no more, so it is not served twice.
    """
    product = lock_product(product.pk)
    key = uuid4()
    for _ in range(BATCH_SIZE):
        order = Order.objects.waiting_for(product).first() if product.stock else None
        if order is None:
            return False
        _serve(order, product, key)
    return True


def _serve(order: Order, product: Product, key: UUID) -> None:
    waiting = order.lines.get(product=product).back_ordered
    quantity = min(product.stock, waiting)
    serve_stock(
        key=key, product=product, order_reference=order.reference, quantity=quantity
    )
    if order.mark_served(product, quantity):
        responses = back_order_served.send(sender=order, order=order)
        order.note_event(served_event_id=_event_of(responses))


def _event_of(responses: Iterable[tuple[object, object]]) -> UUID | None:
    handles = (answer for _, answer in responses if isinstance(answer, DeliveryHandle))
    return next((handle.event_id for handle in handles), None)
