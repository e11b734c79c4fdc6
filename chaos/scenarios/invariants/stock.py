"""Check stock: orders and the ledger agree, and products with both."""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import F, QuerySet, Sum

from chaos.scenarios.invariants.comparison import Comparison, compare
from chaos.scenarios.observations import Observations
from orders.models import Order, OrderLine
from products.models import Product, StockMovement

Kind = StockMovement.Kind
ACTIVE = (Order.Status.CONFIRMED, Order.Status.BACK_ORDERED)


def current_stock() -> dict[int, int]:
    """Return the stock of each product."""
    return dict(Product.objects.values_list("pk", "stock"))


def check_stock(observed: Observations) -> Iterator[Comparison]:
    """Compare the lines of orders with the ledger, and the products with both."""
    active = OrderLine.objects.filter(order__status__in=ACTIVE)
    confirmed = OrderLine.objects.exclude(order__confirmed_at=None)
    key = ("order__reference", "product")
    taken = StockMovement.objects.filter(kind=Kind.TAKEN)
    yield compare(
        "line of a confirmed order",
        "taken from stock once",
        active.values_list(*key),
        taken.values_list("order_reference", "product"),
        allowed=confirmed.values_list(*key),
    )
    yield compare(
        "line of any order",
        "holds its quantity, or nothing if cancelled",
        ((*line[:2], *_expected_quantities(*line)) for line in _lines()),
        ((*line[:2], *held) for line, held in _held_quantities()),
    )
    yield compare(
        "product",
        "initial + arrived - sold; no back-order while in stock",
        observed.initial_stock.items(),
        ((product.pk, _initial_stock(product)) for product in Product.objects.all()),
    )


def _lines() -> QuerySet[OrderLine, tuple[object, int, str, int, int]]:
    return OrderLine.objects.values_list(
        "order__reference", "product", "order__status", "quantity", "back_ordered"
    )


def _expected_quantities(
    reference: object, product: int, status: str, quantity: int, waiting: int
) -> tuple[int, int]:
    """Return the quantities that a line must hold and wait for."""
    return (quantity - waiting, waiting) if status in ACTIVE else (0, 0)


def _held_quantities() -> Iterator[tuple[tuple[object, ...], tuple[int, int]]]:
    """Yield each line with the quantities that the ledger has for it."""
    rows = StockMovement.objects.order_by().values_list("order_reference", "product")
    sums = {
        (reference, product): (quantity, missing)
        for reference, product, quantity, missing in rows.annotate(
            Sum("quantity"), Sum("missing")
        )
    }
    for line in _lines():
        yield line, sums.get(line[:2], (0, 0))


def _initial_stock(product: Product) -> int:
    """Compute the initial stock from the current one; return -1 if it is impossible."""
    lines = OrderLine.objects.filter(product=product, order__status__in=ACTIVE)
    sold = lines.aggregate(n=Sum(F("quantity") - F("back_ordered")))["n"] or 0
    waiting = lines.aggregate(n=Sum("back_ordered"))["n"] or 0
    arrivals = product.movements.filter(kind=Kind.ARRIVED)
    arrived = arrivals.aggregate(n=Sum("quantity"))["n"] or 0  # a negative number
    possible = product.stock >= 0 and product.owed == waiting
    unserved = product.stock and waiting
    return product.stock + sold + arrived if possible and not unserved else -1
