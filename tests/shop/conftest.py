"""A shelf with a few products, and orders of them."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from django.utils.text import slugify

from orders.models import Order
from orders.services import confirm_order, place_order
from products.models import Product

AddProduct = Callable[..., Product]
Place = Callable[..., Order]


@pytest.fixture
def add_product(db: None) -> AddProduct:
    def add(
        name: str = "Enamel mug", *, stock: int = 10, price: str = "14.50"
    ) -> Product:
        return Product.objects.create(
            name=name, slug=slugify(name), stock=stock, price=Decimal(price)
        )

    return add


@pytest.fixture
def mug(add_product: AddProduct) -> Product:
    return add_product()


@pytest.fixture
def place(db: None) -> Place:
    def place_one(*lines: tuple[Product, int]) -> Order:
        return place_order(name="Ada Muster", email="ada@example.com", lines=lines)

    return place_one


@pytest.fixture
def confirmed(place: Place) -> Place:
    def place_and_confirm(*lines: tuple[Product, int]) -> Order:
        order = place(*lines)
        assert confirm_order(order=order)
        return order

    return place_and_confirm
