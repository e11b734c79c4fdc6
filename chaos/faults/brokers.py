"""Faults of the broker: down, emptied, paused, full, read-only, disconnecting."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis

from chaos.environment import Environment, FaultNotInjected
from chaos.faults.catalogue import REDIS, fault
from shop.servers import Server

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


def _broker(env: Environment) -> Server:
    if env.broker is None:
        raise FaultNotInjected("the broker is given by URL")
    return env.broker


@contextmanager
def _client(env: Environment) -> Iterator[Any]:
    with redis.Redis.from_url(env.broker_url, socket_timeout=5) as client:
        yield client
