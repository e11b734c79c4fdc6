"""Drain a backlog without messages: the relay publishes it."""

from __future__ import annotations

import time

from benchmarks.load import Load, Meter
from benchmarks.measures import filled
from benchmarks.seat import BenchmarkError, Seat

TICK = 0.2


def relayed(seat: Seat, rows: int, most: float) -> tuple[dict[str, float], Load]:
    """Drain pending rows for at most ``most`` seconds; return rate and peak memory."""
    seat.freeze()
    seat.reset()
    filled.pending(seat, rows)
    meter = Meter.start()
    seat.thaw()
    peak = _watch(seat, rows, time.monotonic() + most)
    seat.freeze()
    load = meter.stop()
    marks = seat.marks.read("ran")
    _check(seat)
    seconds = (marks[-1][1] - marks[0][1]) / 1e9
    return {
        "events/s": len(marks) / seconds,
        "CPU us/event": 1e6 * load.own_cpu / len(marks),
        "peak PSS MB": peak,
    }, load


def _watch(seat: Seat, rows: int, until: float) -> float:
    """Watch the memory until all have run or the time is up; return its peak."""
    peak = 0.0
    while time.monotonic() < until:
        peak = max(peak, seat.pss())
        if seat.marks.started() >= rows and not seat.unfinished():
            break
        time.sleep(TICK)
    return peak


def _check(seat: Seat) -> None:
    """Check that there are as many effects as deliveries that succeeded."""
    ((done,),) = seat.sql.execute(
        "SELECT count(*) FROM signal_tasks_delivery WHERE state = 'succeeded'"
    ).fetchall()
    if not done or done != seat.taken():
        raise BenchmarkError(f"{done} succeeded, {seat.taken()} effects")
