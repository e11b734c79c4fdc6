"""Bounds of what a page reads: numbers up to a limit, statements up to a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from signal_tasks.db.timeouts import TooSlow, statements_within

__all__ = ["Count", "TooSlow", "bounded_statements", "count", "edge"]

#: Rows that are counted; beyond it a page says "more than".
MAX_COUNTED = 10_000
#: The same for a number that a page has many of, or that takes long to count.
FEW_COUNTED = 1_000
#: Rows, the latest, among which a page looks for what no index finds.
MAX_SEARCHED = 100_000
#: Longest time of one statement of a page (seconds).
STATEMENT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Count:
    """A number of rows, exact up to a limit.

    Attributes:
        number: of rows; the limit if there are more.
        is_more: there are more.
    """

    number: int
    is_more: bool = False

    def __str__(self) -> str:
        return f"more than {self.number:,}" if self.is_more else f"{self.number:,}"

    def __bool__(self) -> bool:
        return self.number > 0


def count(rows: QuerySet[Any], limit: int = MAX_COUNTED) -> Count:
    """Count rows up to ``limit``."""
    number = rows.order_by()[: limit + 1].count()
    return Count(min(number, limit), is_more=number > limit)


def edge(rows: QuerySet[Any], column: str, limit: int | None = None) -> Any:
    """Return the value of a column beyond which ``limit`` rows are, the latest ones.

    None if there are no more than that. An index of the column has to find these rows.
    """
    most = MAX_SEARCHED if limit is None else limit
    values = rows.order_by(f"-{column}").values_list(column, flat=True)
    return next(iter(values[most : most + 1]), None)


@contextmanager
def bounded_statements(database: str) -> Iterator[None]:
    """Stop each statement in the block that takes too long; change nothing.

    Raises:
        TooSlow: a statement was stopped.
    """
    with statements_within(STATEMENT_SECONDS, database):
        yield
