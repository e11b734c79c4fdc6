"""Stock movements of a product, booked one at a time in the order of their commits."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.dispatch import receiver

from signal_tasks import AsyncSignal, Reject, operations

# Every movement of a product has its key; two products have nothing to do with each other.
stock_moved = AsyncSignal(
    name="warehouse.stock_moved", key=lambda sender, product, **kwargs: product
)


class Stock(models.Model):
    """How much is left of a product; in a project it stands in ``warehouse/models.py``."""

    product = models.CharField(max_length=100, primary_key=True)
    left = models.IntegerField(default=0)

    class Meta:
        app_label = "warehouse"

    def __str__(self) -> str:
        return f"{self.left} of {self.product}"


@receiver(stock_moved, ordered=True)
def book(sender: object, product: str, change: int, **kwargs: Any) -> None:
    """Book a movement; what it may do depends on those before it."""
    stock, _ = Stock.objects.get_or_create(product=product)
    if stock.left + change < 0:
        raise Reject(f"only {stock.left} of {product} left")
    stock.left += change
    stock.save()  # committed with the outcome of the delivery, or rolled back with it


def let_the_next_ones_run(why: str, by: str) -> None:
    """Give up on what blocks; its dead letter stays where it is."""
    for blocked in operations.blocked_keys(receiver=f"{__name__}.book"):
        if blocked.state == "dead":  # others are still to be run
            operations.skip(blocked.delivery_id, by=by, reason=why)
