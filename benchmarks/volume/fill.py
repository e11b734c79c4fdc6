"""Fill the tables of a database, and have PostgreSQL analyse them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg

from benchmarks.volume import rows
from benchmarks.volume.apps import ORDERED, RECEIVERS

#: Events of one statement.
BATCH = 50_000
Statement = tuple[str, str]


def fill(
    url: str, deliveries: int, say: Callable[[str], object] = lambda _: None
) -> None:
    """Add so many deliveries with all that belongs to them, to empty tables.

    The same rows each time; only the time that they end at is now.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        connection.execute("SET work_mem = '256MB'")
        connection.execute(rows.FUNCTIONS)
        for title, statement in _statements(deliveries // RECEIVERS):
            started = time.monotonic()
            connection.execute(statement.encode())
            say(f"{title}: {time.monotonic() - started:.1f} s")


def _statements(events: int) -> Iterator[Statement]:
    now = int(time.time() * 1000)
    for title, sql in (("events", rows.EVENTS), ("deliveries", rows.DELIVERIES)):
        for first in range(1, events + 1, BATCH):
            last = min(first + BATCH - 1, events)
            batch = sql.format(events=events, first=first, last=last, now=now)
            yield f"{title} up to {last:,}", batch
    names = [f"'shop.receivers.react_{each * RECEIVERS + 1:03}'" for each in ORDERED]
    yield "attempts", rows.ATTEMPTS
    yield "order", rows.ORDER.format(ordered=", ".join(names))
    yield "steering", rows.STEERING
    yield "operations", rows.OPERATIONS.format(now=now)
    yield "history", rows.HISTORY
    yield "vacuum, analyse", "VACUUM ANALYZE"
    yield "checkpoint", "CHECKPOINT"


def counts(url: str) -> dict[str, Any]:
    """Return the number of rows of each table, as PostgreSQL estimates it."""
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT relname, reltuples::bigint FROM pg_class"
            " WHERE relname LIKE 'signal\\_tasks\\_%' AND relkind = 'r'"
        )
        return dict(found.fetchall())
