"""A fault for each crash point: a process dies in that window, and in no other."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Callable

from chaos.crash_points import WEB, CrashPoint
from chaos.environment import Environment, FaultNotInjected
from chaos.faults.catalogue import Fault, add
from chaos.signals import ordered

#: What has to go wrong first, for a process to come to a point at all.
Provocation = Callable[[Environment], None]


def _nothing(env: Environment) -> None:
    """A process comes there in the course of its work."""


def _stop_in_the_middle(env: Environment) -> None:
    """Ask a worker to stop that has more in hand than it can end: it hands back."""
    keys = [f"{uuid.UUID(int=env.rng.getrandbits(128))}" for _ in range(NAPS)]
    ordered.send_many(None, [{"key": key, "task": "nap"} for key in keys])
    pids = env.wait_until(lambda: [p for key in keys for p in env.runs(key)], "run", 10)
    for worker in env.workers:
        if set(pids) & set(worker.children()):
            worker.send_all(signal.SIGTERM)


def _kill_a_receiver(env: Environment) -> None:
    """Leave a lease behind, for the relay to find."""
    env.arm(CrashPoint.IN_RECEIVER)
    env.wait_for_crash(CrashPoint.IN_RECEIVER)


def _keep_from_publishing(env: Environment) -> None:
    """Leave something behind that nobody but the relay will publish."""
    env.arm(CrashPoint.COMMITTED)
    env.wait_for_crash(CrashPoint.COMMITTED)


PROVOCATIONS: dict[CrashPoint, Provocation] = {
    CrashPoint.HANDING_BACK: _stop_in_the_middle,
    CrashPoint.HANDED_BACK: _stop_in_the_middle,
    CrashPoint.RECOVERING: _kill_a_receiver,
    CrashPoint.CLAIMED: _keep_from_publishing,
    CrashPoint.RELAYED: _keep_from_publishing,
}
#: How often the provocation is tried: the worker may have ended its work just then.
TRIES = 3
#: Deliveries that take half a second each, in one message.
NAPS = 6


def _strike(env: Environment, point: CrashPoint) -> None:
    provoke = PROVOCATIONS.get(point, _nothing)
    env.wait_until_busy()
    for remaining in reversed(range(TRIES)):
        env.arm(point)
        provoke(env)
        try:
            env.wait_for_crash(point, 20 if not remaining else 5)
        except FaultNotInjected:
            if not remaining:
                raise
        else:
            return
        env.wait_until_busy()


def _enter(point: CrashPoint) -> None:
    window = point.value
    add(
        Fault(
            name=f"crash-{point.name.lower().replace('_', '-')}",
            title=f"crash {point.name}: {window.meaning}",
            inject=lambda env: _strike(env, point),
            group="crashes",
            may_spend_attempt=window.role != WEB,
            may_repeat=window.role != WEB,
        )
    )


for _point in CrashPoint:
    _enter(_point)
