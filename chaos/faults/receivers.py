"""Faults of receivers: they end, exhaust or block the process that runs them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from chaos.environment import Environment, PromiseBroken
from chaos.faults.catalogue import fault
from chaos.signals import instructed, time_limited
from signal_tasks import AsyncSignal
from signal_tasks.models import Delivery

#: Kill a pool process that uses more memory than this, as the kernel would (bytes).
MAX_MEMORY = 300 * 1024 * 1024
PAGE = os.sysconf("SC_PAGE_SIZE")


@fault("a receiver that ends its process (os._exit)", mixed=False)
def receiver_exits(env: Environment) -> None:
    """Expect it dead as lost; deliveries of the same message succeed (P6)."""
    _misbehave(env, instructed, ["exit"], reason="lost")


@fault("a receiver that uses memory until it is killed", mixed=False, short=False)
def receiver_eats_memory(env: Environment) -> None:
    """Expect it dead as lost; we kill its process, in place of the kernel."""
    env.wait_until_busy()
    keys = _send(env, instructed, ["eat memory"])
    env.wait_until(
        lambda: _kill_large_processes(env) or _finished(keys),
        "large process",
        60,
    )
    while not _finished(keys):
        env.wait(0.05)
        _kill_large_processes(env)
    _expect_dead(keys, "lost")


@fault("a receiver that never returns (soft limit)", mixed=False, short=False)
def receiver_hangs(env: Environment) -> None:
    """Expect its time limit to interrupt it, and it dead as exhausted."""
    _misbehave(env, time_limited, ["hang"], reason="exhausted")


@fault("a receiver that never returns, ignores its limit", mixed=False, short=False)
def receiver_ignores_limit(env: Environment) -> None:
    """Expect the hard limit to end its process: from inside, or by killing it."""
    faults = ["hang despite limit"]
    _misbehave(env, time_limited, faults, reason="exhausted lost", seconds=60)


@fault(
    "receivers that raise SystemExit, KeyboardInterrupt, GeneratorExit, ...",
    mixed=False,
)
def receiver_raises(env: Environment) -> None:
    """Expect each to be dead as exhausted, and no other delivery harmed."""
    faults = ["SystemExit", "KeyboardInterrupt", "GeneratorExit", "unforeseen"]
    _misbehave(env, instructed, faults, reason="exhausted")


def _misbehave(
    env: Environment,
    sent: AsyncSignal,
    faults: Iterable[str],
    *,
    reason: str,
    seconds: float = 40.0,
) -> None:
    env.wait_until_busy()
    keys = _send(env, sent, faults)
    env.expect(lambda: _finished(keys), "end of faulty receivers", seconds)
    _expect_dead(keys, *reason.split())


def _send(env: Environment, sent: AsyncSignal, faults: Iterable[str]) -> list[str]:
    """Send an event for each receiver fault; return the keys."""
    keys = []
    for name in faults:
        key = f"{name.replace(' ', '-')}-{env.rng.getrandbits(64)}"
        sent.send(None, key=key, fault=name)
        keys.append(key)
    return keys


def _deliveries(key: str) -> Any:
    return Delivery.objects.filter(event__payload__contains=f'"key":"{key}"')


def _finished(keys: Iterable[str]) -> bool:
    return not any(_deliveries(key).live().exists() for key in keys)


def _expect_dead(keys: Iterable[str], *reasons: str) -> None:
    for key in keys:
        states = set(_deliveries(key).values_list("state", "reason"))
        if not states <= {("dead", reason) for reason in reasons}:
            expected = " or ".join(reasons)
            raise PromiseBroken(f"{key} is {states}, not dead and {expected}")


def _kill_large_processes(env: Environment) -> bool:
    """Kill pool processes that use too much memory; return whether there were any."""
    large = [
        pid
        for worker in env.workers
        for pid in worker.children()
        if memory(pid) > MAX_MEMORY
    ]
    for pid in large:
        os.kill(pid, signal.SIGKILL)
    return bool(large)


def memory(pid: int) -> int:
    """Return the resident memory of a process, 0 if it has ended (bytes)."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except OSError:
        return 0
