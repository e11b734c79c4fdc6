"""Producers and workers together: events per second before the backlog grows."""

from __future__ import annotations

import json
import time

from benchmarks.load import Load, Meter
from benchmarks.seat import BenchmarkError, Seat

PRODUCERS = 4
#: Largest number of events that are sent and not run; more would be a backlog.
WINDOW = 500
RAMP = 1.5


def flow(seat: Seat, seconds: float) -> tuple[dict[str, float], Load]:
    """Run producers as fast as the workers can follow; return the steady rate."""
    seat.freeze()
    seat.reset()
    seat.thaw()
    options = {"seconds": seconds + 2 * RAMP, "producers": PRODUCERS, "window": WINDOW}
    probes = [seat.start_probe("flow", **options) for _ in range(PRODUCERS)]
    while not seat.marks.started():
        time.sleep(0.01)
    time.sleep(RAMP)
    meter, ran = Meter.start(), seat.marks.started()
    time.sleep(seconds)
    load, ran = meter.stop(), seat.marks.started() - ran
    sent = [int(json.loads(probe.communicate()[0])["events"]) for probe in probes]
    seat.wait_for(sum(sent), in_database=True)
    wrong = seat.check(*sent)
    if wrong:
        raise BenchmarkError(f"{seat.database}, flow: {wrong}")
    return {
        "events/s": ran / load.seconds,
        "CPU us/event": 1e6 * load.own_cpu / ran,
    }, load
