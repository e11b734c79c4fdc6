"""A fault for each crash point: a process dies in that window, and in no other."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Callable

from chaos.faults.catalogue import Fault, add
from chaos.points import WEB, Point
from chaos.signals import ordered
from chaos.stage import NotMade, Stage

#: What has to go wrong first, for a process to come to a point at all.
Provocation = Callable[[Stage], None]


def _nothing(stage: Stage) -> None:
    """A process comes there in the course of its work."""


def _stop_in_the_middle(stage: Stage) -> None:
    """Ask a worker to stop that has more in hand than it can end: it hands back."""
    keys = [f"{uuid.UUID(int=stage.rng.getrandbits(128))}" for _ in range(NAPS)]
    ordered.send_many(None, [{"key": key, "task": "nap"} for key in keys])
    pids = stage.until(lambda: [p for key in keys for p in stage.runs(key)], "run", 10)
    for worker in stage.workers:
        if set(pids) & set(worker.children()):
            worker.send_all(signal.SIGTERM)


def _kill_a_receiver(stage: Stage) -> None:
    """Leave a lease behind, for the relay to find."""
    stage.order(Point.IN_RECEIVER)
    stage.until_crashed(Point.IN_RECEIVER)


def _keep_from_publishing(stage: Stage) -> None:
    """Leave something behind that nobody but the relay will publish."""
    stage.order(Point.COMMITTED)
    stage.until_crashed(Point.COMMITTED)


PROVOCATIONS: dict[Point, Provocation] = {
    Point.HANDING_BACK: _stop_in_the_middle,
    Point.HANDED_BACK: _stop_in_the_middle,
    Point.RECOVERING: _kill_a_receiver,
    Point.CLAIMED: _keep_from_publishing,
    Point.RELAYED: _keep_from_publishing,
}
#: How often the provocation is tried: the worker may have ended its work just then.
TRIES = 3
#: Deliveries that take half a second each, in one message.
NAPS = 6


def _strike(stage: Stage, point: Point) -> None:
    provoke = PROVOCATIONS.get(point, _nothing)
    stage.until_busy()
    for remaining in reversed(range(TRIES)):
        stage.order(point)
        provoke(stage)
        try:
            stage.until_crashed(point, 20 if not remaining else 5)
        except NotMade:
            if not remaining:
                raise
        else:
            return
        stage.until_busy()


def _enter(point: Point) -> None:
    window = point.value
    add(
        Fault(
            name=f"crash-{point.name.lower().replace('_', '-')}",
            title=f"crash {point.name}: {window.meaning}",
            strike=lambda stage: _strike(stage, point),
            group="crashes",
            spends=window.role != WEB,
            repeats=window.role != WEB,
        )
    )


for _point in Point:
    _enter(_point)
