"""Faults of receivers: they end, eat up or hold on to the process that runs them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from chaos.environment import Environment, PromiseBroken
from chaos.faults.catalogue import fault
from chaos.signals import ordered, timed
from signal_tasks import AsyncSignal
from signal_tasks.models import Delivery

#: A pool process that is fatter than this is killed, as the kernel would (bytes).
FATTEST = 300 * 1024 * 1024
PAGE = os.sysconf("SC_PAGE_SIZE")


@fault("a receiver that ends its process (os._exit)", mixed=False)
def receiver_exits(env: Environment) -> None:
    """P6: given up as lost; those it shared messages with succeed."""
    _misbehave(env, ordered, ["exit"], reason="lost")


@fault("a receiver that eats memory until it is killed", mixed=False, short=False)
def receiver_eats(env: Environment) -> None:
    """As above; the kernel's part (it kills the fattest) is played by this process."""
    env.wait_until_busy()
    keys = _send(env, ordered, ["eat"])
    env.wait_until(lambda: _kill_the_fat(env) or _ended(keys), "end of the eaters", 60)
    while not _ended(keys):
        env.wait(0.05)
        _kill_the_fat(env)
    _expect_dead(keys, "lost")


@fault("a receiver that never returns (soft limit)", mixed=False, short=False)
def receiver_hangs(env: Environment) -> None:
    """It is interrupted by its limit, and given up as exhausted."""
    _misbehave(env, timed, ["hang"], reason="exhausted")


@fault("a receiver that never returns, deaf to its limit", mixed=False, short=False)
def receiver_deaf(env: Environment) -> None:
    """Its process is ended by the hard limit: by itself, or else it is killed."""
    _misbehave(env, timed, ["hang deaf"], reason="exhausted lost", seconds=60)


@fault(
    "receivers that raise SystemExit, KeyboardInterrupt, GeneratorExit, ...",
    mixed=False,
)
def receiver_raises(env: Environment) -> None:
    """They end their delivery, and harm no other."""
    tasks = ["leave", "interrupt", "stop generator", "unforeseen"]
    _misbehave(env, ordered, tasks, reason="exhausted")


def _misbehave(
    env: Environment,
    sent: AsyncSignal,
    tasks: Iterable[str],
    *,
    reason: str,
    seconds: float = 40.0,
) -> None:
    env.wait_until_busy()
    keys = _send(env, sent, tasks)
    env.wait_until(lambda: _ended(keys), "end of those that misbehave", seconds)
    _expect_dead(keys, *reason.split())


def _send(env: Environment, sent: AsyncSignal, tasks: Iterable[str]) -> list[str]:
    """Send an event for each misdeed; returns the keys."""
    keys = []
    for task in tasks:
        key = f"{task.replace(' ', '-')}-{env.rng.getrandbits(64)}"
        sent.send(None, key=key, task=task)
        keys.append(key)
    return keys


def _deliveries(key: str) -> Any:
    return Delivery.objects.filter(event__payload__contains=f'"key":"{key}"')


def _ended(keys: Iterable[str]) -> bool:
    return not any(_deliveries(key).live().exists() for key in keys)


def _expect_dead(keys: Iterable[str], *reasons: str) -> None:
    for key in keys:
        ends = set(_deliveries(key).values_list("state", "reason"))
        if not ends <= {("dead", reason) for reason in reasons}:
            raise PromiseBroken(
                f"{key} ended {ends}, not dead and {' or '.join(reasons)}"
            )


def _kill_the_fat(env: Environment) -> bool:
    """Kill pool processes that are too fat; says so if there was one."""
    fat = [
        pid
        for worker in env.workers
        for pid in worker.children()
        if resident(pid) > FATTEST
    ]
    for pid in fat:
        os.kill(pid, signal.SIGKILL)
    return bool(fat)


def resident(pid: int) -> int:
    """The memory of a process (bytes)."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except OSError:
        return 0
