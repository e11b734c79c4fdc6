"""Those who wait are served first come first served, when stock arrives."""

from __future__ import annotations

import pytest
from django.core import mail
from django.db.models import Sum

from orders import services
from orders.models import Order
from products.models import Product, StockMovement
from products.services import receive_stock
from signal_tasks.testing import run_pending

pytestmark = pytest.mark.django_db
Status = Order.Status


@pytest.fixture
def candle(add_product):
    return add_product("Candle", stock=0)


@pytest.fixture
def waiting(confirmed):
    """Orders that ran short, in the order in which they were confirmed."""

    def wait(*orders: list[tuple[Product, int]]) -> list[Order]:
        placed = [confirmed(*lines) for lines in orders]
        run_pending()
        mail.outbox.clear()
        return placed

    return wait


def arrive(product: Product, quantity: int) -> None:
    receive_stock(product=product, quantity=quantity)
    run_pending()


def statuses(orders: list[Order]) -> list[str]:
    for order in orders:
        order.refresh_from_db()
    return [order.status for order in orders]


def test_whoever_came_first_is_served_first(candle, waiting):
    orders = waiting([(candle, 2)], [(candle, 2)])
    arrive(candle, 3)
    assert statuses(orders) == [Status.CONFIRMED, Status.BACK_ORDERED]
    assert [order.lines.get().back_ordered for order in orders] == [0, 1]
    arrive(candle, 3)
    assert statuses(orders) == [Status.CONFIRMED, Status.CONFIRMED]
    candle.refresh_from_db()
    assert (candle.stock, candle.owed) == (2, 0)


def test_the_customer_is_told_once_when_nothing_is_missing_any_more(
    candle, add_product, waiting
):
    wick = add_product("Wick", stock=0)
    [order] = waiting([(candle, 2), (wick, 1)])
    arrive(candle, 5)
    assert mail.outbox == []
    arrive(wick, 5)
    [message] = mail.outbox
    assert message.subject == f"The rest of your order {order.pk} is here"
    assert "2 x Candle" in message.body
    arrive(candle, 5)
    assert len(mail.outbox) == 1


def test_nobody_overtakes_those_who_wait(candle, waiting, confirmed):
    [first] = waiting([(candle, 2)])
    receive_stock(product=candle, quantity=2)
    late = confirmed((candle, 1))
    run_pending(shuffle=3)
    assert statuses([first, late]) == [Status.CONFIRMED, Status.BACK_ORDERED]


def test_what_nobody_waits_for_stays_on_the_shelf(mug):
    arrive(mug, 5)
    mug.refresh_from_db()
    assert (mug.stock, mug.available) == (15, 15)


def test_a_long_queue_is_served_in_several_transactions(candle, waiting, monkeypatch):
    monkeypatch.setattr(services, "BATCH_SIZE", 2)
    orders = waiting(*([(candle, 1)] for _ in range(5)))
    receive_stock(product=candle, quantity=10)
    runs = [one.receiver for one in run_pending()]
    assert set(statuses(orders)) == {Status.CONFIRMED}
    assert runs.count("orders.receivers.serve_back_orders_of") == 1
    keys = StockMovement.objects.filter(kind="served").values_list("key", flat=True)
    assert len(set(keys)) == 3  # a key for each transaction


def test_the_ledger_agrees_with_the_shelf(candle, waiting):
    orders = waiting([(candle, 2)], [(candle, 4)])
    arrive(candle, 5)
    services.cancel_order(order=orders[1])
    run_pending()
    sums = StockMovement.objects.aggregate(moved=Sum("quantity"), owed=Sum("missing"))
    candle.refresh_from_db()
    assert (candle.stock, candle.owed) == (-sums["moved"], sums["owed"]) == (3, 0)
