"""The table of a run: for the terminal, as Markdown, and as JSON."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from celery import current_app
from django.db import connection

from chaos.schedule import Row

PACKAGES = ("Django", "celery", "kombu", "redis", "psycopg", "PyMySQL", "amqp")
HEADINGS = (
    "fault",
    "events",
    "lost",
    "doubled",
    "repeated",
    "unexplained",
    "s",
    "slowest request",
    "",
)
WIDTHS = (60, 6, 5, 8, 8, 11, 6, 15, 0)


def line(row: Row) -> str:
    """One line for the terminal."""
    return "  ".join(
        cell.ljust(width) if not index else cell.rjust(width)
        for index, (cell, width) in enumerate(zip(_cells(row), WIDTHS, strict=True))
    ).rstrip()


def head() -> str:
    """The heading for the terminal."""
    return "  ".join(
        cell.ljust(width) if not index else cell.rjust(width)
        for index, (cell, width) in enumerate(zip(HEADINGS, WIDTHS, strict=True))
    ).rstrip()


def markdown(rows: Sequence[Row], facts: Sequence[str]) -> str:
    """The run as a table in Markdown, below the facts about it."""
    table = [HEADINGS[:-1], ["---"] * (len(HEADINGS) - 1)]
    table += [[*_cells(row)[:-1]] for row in rows]
    body = "\n".join("| " + " | ".join(cells) + " |" for cells in table)
    bullets = "\n".join(f"- {fact}" for fact in facts)
    return "\n\n".join([bullets, body, *_notes(rows)]) + "\n"


def _notes(rows: Sequence[Row]) -> list[str]:
    """What measurements came to, and what was mixed."""
    notes = [f"**{row.title}.** {'; '.join(row.notes)}." for row in rows if row.notes]
    return notes + [f"**Mixed.** {', '.join(row.made)}." for row in rows if row.made]


def as_json(rows: Sequence[Row], **facts: object) -> str:
    """The run for programs."""
    told = [{**asdict(row), "passed": row.passed} for row in rows]
    return json.dumps({**facts, "machine": machine(), "rows": told}, indent=1)


def machine() -> str:
    """The machine and the versions that a run was made with."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(f"{name} {version(name)}" for name in _installed())
    system = (
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    )
    return f"{os.cpu_count()} x {_processor()}, {memory:.0f} GiB, {system}; {versions}"


def _processor() -> str:
    """What the kernel calls the processor."""
    text = Path("/proc/cpuinfo").read_text()
    names = [line.partition(": ")[2] for line in text.splitlines() if "name" in line]
    return names[0] if names else "processor"


def servers() -> str:
    """The versions of the database and the broker that are up."""
    return f"{_database_version()}, {_broker_version()}"


def _database_version() -> str:
    with connection.cursor() as cursor:
        which = "sqlite_version()" if connection.vendor == "sqlite" else "version()"
        cursor.execute(f"SELECT {which}")
        told = str(cursor.fetchone()[0])
    number = re.search(r"\d+(\.\d+)+", told)
    name = "MariaDB" if "Maria" in told else connection.display_name
    return f"{name} {number[0] if number else told}"


def _broker_version() -> str:
    with current_app.connection_for_write() as link:
        channel = link.default_channel
        if link.transport.driver_type == "redis":
            return f"Redis {channel.client.info('server')['redis_version']}"
        properties = link.connection.server_properties
        return f"{properties['product']} {properties['version']}"


def write(path: Path, text: str) -> None:
    """Write a file, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _installed() -> list[str]:
    from importlib.metadata import PackageNotFoundError

    found = []
    for name in PACKAGES:
        try:
            version(name)
        except PackageNotFoundError:
            continue
        found.append(name)
    return found


def _cells(row: Row) -> tuple[str, ...]:
    found = row.result
    counts = (
        found.events,
        found.lost,
        found.doubled,
        found.repeated,
        found.unexplained,
    )
    return (
        row.title,
        *map(str, counts),
        f"{row.seconds:.1f}",
        f"{row.slowest * 1000:.0f} ms",
        "ok" if row.passed else "BROKEN",
    )
