"""Statements of an idle worker."""

from __future__ import annotations

import re
import time

from benchmarks.load import Load, Meter
from benchmarks.seat import Seat

LINE = re.compile(
    r"worker\|LOG:  duration: ([\d.]+) ms  (?:statement|execute \S+): (.*)"
)
CONTROL = ("BEGIN", "COMMIT", "SET", "SAVEPOINT", "RELEASE")


def idle(seat: Seat, seconds: float) -> tuple[dict[str, float], Load]:
    """Count the statements of an idle worker; transaction control counted apart."""
    seat.reset()
    seat.thaw()
    time.sleep(2.0)
    with seat.stand.statement_log() as lines:
        meter = Meter.start()
        time.sleep(seconds)
        load = meter.stop()
    seat.freeze()
    found = [match.groups() for line in lines if (match := LINE.match(line))]
    work = [(float(ms), sql) for ms, sql in found if not sql.startswith(CONTROL)]
    return {
        "statements/s": len(work) / seconds,
        "with BEGIN and COMMIT/s": len(found) / seconds,
        "slowest ms": max((ms for ms, _ in work), default=0.0),
    }, load
