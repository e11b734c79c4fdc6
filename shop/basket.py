"""The basket: products and quantities, kept in the session."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from django.contrib.sessions.backends.base import SessionBase

from products.models import Product

MAX_QUANTITY = 99  # pieces of one product
BASKET = "basket"  # the key in the session


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A product in the basket and its quantity, at today's price."""

    product: Product
    quantity: int

    @property
    def total(self) -> Decimal:
        """Return the price of this line."""
        return self.quantity * self.product.price


class Basket:
    """The basket of one session. Products that were deleted are left out."""

    def __init__(self, session: SessionBase) -> None:
        self.session = session
        self.quantities: dict[str, int] = session.get(BASKET, {})

    def __iter__(self) -> Iterator[Line]:
        for product in Product.objects.filter(slug__in=self.quantities):
            yield Line(product=product, quantity=self.quantities[product.slug])

    @property
    def pieces(self) -> int:
        """Return how many pieces are in it, of whatever product."""
        return sum(self.quantities.values())

    def add(self, product: Product, quantity: int) -> None:
        """Add pieces of a product."""
        self.put(product, self.quantities.get(product.slug, 0) + quantity)

    def put(self, product: Product, quantity: int) -> None:
        """Set the quantity of a product; 0 removes it."""
        self.quantities.pop(product.slug, None)
        if quantity > 0:
            self.quantities[product.slug] = min(quantity, MAX_QUANTITY)
        self.session[BASKET] = self.quantities

    def clear(self) -> None:
        """Remove everything."""
        self.quantities = self.session[BASKET] = {}
