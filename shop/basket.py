"""The basket of a visit: products that somebody means to order, kept in the session."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID, uuid4

from django.contrib.sessions.backends.base import SessionBase

from products.models import Product

MOST = 99  # pieces of one product
BASKET, VISITOR = "basket", "visitor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """So many of one product, at its price of today."""

    product: Product
    quantity: int

    @property
    def total(self) -> Decimal:
        """What it would cost."""
        return self.quantity * self.product.price


class Basket:
    """What lies in the basket of one session. Products that are gone are not seen."""

    def __init__(self, session: SessionBase) -> None:
        self.session = session
        self.quantities: dict[str, int] = session.get(BASKET, {})

    def __iter__(self) -> Iterator[Line]:
        for product in Product.objects.filter(slug__in=self.quantities):
            yield Line(product=product, quantity=self.quantities[product.slug])

    def add(self, product: Product, quantity: int) -> None:
        """Put more of a product in."""
        self.put(product, self.quantities.get(product.slug, 0) + quantity)

    def put(self, product: Product, quantity: int) -> None:
        """Have so many of a product in it; none takes it out."""
        self.quantities.pop(product.slug, None)
        if quantity > 0:
            self.quantities[product.slug] = min(quantity, MOST)
        self.session[BASKET] = self.quantities

    def clear(self) -> None:
        """Take everything out."""
        self.quantities = self.session[BASKET] = {}


def visitor_of(session: SessionBase) -> UUID | None:
    """Return who is visiting, if they have ordered in this visit."""
    return UUID(session[VISITOR]) if VISITOR in session else None


def visitor_for(session: SessionBase) -> UUID:
    """Return who is visiting, and remember it: what they order is theirs to see."""
    return UUID(session.setdefault(VISITOR, str(uuid4())))
