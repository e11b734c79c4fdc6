"""Drain while ``prune`` deletes; find its longest statement."""

from __future__ import annotations

import re
import statistics
import subprocess
import time

from benchmarks.load import Load, Meter
from benchmarks.measures.drain import drain, rest
from benchmarks.roster import ROOT
from benchmarks.seat import BenchmarkError, Seat

LINE = re.compile(r".*duration: ([\d.]+) ms  ")


def pruned(seat: Seat, events: int) -> tuple[dict[str, float], Load]:
    """Drain backlog after backlog until the prune has finished."""
    before, size = _finished(seat), seat.stand.postgres.log.stat().st_size
    meter, started = Meter.start(), time.monotonic()
    prune = _start(seat)
    rates: list[float] = []
    drained = 0
    while prune.poll() is None:
        found, _ = drain(seat, "atomic", events, tables=r"bench\_%")
        rest(seat)
        drained += events
        if prune.poll() is None or not rates:  # the first counts in any case
            rates.append(found["events/s"])
    if prune.wait():
        raise BenchmarkError("prune failed")
    seconds = time.monotonic() - started
    load = meter.stop()
    return {
        "pruned": before + drained - _finished(seat),
        "seconds": seconds,
        "slowest ms": _slowest(seat, size),
        "drain meanwhile": statistics.median(rates),
    }, load


def _start(seat: Seat) -> subprocess.Popen[bytes]:
    environment = seat.environment("prune")
    environment["PGOPTIONS"] = "-c log_min_duration_statement=0"
    command = [seat.python, "-m", "django", "signal_tasks", "--skip-checks", "prune"]
    return subprocess.Popen(  # noqa: S603 -- the command is ours
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
    )


def _finished(seat: Seat) -> int:
    ((rows,),) = seat.sql.execute(
        "SELECT count(*) FROM signal_tasks_delivery WHERE state = 'succeeded'"
    ).fetchall()
    return int(rows)


def _slowest(seat: Seat, size: int) -> float:
    with seat.stand.postgres.log.open(errors="replace") as log:
        log.seek(size)
        matches = [match for line in log if (match := LINE.match(line))]
    return max((float(match[1]) for match in matches), default=0.0)
