# mypy: disable-error-code="import-not-found, untyped-decorator, misc, no-any-return"
"""Its side: a task, sent by a hook after the commit."""

from __future__ import annotations

from django.db import transaction
from django_q.tasks import async_task

from benchmarks.project import work


def take_stock(order_id: int, stock_id: int) -> None:
    work.take_stock(order_id, stock_id)


def send(kind: str, order_id: int, stock_id: int) -> None:
    transaction.on_commit(lambda: async_task(take_stock, order_id, stock_id))


def flush() -> None:
    """Nothing waits: the commit has published."""
