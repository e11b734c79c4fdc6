# mypy: disable-error-code="import-not-found, untyped-decorator, misc, no-any-return"
"""Its side: a typed event, fired in the transaction of the order."""

from __future__ import annotations

from dataclasses import dataclass

from django_domain_events import DURABLE, event, fire, receiver

from benchmarks.project import work


@event(name="bench.order_placed")
@dataclass(frozen=True, slots=True)
class OrderPlaced:
    """An order was placed."""

    order_id: int
    stock_id: int


@receiver(OrderPlaced, key="bench.take_stock", mode=DURABLE)
def take_stock(placed: OrderPlaced) -> None:
    work.take_stock(placed.order_id, placed.stock_id)


def send(kind: str, order_id: int, stock_id: int) -> None:
    fire(OrderPlaced(order_id=order_id, stock_id=stock_id))


def flush() -> None:
    """Nothing waits in this process."""
