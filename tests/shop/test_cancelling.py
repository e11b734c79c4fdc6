"""A cancelled order holds nothing, waits for nothing, and is cancelled once."""

from __future__ import annotations

import pytest
from django.core import mail
from django.db import transaction

from orders.models import Order
from orders.services import cancel_order, confirm_order
from products.models import Product, StockMovement
from products.services import receive_stock
from signal_tasks.testing import run_pending

pytestmark = pytest.mark.django_db
Status = Order.Status


def shelf(product: Product) -> tuple[int, int]:
    """How many are there, and how many are owed."""
    product.refresh_from_db()
    return product.stock, product.owed


def test_what_an_order_took_is_given_back_once(mug, confirmed):
    order = confirmed((mug, 3))
    run_pending()
    assert shelf(mug) == (7, 0)
    assert cancel_order(order=order) is True
    assert cancel_order(order=order) is False
    run_pending()
    run_pending(twice=True)
    assert shelf(mug) == (10, 0)
    assert [m.quantity for m in StockMovement.objects.order_by("pk")] == [3, -3]


def test_an_order_cancelled_before_its_stock_was_taken_takes_none(mug, confirmed):
    order = confirmed((mug, 3))
    cancel_order(order=order)
    run_pending()
    assert shelf(mug) == (10, 0)
    assert not StockMovement.objects.exists()


@pytest.mark.parametrize("seed", range(5))
def test_confirmation_and_cancellation_may_arrive_in_any_order_and_twice(
    mug, add_product, confirmed, seed
):
    candle = add_product("Candle", stock=1)
    order = confirmed((mug, 3), (candle, 2))
    cancel_order(order=order)
    run_pending(twice=True, shuffle=seed)
    assert (shelf(mug), shelf(candle)) == ((10, 0), (1, 0))


def test_a_cancelled_back_order_waits_for_nothing(add_product, confirmed):
    candle = add_product("Candle", stock=1)
    order = confirmed((candle, 3))
    run_pending()
    assert shelf(candle) == (0, 2)
    cancel_order(order=order)
    run_pending()
    assert shelf(candle) == (1, 0)
    receive_stock(product=candle, quantity=5)
    run_pending()
    assert shelf(candle) == (6, 0)


def test_what_is_given_back_goes_to_whoever_waits(add_product, confirmed):
    candle = add_product("Candle", stock=2)
    holder, waiting = confirmed((candle, 2)), confirmed((candle, 2))
    run_pending()
    cancel_order(order=holder)
    run_pending()
    waiting.refresh_from_db()
    assert waiting.status == Status.CONFIRMED
    assert shelf(candle) == (0, 0)


def test_an_order_that_was_never_confirmed_can_be_cancelled(mug, place):
    order = place((mug, 1))
    assert cancel_order(order=order) is True
    assert confirm_order(order=order) is False
    run_pending()
    assert shelf(mug) == (10, 0)
    assert [message.subject for message in mail.outbox] == [
        f"Your order {order.pk} is cancelled"
    ]


def test_the_customer_is_not_told_of_a_confirmation_that_is_off(mug, confirmed):
    order = confirmed((mug, 1))
    cancel_order(order=order)
    run_pending(shuffle=1)
    [message] = mail.outbox
    assert "cancelled" in message.subject


def test_a_rolled_back_cancellation_sends_nothing(mug, confirmed):
    order = confirmed((mug, 1))
    run_pending()
    with transaction.atomic():
        cancel_order(order=order)
        transaction.set_rollback(True)
    assert run_pending() == []
    assert shelf(mug) == (9, 0)
