"""Measures that need millions of rows: of ours only, on databases of their own."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.load import Load
from benchmarks.measures import filled
from benchmarks.measures.drain import drain, rest
from benchmarks.measures.pruned import pruned
from benchmarks.measures.relayed import relayed
from benchmarks.roster import OURS
from benchmarks.seat import Seat
from benchmarks.stand import Stand

Found = tuple[str, tuple[dict[str, float], Load]]
FEW = 10_000


def big(
    stand: Stand, *, finished: int, pending: int, events: int, repeat: int
) -> Iterator[Found]:
    """Drain full tables and, to compare, empty ones; then prune."""
    yield from _pending(stand, pending, repeat)
    seat = _seat(stand, "_full")
    for _ in range(repeat):
        yield "empty tables", drain(seat, "atomic", events)
        rest(seat)
    seat.reset()
    filled.finished(seat, finished - finished // 5, days=1)
    filled.finished(seat, finished // 5, days=8)  # longer ago than they are kept
    for _ in range(repeat):
        yield "full tables", drain(seat, "atomic", events, tables=r"bench\_%")
        rest(seat)
    yield "prune", pruned(seat, events)
    seat.close()


def _pending(stand: Stand, pending: int, repeat: int) -> Iterator[Found]:
    seat = _seat(stand, "_pending")
    for _ in range(repeat):
        yield "few pending", relayed(seat, FEW, most=30)
    yield "many pending", relayed(seat, pending, most=15)
    seat.close()


def _seat(stand: Stand, variant: str) -> Seat:
    seat = stand.seat(OURS, variant)
    seat.start()
    seat.warm_up(["atomic"])
    return seat
