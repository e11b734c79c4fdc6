"""How the drain grows with worker processes and nodes, and what PgBouncer makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from benchmarks.bouncer import PgBouncer
from benchmarks.load import Load
from benchmarks.measures.drain import drain, rest
from benchmarks.roster import OURS, REFERENCE, Contender, celery
from benchmarks.stand import Seat, Stand

Found = tuple[str, str, tuple[dict[str, float], Load]]
PROCESSES = (1, 2, 4, 8)


def scale(stand: Stand, sizes: dict[str, int], repeat: int) -> Iterator[Found]:
    """1, 2, 4 and 8 processes; two nodes; and the same through PgBouncer."""
    for contender in (REFERENCE, OURS):
        for processes in PROCESSES:
            crew = replace(contender, workers=(celery(processes=processes),))
            seat = stand.seat(crew, f"_{processes}")
            yield from _drains(seat, f"{processes} processes", sizes, repeat)
    yield from _drains(stand.seat(_nodes(OURS), "_nodes"), "2 nodes", sizes, repeat)
    if PgBouncer.installed():
        with PgBouncer(stand.folder / "pgbouncer", stand.postgres) as bouncer:
            seat = stand.seat(OURS, "_bounced")
            seat.port = bouncer.port
            yield from _drains(seat, "through PgBouncer", sizes, repeat)


def _nodes(contender: Contender) -> Contender:
    """Two workers with a process each and host names of their own."""
    nodes = [celery(processes=1, name=f"worker@node{number}") for number in (1, 2)]
    return replace(contender, workers=tuple(nodes))


def _drains(
    seat: Seat, name: str, sizes: dict[str, int], repeat: int
) -> Iterator[Found]:
    contender = seat.contender.name
    seat.start()
    seat.warm_up(["atomic"])
    for _ in range(repeat):
        yield contender, name, drain(seat, "atomic", sizes[contender])
        rest(seat)
    seat.close()
