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

from orders.models import Order
from orders.services import confirm_order
from products.models import Product, StockMovement
from products.services import take_stock
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
