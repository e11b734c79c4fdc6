"""What sending adds to the sender's transaction, in microseconds."""

from __future__ import annotations

from benchmarks.load import Load, Meter
from benchmarks.stand import Seat


def added(seat: Seat, kinds: str, *, events: int) -> tuple[dict[str, float], Load]:
    """Time single transactions, and the insert of 1,000 orders; the workers rest."""
    seat.reset()
    meter = Meter.start()
    one = seat.probe("cost", kinds=kinds, events=events)
    seat.reset()
    many = seat.probe("many", events=1000)
    load = meter.stop()
    seat.reset()
    figures = {**one["added_us"], **many["added_us"]}
    return {f"{kind} us": us for kind, us in figures.items()}, load
