"""A shelf with a few products, and orders of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core import mail
from django.test import Client
from django.utils.text import slugify

from customers.proofs import Claim, accept
from customers.visitors import VISITOR
from orders.models import Order
from orders.services import confirm_order, place_order
from products.models import Product
from signal_tasks.testing import run_pending
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
def prove(db: None, visitor: UUID) -> Callable[[str], None]:
    """Prove an address, as that visitor does with the link of an email."""
    return lambda email: accept(Claim(email=email, visitor=str(visitor)))


@pytest.fixture
def place(visitor: UUID, prove: Callable[[str], None]) -> Place:
    """Place an order with an address that the visitor has proved."""
    prove("ada@example.com")

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
def link_to(db: None) -> Callable[[str], str]:
    """The path of the link in the newest email to an address."""

    def newest(address: str) -> str:
        run_pending()
        bodies = [str(m.body) for m in mail.outbox if m.to == [address]]
        found = re.search(r"^http://localhost:8000(/\S+)$", bodies[-1], re.MULTILINE)
        assert found is not None
        return found[1]

    return newest


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
