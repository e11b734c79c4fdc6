"""The reference's side: a task for each kind of work."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.project import work
from benchmarks.project.celery_app import app


@app.task  # type: ignore[untyped-decorator]
def take_stock(order_id: int, stock_id: int) -> None:
    work.take_stock(order_id, stock_id)


@app.task  # type: ignore[untyped-decorator]
def tell_outside(order_id: int, stock_id: int) -> None:
    work.tell_outside(order_id)


TASKS = {"atomic": take_stock, "single": take_stock, "outside": tell_outside}


def send(kind: str, order_id: int, stock_id: int) -> None:
    TASKS[kind].delay_on_commit(order_id, stock_id)


def send_many(rows: Iterable[tuple[int, int]]) -> None:
    for order_id, stock_id in rows:
        take_stock.delay_on_commit(order_id, stock_id)


def flush() -> None:
    """Nothing waits: the commit has published."""
