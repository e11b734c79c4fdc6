"""Faults of the broker: down, emptied, paused, full, read-only, disconnecting."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from chaos.environment import Environment, FaultNotInjected, PromiseBroken
from chaos.faults.catalogue import REDIS, fault
from chaos.processes import with_children
from shop.servers import Server

#: Outages in a row; after some, each process has opened all that it needs.
OUTAGES, WARM_UP = 50, 4
#: Open files and threads that a process may have more at the end.
SLACK = 5
#: Open files and threads of a process.
Usage = tuple[int, int]

#: No fault of the broker may spend an attempt or run a receiver again.
HARMLESS: Any = {"may_spend_attempt": False, "may_repeat": False}


@fault("broker killed, started again", needs=("broker",), **HARMLESS)
def broker_killed(env: Environment) -> None:
    """Kill the broker; it keeps what it had on disk."""
    env.wait_until_busy()
    broker = _broker(env)
    broker.kill()
    env.wait(env.rng.uniform(0.3, 1.5))
    broker.start()


@fault("broker stopped, started again", needs=("broker",), **HARMLESS, short=False)
def broker_restarted(env: Environment) -> None:
    """Stop the broker as for maintenance."""
    env.wait_until_busy()
    broker = _broker(env)
    broker.stop()
    env.wait(env.rng.uniform(0.3, 1.5))
    broker.start()


@fault(
    "broker paused: accepts and does not answer",
    needs=("broker",),
    **HARMLESS,
    short=False,
)
def broker_paused(env: Environment) -> None:
    """Freeze the broker for 4 s."""
    env.wait_until_busy()
    broker = _broker(env)
    broker.pause()
    try:
        env.wait(4)
    finally:
        broker.resume()


@fault(
    "Redis killed, started again empty",
    needs=("broker",),
    brokers=[REDIS],
    **HARMLESS,
    short=False,
)
def redis_lost(env: Environment) -> None:
    """Kill Redis and delete its data."""
    env.wait_until_busy()
    broker = _broker(env)
    broker.kill()
    for path in broker.folder.glob("appendonly*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    broker.start()


@fault("Redis emptied (FLUSHALL), three times", brokers=[REDIS], **HARMLESS)
def redis_emptied(env: Environment) -> None:
    """Empty Redis while everything uses it."""
    for _ in range(3):
        env.wait_until_busy()
        with _client(env) as client:
            client.flushall()
        env.wait(0.3)


@fault(
    "Redis out of memory (OOM command not allowed)",
    brokers=[REDIS],
    **HARMLESS,
    short=False,
)
def redis_full(env: Environment) -> None:
    """Have Redis refuse all writes for lack of memory."""
    env.wait_until_busy()
    with _client(env) as client:
        client.config_set("maxmemory", 1)
        try:
            env.wait(3)
        finally:
            client.config_set("maxmemory", 0)


@fault("Redis read-only (made a replica)", brokers=[REDIS], **HARMLESS, short=False)
def redis_read_only(env: Environment) -> None:
    """Have Redis refuse all writes, as after a failover."""
    env.wait_until_busy()
    with _client(env) as client:
        client.replicaof("127.0.0.1", 1)
        try:
            env.wait(3)
        finally:
            client.replicaof("NO", "ONE")


@fault(
    "connections to Redis closed, three times",
    brokers=[REDIS],
    **HARMLESS,
    short=False,
)
def redis_disconnected(env: Environment) -> None:
    """Close all connections to Redis."""
    for _ in range(3):
        env.wait_until_busy()
        with _client(env) as client:
            client.client_kill_filter(_type="normal", skipme=True)
        env.wait(0.7)


@fault(
    "50 outages of Redis: no process keeps sockets or threads of them",
    needs=("broker",),
    brokers=[REDIS],
    **HARMLESS,
    mixed=False,
    short=False,
)
def broker_outages(env: Environment) -> None:
    """Kill Redis 50 times; compare what each process holds with what it held before."""
    broker = _broker(env)
    before: dict[int, Usage] = {}
    for number in range(OUTAGES):
        env.wait_until_busy()
        broker.kill()
        env.wait(0.3)
        broker.start()
        env.wait(2)
        if number == WARM_UP:
            before = _usages(env)
    env.wait_for_deliveries()
    after = _usages(env)
    leaked = [pid for pid in before if pid in after and _exceeds(pid, after, before)]
    if leaked:
        shown = {pid: (before[pid], after[pid]) for pid in leaked}
        raise PromiseBroken(f"files and threads before and after: {shown}")
    if not set(before) & set(after):
        raise FaultNotInjected("no process has lived through the outages")


def _usages(env: Environment) -> dict[int, Usage]:
    """Return the number of open files and of threads of each process."""
    main = [process.pid for process in env.processes.by_name.values() if process.alive]
    pids = [pid for each in main for pid in with_children(each)]
    folders = {pid: Path("/proc") / str(pid) for pid in pids}
    return {
        pid: (
            len(list((folder / "fd").iterdir())),
            len(list((folder / "task").iterdir())),
        )
        for pid, folder in folders.items()
    }


def _exceeds(pid: int, after: dict[int, Usage], before: dict[int, Usage]) -> bool:
    pairs = zip(after[pid], before[pid], strict=True)
    return any(late > early + SLACK for late, early in pairs)


def _broker(env: Environment) -> Server:
    if env.broker is None:
        raise FaultNotInjected("the broker is given by URL")
    return env.broker


@contextmanager
def _client(env: Environment) -> Iterator[Any]:
    with redis.Redis.from_url(env.broker_url, socket_timeout=5) as client:
        yield client
