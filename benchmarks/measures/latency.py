"""Time from the commit to the start of the receiver, at a steady rate."""

from __future__ import annotations

import statistics

from benchmarks.load import Load, Meter
from benchmarks.seat import BenchmarkError, Seat

RATE = 50
#: The first second, in which connections are opened, does not count.
WARM_UP = 1.0


def latency(seat: Seat, seconds: float) -> tuple[dict[str, float], Load]:
    """Place orders at 50/s while workers run; return percentiles in milliseconds."""
    events = int(RATE * (WARM_UP + seconds))
    seat.freeze()
    seat.reset()
    seat.thaw()
    meter = Meter.start()
    seat.probe("steady", events=events, rate=RATE)
    load = meter.stop()
    seat.wait_for(events, in_database=True)
    wrong = seat.check(events, in_database=True)
    if wrong:
        raise BenchmarkError(f"{seat.database}, latency: {wrong}")
    return _percentiles(seat), load


def _percentiles(seat: Seat) -> dict[str, float]:
    committed = dict(seat.marks.read("committed"))
    warm = min(committed.values()) + WARM_UP * 1e9
    waits = sorted(
        (at - committed[order]) / 1e6
        for order, at in seat.marks.read("ran")
        if committed[order] >= warm
    )
    steps = statistics.quantiles(waits[:], n=100, method="inclusive")
    return {"p50 ms": steps[49], "p95 ms": steps[94], "p99 ms": steps[98]}
