"""Orders beside the stock that they hold, and accounts beside their profiles."""

from __future__ import annotations

from collections.abc import Iterator

from django.contrib.auth.models import User
from django.db.models import F, QuerySet, Sum

from chaos.scenarios.invariants.comparison import Entry, Observations, compare
from customers.models import CustomerProfile
from orders.models import Order, OrderLine
from products.models import Product, StockMovement

Kind = StockMovement.Kind
STANDING = (Order.Status.CONFIRMED, Order.Status.BACK_ORDERED)


def opening_stock() -> dict[int, int]:
    """The stock of each product now."""
    return dict(Product.objects.values_list("pk", "stock"))


def stock(observations: Observations) -> Iterator[Entry]:
    """The lines of orders beside the ledger, and the shelves beside both."""
    standing = OrderLine.objects.filter(order__status__in=STANDING)
    confirmed = OrderLine.objects.exclude(order__confirmed_at=None)
    key = ("order__reference", "product")
    taken = StockMovement.objects.filter(kind=Kind.TAKEN)
    yield compare(
        "line of a confirmed order",
        "taken from stock once",
        standing.values_list(*key),
        taken.values_list("order_reference", "product"),
        may=confirmed.values_list(*key),
    )
    yield compare(
        "line of any order",
        "holds what it says, and nothing when cancelled",
        ((*line[:2], *_due(*line)) for line in _lines()),
        ((*line[:2], *held) for line, held in _held()),
    )
    yield compare(
        "product",
        "start + arrived - sold, and nobody waits for what is there",
        observations.opening.items(),
        ((p.pk, _reckoned(p)) for p in Product.objects.all()),
    )


def _lines() -> QuerySet[OrderLine, tuple[object, int, str, int, int]]:
    return OrderLine.objects.values_list(
        "order__reference", "product", "order__status", "quantity", "back_ordered"
    )


def _due(
    reference: object, product: int, status: str, quantity: int, waiting: int
) -> tuple[int, int]:
    """How many a line has to hold and to wait for."""
    return (quantity - waiting, waiting) if status in STANDING else (0, 0)


def _held() -> Iterator[tuple[tuple[object, ...], tuple[int, int]]]:
    """Each line with what the ledger says of it."""
    rows = StockMovement.objects.order_by().values_list("order_reference", "product")
    sums = {
        (reference, product): (quantity, missing)
        for reference, product, quantity, missing in rows.annotate(
            Sum("quantity"), Sum("missing")
        )
    }
    for line in _lines():
        yield line, sums.get(line[:2], (0, 0))


def _reckoned(product: Product) -> int:
    """What the stock was at the start, reckoned from what it is; -1 for nonsense."""
    lines = OrderLine.objects.filter(product=product, order__status__in=STANDING)
    sold = lines.aggregate(n=Sum(F("quantity") - F("back_ordered")))["n"] or 0
    waited = lines.aggregate(n=Sum("back_ordered"))["n"] or 0
    came = product.movements.filter(kind=Kind.ARRIVED).aggregate(n=Sum("quantity"))["n"]
    sane = product.stock >= 0 and product.owed == waited
    idle = product.stock and waited
    return product.stock + sold + (came or 0) if sane and not idle else -1


def people() -> Iterator[Entry]:
    """The accounts beside their profiles."""
    yield compare(
        "account",
        "has a profile, with its names",
        User.objects.values_list("pk", "first_name", "last_name"),
        CustomerProfile.objects.values_list("user", "first_name", "last_name"),
    )
