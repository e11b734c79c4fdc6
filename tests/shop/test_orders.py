"""Placing and confirming orders."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

import pytest
from django.core import mail
from django.db import IntegrityError, transaction

from customers.models import Customer
from notifications.models import Notification
from orders.models import Order
from orders.services import confirm_order, place_order
from products.models import StockMovement
from signal_tasks import deliveries_of
from signal_tasks.testing import run_pending

pytestmark = pytest.mark.django_db


def test_an_order_keeps_the_price_of_its_moment(mug, place):
    order = place((mug, 2))
    mug.price = Decimal("99.00")
    mug.save()
    assert Order.objects.get(pk=order.pk).total == Decimal("29.00")


def test_placing_alone_sends_nothing_and_takes_nothing(mug, place):
    place((mug, 2))
    assert run_pending() == []
    mug.refresh_from_db()
    assert mug.stock == 10
    assert mail.outbox == []


def test_two_orders_of_one_address_have_one_customer(mug):
    for email in ("ada@example.com", "ADA@example.com"):
        place_order(name="Ada", email=email, lines=[(mug, 1)])
    assert Customer.objects.count() == 1


def test_a_known_customer_is_not_renamed_by_whoever_types_the_address(mug, place):
    place((mug, 1))
    order = place_order(name="Mallory", email="ada@example.com", lines=[(mug, 1)])
    assert order.customer.name == "Ada Muster"
    assert order.customer_name == "Mallory"


def test_an_order_without_a_quantity_is_refused(mug, place):
    with pytest.raises(IntegrityError), transaction.atomic():
        place((mug, 0))
    assert not Order.objects.exists()


def test_a_confirmed_order_takes_stock_and_writes_to_the_customer(mug, confirmed):
    order = confirmed((mug, 3))
    run_pending()
    mug.refresh_from_db()
    assert mug.stock == 7
    assert [message.to for message in mail.outbox] == [["ada@example.com"]]
    assert Order.objects.get(pk=order.pk).status == Order.Status.CONFIRMED


def test_an_order_knows_the_deliveries_of_its_confirmation(mug, confirmed):
    order = confirmed((mug, 1))
    assert {delivery.receiver for delivery in deliveries_of(order_event(order))} == {
        "products.receivers.update_inventory",
        "notifications.receivers.send_order_confirmation",
    }


def test_confirming_twice_sends_nothing_twice_and_says_so(mug, place):
    order = place((mug, 1))
    copy = Order.objects.get(pk=order.pk)
    assert confirm_order(order=order) is True
    first = order_event(order)
    assert confirm_order(order=copy) is False
    assert order_event(order) == first
    run_pending()
    assert StockMovement.objects.count() == 1
    assert Notification.objects.count() == 1


def test_a_rolled_back_confirmation_sends_nothing(mug, place):
    order = place((mug, 1))
    with transaction.atomic():
        confirm_order(order=order)
        transaction.set_rollback(True)
    assert run_pending() == []
    assert mail.outbox == []
    assert Order.objects.get(pk=order.pk).status == Order.Status.PLACED


def order_event(order: Order) -> UUID:
    order.refresh_from_db()
    assert order.confirmation_event_id is not None
    return order.confirmation_event_id
