"""Two at once: only one of them wins, and both are told the truth."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier
from typing import TypeVar
from uuid import uuid4

import pytest
from django.db import connections
from django.db.models import Sum

from orders.models import Order
from orders.services import cancel_order, confirm_order
from products.models import Product, StockMovement
from products.services import receive_stock, take_stock
from signal_tasks.testing import run_pending

pytestmark = pytest.mark.django_db(transaction=True)
T = TypeVar("T")


def at_once(*calls: Callable[[], T]) -> list[T]:
    """Make each call in a thread of its own, all starting together."""
    ready = Barrier(len(calls), timeout=10)

    def run(call: Callable[[], T]) -> T:
        ready.wait()
        try:
            return call()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(run, calls))


def test_of_two_who_confirm_at_once_one_does(mug, place):
    order = place((mug, 1))
    copies = [Order.objects.get(pk=order.pk) for _ in range(4)]
    answers = at_once(*(lambda o=copy: confirm_order(order=o) for copy in copies))
    assert sorted(answers) == [False, False, False, True]
    assert len(run_pending()) == 2
    assert StockMovement.objects.count() == 1


def test_orders_of_the_same_products_in_any_order_share_the_stock(add_product):
    products = [add_product(name, stock=10) for name in ("Mug", "Spoon", "Pan")]
    wanted = {product.pk: 4 for product in products}
    backwards = dict(reversed(wanted.items()))

    def take(lines: dict[int, int]) -> dict[int, int]:
        return take_stock(key=uuid4(), order_reference=uuid4(), wanted=lines)

    answers = at_once(*(lambda w=w: take(w) for w in (wanted, backwards) * 2))
    assert set(Product.objects.values_list("stock", flat=True)) == {0}
    missing = [sum(answer.values()) for answer in answers]
    assert sorted(missing) == [0, 0, 6, 12]


def test_the_same_delivery_twice_at_once_takes_once(mug):
    take = partial(take_stock, key=uuid4(), order_reference=uuid4(), wanted={mug.pk: 4})
    answers = at_once(take, take, take)
    assert answers == [{}, {}, {}]
    assert Product.objects.get().stock == 6


@pytest.mark.parametrize("again", range(3))
def test_an_order_cancelled_while_it_is_delivered_costs_no_stock(mug, confirmed, again):
    orders = [confirmed((mug, 2)) for _ in range(4)]
    at_once(
        run_pending,
        run_pending,
        *(lambda o=order: cancel_order(order=o) for order in orders[:3]),
    )
    run_pending()
    mug.refresh_from_db()
    assert (mug.stock, mug.owed) == (8, 0)
    assert held() == 2


@pytest.mark.parametrize("again", range(3))
def test_arrivals_cancellations_and_orders_at_once_leave_nobody_waiting(
    add_product, confirmed, again
):
    pan, pot = add_product("Pan", stock=1), add_product("Pot", stock=0)
    waiting = [confirmed((pan, 2), (pot, 1)) for _ in range(4)]
    run_pending()
    late = [confirmed((pot, 1), (pan, 1)) for _ in range(2)]
    at_once(
        run_pending,
        run_pending,
        lambda: receive_stock(product=pan, quantity=9),
        lambda: receive_stock(product=pot, quantity=6),
        lambda: cancel_order(order=waiting[1]),
        lambda: cancel_order(order=late[0]),
    )
    run_pending()
    for product, left in ((pan, 10 - 7), (pot, 6 - 4)):
        product.refresh_from_db()
        assert (product.stock, product.owed) == (left, 0)
    assert not Order.objects.filter(status=Order.Status.BACK_ORDERED).exists()


def held() -> int:
    """How many pieces all orders together have taken and not given back."""
    moved = StockMovement.objects.exclude(order_reference=None)
    return int(moved.aggregate(n=Sum("quantity"))["n"])
