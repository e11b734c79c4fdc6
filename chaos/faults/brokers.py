"""Faults of the broker: gone, emptied, silent, full, read-only, cutting lines."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis

from chaos.faults.catalogue import REDIS, fault
from chaos.stage import NotMade, Stage
from shop.servers import Server

#: Nothing here may cost a delivery an attempt, or run a receiver again.
HARMLESS: Any = {"spends": False, "repeats": False}


@fault("broker killed, started again", needs=("broker",), **HARMLESS)
def broker_killed(stage: Stage) -> None:
    """Kill the broker; what it had on disk is there again."""
    stage.until_busy()
    broker = _broker(stage)
    broker.kill()
    stage.wait(stage.rng.uniform(0.3, 1.5))
    broker.start()


@fault("broker stopped, started again", needs=("broker",), **HARMLESS, short=False)
def broker_restarted(stage: Stage) -> None:
    """Stop the broker as for maintenance."""
    stage.until_busy()
    broker = _broker(stage)
    broker.stop()
    stage.wait(stage.rng.uniform(0.3, 1.5))
    broker.start()


@fault(
    "broker paused: accepts and does not answer",
    needs=("broker",),
    **HARMLESS,
    short=False,
)
def broker_paused(stage: Stage) -> None:
    """Freeze the broker, and let it go on."""
    stage.until_busy()
    broker = _broker(stage)
    broker.pause()
    try:
        stage.wait(4)
    finally:
        broker.resume()


@fault(
    "Redis killed, started again empty",
    needs=("broker",),
    brokers=[REDIS],
    **HARMLESS,
    short=False,
)
def redis_lost(stage: Stage) -> None:
    """Kill Redis and throw its disk away."""
    stage.until_busy()
    broker = _broker(stage)
    broker.kill()
    for path in broker.folder.glob("appendonly*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    broker.start()


@fault("Redis emptied (FLUSHALL), three times", brokers=[REDIS], **HARMLESS)
def redis_emptied(stage: Stage) -> None:
    """Empty Redis under the feet of everybody."""
    for _ in range(3):
        stage.until_busy()
        with _client(stage) as client:
            client.flushall()
        stage.wait(0.3)


@fault(
    "Redis out of memory (OOM command not allowed)",
    brokers=[REDIS],
    **HARMLESS,
    short=False,
)
def redis_full(stage: Stage) -> None:
    """Let Redis refuse to store anything."""
    stage.until_busy()
    with _client(stage) as client:
        client.config_set("maxmemory", 1)
        try:
            stage.wait(3)
        finally:
            client.config_set("maxmemory", 0)


@fault("Redis read-only (made a replica)", brokers=[REDIS], **HARMLESS, short=False)
def redis_read_only(stage: Stage) -> None:
    """Let Redis refuse to write anything, as after a failover."""
    stage.until_busy()
    with _client(stage) as client:
        client.replicaof("127.0.0.1", 1)
        try:
            stage.wait(3)
        finally:
            client.replicaof("NO", "ONE")


@fault(
    "connections to Redis cut, again and again",
    brokers=[REDIS],
    **HARMLESS,
    short=False,
)
def redis_lines_cut(stage: Stage) -> None:
    """Cut everybody's connections to Redis."""
    for _ in range(3):
        stage.until_busy()
        with _client(stage) as client:
            client.client_kill_filter(_type="normal", skipme=True)
        stage.wait(0.7)


def _broker(stage: Stage) -> Server:
    if stage.broker is None:
        raise NotMade("the broker is not ours")
    return stage.broker


@contextmanager
def _client(stage: Stage) -> Iterator[Any]:
    with redis.Redis.from_url(stage.broker_url, socket_timeout=5) as client:
        yield client
