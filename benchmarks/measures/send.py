"""The time that a send adds to the sender's transaction, in microseconds."""

from __future__ import annotations

from benchmarks.load import Load, Meter
from benchmarks.seat import Seat

#: Blocks of transactions with and without a send.
BLOCKS = 15


def added(
    seat: Seat, kinds: str, *, events: int, many: bool
) -> tuple[dict[str, float], Load]:
    """Time single transactions, and the insert of 1,000 orders; workers are frozen."""
    seat.reset()
    meter = Meter.start()
    found = seat.probe("cost", kinds=kinds, events=events, blocks=BLOCKS)
    figures = {"base": found["base_us"], **found["added_us"]}
    if many:
        seat.reset()
        figures |= seat.probe("many", events=1000, blocks=BLOCKS)["added_us"]
    load = meter.stop()
    seat.discard()
    return {f"{kind} us": us for kind, us in figures.items()}, load
