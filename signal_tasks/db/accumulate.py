"""Add counts to rows that may exist: one statement that no other writer can lose.

Hand-written SQL, because Django's ``bulk_create`` can replace the columns of a row that
exists, and not add to them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.db import connections, transaction
from django.db.models import BigIntegerField, Func

#: Columns with the numbers to add to them.
Counts = Mapping[str, float]

#: Seconds since 1970 by the database's clock. The session's time zone has no part in it.
UNIX_TIME = {
    "postgresql": "CAST(FLOOR(EXTRACT(EPOCH FROM STATEMENT_TIMESTAMP())) AS bigint)",
    "mysql": "UNIX_TIMESTAMP()",
    "sqlite": "CAST(STRFTIME('%%s', 'now') AS INTEGER)",
}
#: Parameters of a statement where the database sets no limit.
MAX_PARAMS = 10_000


class UnixNow(Func):
    """Seconds since 1970 by the database's clock, as a whole number."""

    output_field = BigIntegerField()

    def as_sql(self, compiler: Any, connection: Any, **_: Any) -> Any:  # type: ignore[override]
        """Return the SQL of that database."""
        return UNIX_TIME[connection.vendor], []


def accumulate(
    table: str, counts: Mapping[str, Counts], steps: Sequence[int], *, database: str
) -> None:
    """Add each receiver's counts to its row of each step, in a transaction.

    A step is the length of a row in seconds; 0 is the row that holds everything. The
    rows are locked in the same order by everybody. A server's crash may lose what was
    added within the last moments: nobody waits for the disk.
    """
    with transaction.atomic(using=database), connections[database].cursor() as cursor:
        if connections[database].vendor == "postgresql":
            cursor.execute("SET LOCAL synchronous_commit TO OFF")
        for some in _parts(counts, len(steps), database):
            cursor.execute(*_statement(table, some, steps, database))


def _parts(
    counts: Mapping[str, Counts], steps: int, database: str
) -> Iterator[dict[str, Counts]]:
    """Yield so many receivers as one statement may have parameters for."""
    limit = connections[database].features.max_query_params or MAX_PARAMS
    columns = len({column for each in counts.values() for column in each})
    size = max(math.floor(limit / (steps * (1 + columns))), 1)
    names = sorted(counts)
    for start in range(0, len(names), size):
        yield {name: counts[name] for name in names[start : start + size]}


def _statement(
    table: str, counts: Mapping[str, Counts], steps: Sequence[int], database: str
) -> tuple[str, list[Any]]:
    connection = connections[database]
    columns = sorted({column for each in counts.values() for column in each})
    now = UNIX_TIME[connection.vendor]
    values = ", ".join(["%s"] * len(columns))
    rows, params = [], []
    for receiver, each in counts.items():
        for step in steps:
            start = f"{now} - {now} %% {step}" if step else "0"
            rows.append(f"(%s, {step}, {start}, {values})")
            params += [receiver, *(each.get(column, 0) for column in columns)]
    into = f"INSERT INTO {table} (receiver, step, start, {', '.join(columns)})"
    return f"{into} VALUES {', '.join(rows)} {_add(table, columns, connection)}", params


def _add(table: str, columns: Sequence[str], connection: Any) -> str:
    """Return the clause that adds to a row which exists."""
    if connection.vendor == "mysql":
        sums = ", ".join(f"{name} = {name} + VALUES({name})" for name in columns)
        return f"ON DUPLICATE KEY UPDATE {sums}"
    sums = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in columns)
    return f"ON CONFLICT (receiver, step, start) DO UPDATE SET {sums}"
