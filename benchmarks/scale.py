"""The drain with more processes and nodes, and with other ways to deploy it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from benchmarks.bouncer import PgBouncer
from benchmarks.load import Load
from benchmarks.measures.drain import drain, rest
from benchmarks.roster import OURS, REFERENCE, ROOT, Contender, celery
from benchmarks.seat import Seat
from benchmarks.stand import Stand
from chaos.servers import RabbitServer
from shop.servers import ServerError

Found = tuple[str, str, tuple[dict[str, float], Load]]
PROCESSES = (1, 2, 4, 8)


def scale(stand: Stand, sizes: dict[str, int], repeat: int) -> Iterator[Found]:
    """Drain with 1 to 8 processes, two nodes, partitions, PgBouncer and RabbitMQ."""
    for contender in (REFERENCE, OURS):
        for processes in PROCESSES:
            sized = replace(contender, workers=(celery(processes=processes),))
            seat = stand.seat(sized, f"_{processes}")
            yield from _drains(seat, f"{processes} processes", sizes, repeat)
    yield from _drains(stand.seat(_nodes(OURS), "_nodes"), "2 nodes", sizes, repeat)
    seat = stand.seat(OURS, "_partitions")
    seat.sql.execute(_partitioning())
    yield from _drains(seat, "time partitions", sizes, repeat)
    yield from _bounced(stand, sizes, repeat)
    yield from _queued(stand, sizes, repeat)


def _partitioning() -> bytes:
    """Return the SQL of the document, as it is there."""
    text = (ROOT / "docs" / "scaling.md").read_text()
    return text.partition("```sql\n")[2].partition("```")[0].encode()


def _bounced(stand: Stand, sizes: dict[str, int], repeat: int) -> Iterator[Found]:
    if PgBouncer.program() is None:
        return
    with PgBouncer(stand.folder / "pgbouncer", stand.postgres) as bouncer:
        seat = stand.seat(OURS, "_bounced")
        seat.port = bouncer.port
        yield from _drains(seat, "through PgBouncer", sizes, repeat)


def _queued(stand: Stand, sizes: dict[str, int], repeat: int) -> Iterator[Found]:
    try:
        rabbit = RabbitServer().start()
    except (ServerError, OSError):
        return
    with rabbit:
        seat = stand.seat(OURS, "_rabbit")
        seat.settings = {
            "CELERY_BROKER_URL": rabbit.url,
            "CELERY_TASK_DEFAULT_QUEUE_TYPE": "quorum",
        }
        yield from _drains(seat, "RabbitMQ, quorum queues", sizes, repeat)


def _nodes(contender: Contender) -> Contender:
    """Return the contender with two workers of one process, with names of their own."""
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
