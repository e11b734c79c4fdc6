"""The statements of PostgreSQL for an event, by its log: number and duration."""

from __future__ import annotations

import re
import statistics
from collections import defaultdict

from benchmarks.measures.drain import drain, rest
from benchmarks.seat import Seat

LINE = re.compile(
    r"(worker|producer)\|LOG:  duration: ([\d.]+) ms  (?:statement|execute \S+): (.*)"
)
SAVEPOINTS = re.compile(r'"s\d+_x\d+"')
VALUES = re.compile(r"'[^']*'(::\w+)?|\b\d+\b")
LISTS = re.compile(r"\((\?(, )?)+\)(, \((\?(, )?)+\))*")


def show(seat: Seat, kind: str, events: int) -> None:
    """Print the statements of a drain and of the sends before it."""
    with seat.stand.statement_log() as lines:
        drain(seat, kind, events)
        rest(seat)
    for who in ("worker", "producer"):
        print(f"### statements of the {who}, per event\n")
        print("| times | mean ms | us per event | statement |\n|---|---|---|---|")
        for sql, took in list(_by_text(lines, who).items())[:20]:
            mean, us = statistics.fmean(took), 1000 * sum(took) / events
            print(f"| {len(took) / events:.3f} | {mean:.3f} | {us:.0f} | {sql[:160]} |")
        print()


def _by_text(lines: list[str], who: str) -> dict[str, list[float]]:
    """Return durations by statement, the costliest first."""
    found: dict[str, list[float]] = defaultdict(list)
    for line in lines:
        if (match := LINE.match(line)) and match[1] == who:
            found[_normal(match[3])].append(float(match[2]))
    return dict(sorted(found.items(), key=lambda item: -sum(item[1])))


def _normal(sql: str) -> str:
    """Return a statement without its values, so that equal ones are counted together."""
    text = LISTS.sub("(...)", VALUES.sub("?", SAVEPOINTS.sub("savepoint", sql)))
    return " ".join(text.split())
