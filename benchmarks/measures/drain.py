"""Drain a backlog: events per second, from the first start to the last effect."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.load import Load, Meter
from benchmarks.seat import BenchmarkError, Seat, has_rows


def drain(
    seat: Seat,
    kind: str,
    events: int,
    *,
    tables: str = "%",
    before: Callable[[], object] = bool,
    together: int = 0,
) -> tuple[dict[str, float], Load]:
    """Place orders while the workers are frozen, thaw them, and time the work.

    ``tables`` (a pattern of names) are emptied first; ``before`` is called last. So many
    events are sent and published ``together``; 0: each, as fast as it goes.
    """
    in_database = has_rows(kind)
    seat.freeze()
    seat.reset(tables=tables)
    filled = seat.probe("fill", events=events, kind=kind, together=together)
    before()
    meter, cpu = Meter.start(), seat.cpu()
    seat.thaw()
    seat.wait_for(events, in_database=in_database)
    finished = time.time_ns()
    load = meter.stop()
    used = {name: seconds - cpu[name] for name, seconds in seat.cpu().items()}
    wrong = seat.check(events, in_database=in_database)
    if wrong:
        raise BenchmarkError(f"{seat.database}, drain of {kind}: {wrong}")
    seconds = (finished - seat.marks.read("ran")[0][1]) / 1e9
    rate = events / seconds
    return {
        "events/s": rate,
        "CPU us/event": 1e6 * load.own_cpu / events,
        **{f"{name} us/event": 1e6 * cpu / events for name, cpu in used.items()},
        "filled/s": events / filled["seconds"],
    }, load


def rest(seat: Seat, seconds: float = 10.0) -> None:
    """Let the workers empty the broker, then freeze them."""
    deadline = time.monotonic() + seconds
    while _messages(seat) and time.monotonic() < deadline:
        time.sleep(0.05)
    seat.freeze()


def _messages(seat: Seat) -> int:
    """Return how many keys of Redis hold messages that wait or are unacknowledged."""
    return len(seat.broker.keys("*")) - len(seat.broker.keys("_kombu*"))
