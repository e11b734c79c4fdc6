"""The statements of a page, and the time that each of them takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db import connection
from django.test import Client

#: Runs that are not measured, so that what they read is in memory, and that are.
WARM, RUNS = 1, 3
#: Statements that do not belong to the page.
APART = ("SAVEPOINT", "RELEASE", "SET ", "BEGIN", "COMMIT")


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement, its parameters, its time, and the server's CPU time (ms)."""

    sql: str
    params: Any
    milliseconds: float
    cpu: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """The statements of the median run of a page; ``status`` is that of the answer."""

    title: str
    statements: Sequence[Statement]
    status: int

    @property
    def milliseconds(self) -> float:
        """The time of all statements."""
        return sum(each.milliseconds for each in self.statements)

    @property
    def cpu(self) -> float:
        """The CPU time of all statements in the server."""
        return sum(each.cpu for each in self.statements)

    @property
    def slowest(self) -> Statement:
        """The statement that took longest."""
        return max(self.statements, key=lambda each: each.cpu or each.milliseconds)


def page(client: Client, title: str, address: str) -> Figure:
    """Measure a page; the answer says, too, if a statement was stopped."""

    def get() -> int:
        answer = client.get(address)
        return 0 if b"took longer than" in answer.content else answer.status_code

    return measure(title, get)


def measure(title: str, call: Callable[[], Any]) -> Figure:
    """Return the figure of the median run of a call."""
    for _ in range(WARM):
        call()
    runs = [_run(title, call) for _ in range(RUNS)]
    median = statistics.median_low([run.cpu or run.milliseconds for run in runs])
    return next(run for run in runs if (run.cpu or run.milliseconds) == median)


def _run(title: str, call: Callable[[], Any]) -> Figure:
    found: list[Statement] = []
    cpu_of = Path(f"/proc/{_backend()}/schedstat")

    def timed(
        execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any
    ) -> Any:
        used, started = _cpu(cpu_of), time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            took = 1000 * (time.perf_counter() - started)
            found.append(Statement(sql, params, took, _cpu(cpu_of) - used))

    with connection.execute_wrapper(timed):
        status = call()
    kept = [each for each in found if not each.sql.startswith(APART)]
    is_page = isinstance(status, int)
    return Figure(title=title, statements=kept, status=status if is_page else 200)


def _backend() -> int:
    """Return the process of the server, which then does all work of a statement itself."""
    with connection.cursor() as cursor:
        cursor.execute("SET max_parallel_workers_per_gather = 0")
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
        return int(pid)


def _cpu(path: Path) -> float:
    """Return the CPU time of a process of this machine; 0 of another machine's."""
    return int(path.read_text().split()[0]) / 1e6 if path.exists() else 0.0


def plan(statement: Statement) -> str:
    """Return the plan of a statement, with the rows that it has read."""
    with connection.cursor() as cursor:
        explain = "EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF) "
        cursor.execute(explain + statement.sql, statement.params)
        return "\n".join(line for (line,) in cursor.fetchall())
