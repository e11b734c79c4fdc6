# mypy: disable-error-code="import-not-found, untyped-decorator, misc, no-any-return"
"""Its side: a task, deferred in the transaction of the order."""

from __future__ import annotations

from procrastinate.contrib.django import app

from benchmarks.project import work


@app.task
def take_stock(order_id: int, stock_id: int) -> None:
    work.take_stock(order_id, stock_id)


def send(kind: str, order_id: int, stock_id: int) -> None:
    take_stock.defer(order_id=order_id, stock_id=stock_id)


def flush() -> None:
    """Nothing waits in this process."""
