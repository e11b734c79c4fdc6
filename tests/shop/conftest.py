"""A shelf with a few products, and orders of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.test import Client
from django.utils.text import slugify

from orders.models import Order
from orders.services import confirm_order, place_order
from products.models import Product
from shop.basket import VISITOR
from tests.post_office import PostOffice

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
def visitor() -> UUID:
    """Who places orders in this test."""
    return uuid4()


@pytest.fixture
def client(db: None, visitor: UUID) -> Client:
    """The browser of that visitor."""
    browser = Client()
    session = browser.session
    session[VISITOR] = str(visitor)
    session.save()
    browser.cookies["sessionid"] = str(session.session_key)
    return browser


@pytest.fixture
def place(db: None, visitor: UUID) -> Place:
    def place_one(*lines: tuple[Product, int]) -> Order:
        return place_order(
            name="Ada Muster", email="ada@example.com", lines=lines, visitor=visitor
        )

    return place_one


@pytest.fixture
def confirmed(place: Place) -> Place:
    def place_and_confirm(*lines: tuple[Product, int]) -> Order:
        order = place(*lines)
        assert confirm_order(order=order)
        return order

    return place_and_confirm


@pytest.fixture
def post_office(settings: Any) -> Iterator[PostOffice]:
    """A mail server that the settings name."""
    office = PostOffice()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", office.port
    settings.EMAIL_TIMEOUT = 5
    office.open()
    yield office
    office.close()
