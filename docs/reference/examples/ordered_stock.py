"""Stock movements of a product, booked one at a time in the order of their commits."""

from __future__ import annotations

from typing import Any

from django.dispatch import receiver

from signal_tasks import AsyncSignal, Reject, operations

# Every movement of a product has its key; two products have nothing to do with each other.
stock_moved = AsyncSignal(
    name="warehouse.stock_moved", key=lambda sender, product, **kwargs: product
)

stock: dict[str, int] = {}


@receiver(stock_moved, ordered=True)
def book(sender: object, product: str, change: int, **kwargs: Any) -> None:
    """Book a movement; what it may do depends on those before it."""
    left = stock.get(product, 0) + change
    if left < 0:
        raise Reject(f"only {stock.get(product, 0)} of {product} left")
    stock[product] = left


def let_the_next_ones_run(why: str, by: str) -> None:
    """Give up on what blocks; its dead letter stays where it is."""
    for blocked in operations.blocked_keys(receiver=f"{__name__}.book"):
        operations.skip(blocked.delivery_id, by=by, reason=why)
