"""Measure the database time of each page: ``python -m benchmarks.pages --help``.

Each page of the dashboard, each list of the admin, ``health()`` and the metrics, on an
outbox of ten million deliveries: the number of statements and the time that they take, the
median of three runs after one that is not counted. The CPU time is that of PostgreSQL, if
it runs on this machine: what the time would be if nobody else used the machine.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import django
import psycopg
from django.core.management import call_command

from shop.embedded import PostgresServer

if TYPE_CHECKING:
    from benchmarks.volume.measured import Figure

#: The goal: no page takes longer (milliseconds).
GOAL = 300.0
#: Of PostgreSQL's own; it gets more from the system's cache.
MEMORY = "2GB"
#: No statement is stopped before (seconds).
PATIENCE = 60.0


def main() -> None:
    """Fill a database, unless one is given; measure; print a table."""
    options = _options()
    with _filled(options.rows, options.database_url) as url:
        _set_up(url)
        figures = []
        for figure in _measured(options.only):
            print(_line(figure), flush=True)
            figures.append(figure)
        print(f"\n{table(figures)}")
        _explain(figures, options.explain)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000, help="deliveries")
    parser.add_argument("--database-url", help="of one that is filled already")
    parser.add_argument("--only", default="", help="pages whose title contains this")
    parser.add_argument(
        "--explain",
        type=float,
        default=GOAL,
        help="print plans of pages that use more CPU (ms)",
    )
    return parser.parse_args()


def _set_up(url: str) -> None:
    os.environ["VOLUME_DATABASE_URL"] = url
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.volume.settings"
    django.setup()
    call_command("migrate", verbosity=0)


@contextmanager
def _filled(rows: int, url: str | None) -> Iterator[str]:
    """Yield the URL of a filled database; one that is started here is removed."""
    if url is not None:
        yield url
        return
    with PostgresServer() as server:
        _give_memory(server)
        _set_up(server.url)
        from benchmarks.volume.fill import fill

        fill(server.url, rows, print)
        yield server.url


def _give_memory(server: PostgresServer) -> None:
    """Let PostgreSQL keep in memory what pages read, as that of a large table can."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"ALTER SYSTEM SET shared_buffers = '{MEMORY}'".encode())
        connection.execute("ALTER SYSTEM SET max_wal_size = '8GB'")
    server.stop()
    server.start()


def _measured(only: str) -> Iterator[Figure]:
    from django.contrib.auth.models import User
    from django.test import Client

    from benchmarks.volume import addresses, measured
    from signal_tasks.reports import bounds

    bounds.STATEMENT_SECONDS = PATIENCE  # else a statement that is stopped looks quick
    user, _ = User.objects.get_or_create(
        username="root", is_superuser=True, is_staff=True
    )
    client = Client()
    client.force_login(user)
    some = addresses.examples()
    for page in (*addresses.dashboard(some), *addresses.admin(some)):
        if only in page.title:
            yield measured.page(client, page.title, page.address)
    for title, call in addresses.calls().items():
        if only in title:
            yield measured.measure(title, call)


def _line(figure: Figure) -> str:
    mark = "" if figure.cpu <= GOAL else " SLOW"
    mark += "" if figure.status == 200 else f" STATUS {figure.status}"
    number, took = len(figure.statements), figure.milliseconds
    times = f"{took:8.1f} ms {figure.cpu:7.1f} ms CPU"
    return f"{times} {number:3} statements  {figure.title}{mark}"


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as a table in Markdown, the slowest first."""
    lines = [
        "| page | statements | ms | CPU, ms | slowest statement, CPU ms |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {each.title} | {len(each.statements)} | {each.milliseconds:.0f} "
        f"| {each.cpu:.0f} | {each.slowest.cpu:.0f} |"
        for each in sorted(figures, key=lambda figure: -figure.cpu)
    ]
    return "\n".join(lines)


def _explain(figures: Sequence[Figure], above: float) -> None:
    from benchmarks.volume.measured import plan

    for each in sorted(figures, key=lambda figure: -figure.cpu):
        if each.cpu > above:
            print(f"\n### {each.title}\n\n{each.slowest.sql[:3000]}\n")
            print(plan(each.slowest))


if __name__ == "__main__":
    main()
