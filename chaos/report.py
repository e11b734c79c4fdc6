"""The report of a run: for the terminal, as Markdown, and as JSON."""

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

from chaos.results import FaultResult

PACKAGES = ("Django", "celery", "kombu", "redis", "psycopg", "PyMySQL", "amqp")
HEADINGS = (
    "fault",
    "events",
    "lost",
    "duplicated",
    "repeated",
    "unexplained",
    "s",
    "slowest request",
    "",
)
WIDTHS = (60, 6, 5, 10, 8, 11, 6, 15, 0)


def line(result: FaultResult) -> str:
    """Return the line of one fault for the terminal."""
    return "  ".join(
        cell.ljust(width) if not index else cell.rjust(width)
        for index, (cell, width) in enumerate(zip(_cells(result), WIDTHS, strict=True))
    ).rstrip()


def heading() -> str:
    """Return the heading for the terminal."""
    return "  ".join(
        cell.ljust(width) if not index else cell.rjust(width)
        for index, (cell, width) in enumerate(zip(HEADINGS, WIDTHS, strict=True))
    ).rstrip()


def markdown(results: Sequence[FaultResult], facts: Sequence[str]) -> str:
    """Return the facts about the run and its table, as Markdown."""
    table = [HEADINGS[:-1], ["---"] * (len(HEADINGS) - 1)]
    table += [[*_cells(result)[:-1]] for result in results]
    body = "\n".join("| " + " | ".join(cells) + " |" for cells in table)
    bullets = "\n".join(f"- {fact}" for fact in facts)
    return "\n\n".join([bullets, body, *_notes(results)]) + "\n"


def _notes(results: Sequence[FaultResult]) -> list[str]:
    """Return the results of measurements, and the faults that were mixed."""
    notes = [f"**{r.title}.** {'; '.join(r.notes)}." for r in results if r.notes]
    return notes + [
        f"**Mixed.** {', '.join(r.injected)}." for r in results if r.injected
    ]


def as_json(results: Sequence[FaultResult], **facts: object) -> str:
    """Return the run as JSON."""
    rows = [{**asdict(result), "passed": result.passed} for result in results]
    return json.dumps({**facts, "machine": machine(), "rows": rows}, indent=1)


def machine() -> str:
    """Return the machine and the versions of the run."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(f"{name} {version(name)}" for name in _installed())
    system = (
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    )
    return f"{os.cpu_count()} x {_processor()}, {memory:.0f} GiB, {system}; {versions}"


def _processor() -> str:
    """Return the kernel's name of the processor."""
    text = Path("/proc/cpuinfo").read_text()
    names = [line.partition(": ")[2] for line in text.splitlines() if "name" in line]
    return names[0] if names else "processor"


def servers() -> str:
    """Return the versions of the running database and broker."""
    return f"{_database_version()}, {_broker_version()}"


def _database_version() -> str:
    with connection.cursor() as cursor:
        call = "sqlite_version()" if connection.vendor == "sqlite" else "version()"
        cursor.execute(f"SELECT {call}")
        text = str(cursor.fetchone()[0])
    number = re.search(r"\d+(\.\d+)+", text)
    name = "MariaDB" if "Maria" in text else connection.display_name
    return f"{name} {number[0] if number else text}"


def _broker_version() -> str:
    with current_app.connection_for_write() as broker:
        channel = broker.default_channel
        if broker.transport.driver_type == "redis":
            return f"Redis {channel.client.info('server')['redis_version']}"
        properties = broker.connection.server_properties
        return f"{properties['product']} {properties['version']}"


def write(path: Path, text: str) -> None:
    """Write a file; create its folder if necessary."""
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


def _cells(result: FaultResult) -> tuple[str, ...]:
    check = result.check
    counts = (
        check.events,
        check.lost,
        check.duplicated,
        check.repeated,
        check.unexplained,
    )
    return (
        result.title,
        *map(str, counts),
        f"{result.seconds:.1f}",
        f"{result.slowest * 1000:.0f} ms",
        "ok" if result.passed else "BROKEN",
    )
