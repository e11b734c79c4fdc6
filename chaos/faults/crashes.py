"""A fault for each crash point: a process dies there, and nowhere else."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Callable

from chaos.crash_points import WEB, CrashPoint
from chaos.environment import Environment, FaultNotInjected
from chaos.faults.catalogue import Fault, add
from chaos.merging import expect_newest, merge
from chaos.operator import expect_exact_operations, operate
from chaos.settling import conclude, expect_settled
from chaos.signals import instructed
from chaos.steering import (
    exceed_rate,
    expect_all_at_the_rate,
    expect_all_behind_the_breaker,
    open_breaker,
)

#: Something that has to happen before any process reaches a crash point, or after.
Preparation = Callable[[Environment], None]


def _prepare_nothing(env: Environment) -> None:
    """Do nothing: processes reach the point in normal work."""


def _stop_a_busy_worker(env: Environment) -> None:
    """Stop a worker that has more deliveries than it can finish: it releases them."""
    keys = [f"{uuid.UUID(int=env.rng.getrandbits(128))}" for _ in range(SLEEPS)]
    instructed.send_many(None, [{"key": key, "fault": "sleep"} for key in keys])
    pids = env.wait_until(
        lambda: [pid for key in keys for pid in env.run_pids(key)], "run", 10
    )
    for worker in env.workers:
        if set(pids) & set(worker.children()):
            worker.send_all(signal.SIGTERM)


def _crash_in_a_receiver(env: Environment) -> None:
    """Leave a lease behind that the relay will find expired."""
    CrashPoint.IN_RECEIVER.arm()
    env.wait_for_crash(CrashPoint.IN_RECEIVER)


def _crash_before_publishing(env: Environment) -> None:
    """Leave a delivery behind that only the relay will publish."""
    CrashPoint.COMMITTED.arm()
    env.wait_for_crash(CrashPoint.COMMITTED)


PREPARATIONS: dict[CrashPoint, Preparation] = {
    CrashPoint.MERGED: merge,
    CrashPoint.PROBED: open_breaker,
    CrashPoint.HELD: exceed_rate,
    CrashPoint.HELD_RELEASED: exceed_rate,
    CrashPoint.SETTLING: conclude,
    CrashPoint.SETTLED: conclude,
    CrashPoint.RELEASING: _stop_a_busy_worker,
    CrashPoint.RELEASED: _stop_a_busy_worker,
    CrashPoint.RECOVERING: _crash_in_a_receiver,
    CrashPoint.SCHEDULED: _crash_before_publishing,
    CrashPoint.REPUBLISHED: _crash_before_publishing,
    CrashPoint.OPERATION_STEP: operate,
    CrashPoint.COLLECTED: operate,
    CrashPoint.CHANGED: operate,
    CrashPoint.BACKFILLED: operate,
    CrashPoint.COUNTED: operate,
}
#: What has to hold after the crash, besides what holds after every fault.
EXPECTATIONS: dict[Preparation, Preparation] = {
    operate: expect_exact_operations,
    merge: expect_newest,
    conclude: expect_settled,
    exceed_rate: expect_all_at_the_rate,
    open_breaker: expect_all_behind_the_breaker,
}
#: The preparation fails if the worker had just finished its work: try it again.
TRIES = 3
#: Deliveries of half a second each, in one message.
SLEEPS = 6


def _inject(env: Environment, point: CrashPoint) -> None:
    prepare = PREPARATIONS.get(point, _prepare_nothing)
    env.wait_until_busy()
    for remaining in reversed(range(TRIES)):
        point.arm()
        prepare(env)
        try:
            env.wait_for_crash(point, 60 if not remaining else 5)
        except FaultNotInjected:
            if not remaining:
                raise
        else:
            EXPECTATIONS.get(prepare, _prepare_nothing)(env)
            return
        env.wait_until_busy()


def _add(point: CrashPoint) -> None:
    location = point.value
    add(
        Fault(
            name=f"crash-{point.name.lower().replace('_', '-')}",
            title=f"crash {point.name}: {location.description}",
            inject=lambda env: _inject(env, point),
            group="crashes",
            may_spend_attempt=location.role != WEB,
            may_repeat=location.role != WEB,
        )
    )


for _point in CrashPoint:
    _add(_point)
