"""Stock is taken exactly once, and never below zero."""

from __future__ import annotations

from functools import partial
from uuid import uuid4

import pytest
from django.core import mail
from django.db import DatabaseError, transaction

from notifications.models import Notification
from orders.models import Order
from orders.services import back_order
from products.models import Product, StockMovement
from products.services import receive_stock, take_stock
from signal_tasks.testing import run_pending

pytestmark = pytest.mark.django_db


def test_each_line_of_an_order_is_taken(add_product, confirmed):
    mug, spoon = add_product("Mug", stock=5), add_product("Spoon", stock=5)
    order = confirmed((mug, 2), (spoon, 3))
    run_pending()
    assert stocks() == {"Mug": 3, "Spoon": 2}
    assert sum(StockMovement.objects.values_list("quantity", flat=True)) == 5
    assert {m.order_reference for m in StockMovement.objects.all()} == {order.reference}


def test_what_cannot_be_served_is_back_ordered_and_the_rest_is_taken(
    add_product, confirmed
):
    candle, mug = add_product("Candle", stock=2), add_product("Mug", stock=5)
    order = confirmed((candle, 3), (mug, 1))
    run_pending()
    order.refresh_from_db()
    assert order.status == Order.Status.BACK_ORDERED
    assert stocks() == {"Candle": 0, "Mug": 4}
    lines = {line.product.name: line for line in order.lines.all()}
    assert (lines["Candle"].served, lines["Candle"].back_ordered) == (2, 1)
    assert lines["Mug"].back_ordered == 0


def test_a_customer_is_told_of_a_back_order_once(add_product, confirmed):
    candle, mug = add_product("Candle", stock=0), add_product("Mug", stock=5)
    order = confirmed((candle, 2), (mug, 1))
    run_pending()
    run_pending()
    notices = [m for m in mail.outbox if "back-order" in m.subject]
    assert len(notices) == 1
    assert "2 of 2 x Candle" in notices[0].body
    assert "Mug" not in notices[0].body
    kinds = Notification.objects.filter(order=order).values_list("kind", flat=True)
    assert sorted(kinds) == ["back-order", "order-confirmation"]


def test_the_last_one_goes_to_one_of_two_orders(add_product, confirmed):
    candle = add_product("Candle", stock=1)
    orders = [confirmed((candle, 1)), confirmed((candle, 1))]
    run_pending()
    assert stocks() == {"Candle": 0}
    found = Order.objects.filter(pk__in=[order.pk for order in orders])
    assert {order.status for order in found} == {"confirmed", "back-ordered"}


def test_the_same_order_again_takes_nothing_and_gives_the_same_answer(mug):
    take = partial(
        take_stock, key=uuid4(), order_reference=uuid4(), wanted={mug.pk: 12}
    )
    assert take() == {mug.pk: 2}
    Product.objects.update(stock=50)
    assert take() == {mug.pk: 2}
    assert stocks() == {"Enamel mug": 50}
    assert StockMovement.objects.count() == 1


@pytest.mark.parametrize("seed", range(5))
def test_deliveries_that_come_twice_and_in_any_order_change_nothing_more(
    add_product, confirmed, seed
):
    candle, mug = add_product("Candle", stock=3), add_product("Mug", stock=5)
    orders = [confirmed((candle, 2), (mug, 1)) for _ in range(2)]
    run_pending(twice=True, shuffle=seed)
    assert stocks() == {"Candle": 0, "Mug": 3}
    assert StockMovement.objects.count() == 4
    found = Order.objects.filter(pk__in=[order.pk for order in orders])
    assert sorted(order.status for order in found) == ["back-ordered", "confirmed"]
    assert len(mail.outbox) == Notification.objects.count() == 3


def test_an_order_is_back_ordered_once(add_product, confirmed):
    order = confirmed((add_product("Candle", stock=0), 2))
    run_pending()
    order.refresh_from_db()
    assert back_order(order=order, missing={}) is False
    assert order.lines.get().back_ordered == 2


def test_an_order_that_is_not_confirmed_cannot_be_back_ordered(mug, place):
    assert back_order(order=place((mug, 1)), missing={mug.pk: 1}) is False


def test_the_database_itself_refuses_a_negative_stock(mug):
    with pytest.raises(DatabaseError), transaction.atomic():
        Product.objects.filter(pk=mug.pk).update(stock=-1)


def test_what_arrives_is_added_to_what_is_there(mug):
    seen = Product.objects.get(pk=mug.pk)
    take_stock(key=uuid4(), order_reference=uuid4(), wanted={mug.pk: 4})
    assert receive_stock(product=seen, quantity=10).stock == 16
    assert stocks() == {"Enamel mug": 16}


def test_nothing_arrives_as_less_than_one(mug):
    with pytest.raises(ValueError, match="0 pieces"):
        receive_stock(product=mug, quantity=0)


def stocks() -> dict[str, int]:
    return dict(Product.objects.values_list("name", "stock"))
