"""P8, measured: what a request's transaction costs, whatever the broker does.

Four web processes take turns on the same database: one with a healthy broker, one
whose broker refuses connections, one whose broker accepts them and never answers,
and one whose broker answers late.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from chaos.crew import ROOT
from chaos.proxy import SlowProxy
from shop.embedded import RedisServer
from shop.servers import HOST, free_port

ROUNDS, REQUESTS = 12, 60
LATE = 0.1
#: Longest time that a web process may take to end with a broker that is silent.
LONGEST_EXIT = 5.0


@dataclass
class Web:
    """A web process, and what its transactions cost with its kind of broker."""

    broker: str
    process: subprocess.Popen[str]
    durations: list[float] = field(default_factory=list)
    exit: float = 0.0

    def ask(self, requests: int) -> list[float]:
        """Have it make some requests."""
        if self.process.stdin is None or self.process.stdout is None:
            raise RuntimeError("a web process without pipes")
        self.process.stdin.write(f"{requests}\n")
        self.process.stdin.flush()
        durations: list[float] = json.loads(self.process.stdout.readline())
        return durations

    def end(self) -> None:
        """Let it end by itself, and time that."""
        started = time.monotonic()
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait(60)
        self.exit = time.monotonic() - started

    def quantile(self, percent: int) -> float:
        """So many percent of the transactions took no longer (milliseconds)."""
        return statistics.quantiles(self.durations, n=100)[percent - 1] * 1000

    @property
    def median(self) -> float:
        """The middle of the durations (milliseconds)."""
        return statistics.median(self.durations) * 1000


def measure(folder: Path, env: dict[str, str]) -> list[Web]:
    """Time transactions with each kind of broker, in turns."""
    with _brokers(folder) as urls:
        webs = [Web(kind, _start({**env, "CHAOS_BROKER": urls[kind]})) for kind in urls]
        for web in webs:
            web.ask(20)  # the first ones connect
        for _ in range(ROUNDS):
            for web in webs:
                web.durations += web.ask(REQUESTS)
        for web in webs:
            web.end()
    return webs


@contextmanager
def _brokers(folder: Path) -> Iterator[dict[str, str]]:
    with ExitStack() as closing:
        healthy = closing.enter_context(RedisServer(folder / "healthy"))
        hung = closing.enter_context(RedisServer(folder / "hung"))
        slow = SlowProxy(healthy.port, LATE)
        closing.callback(slow.close)
        hung.pause()
        closing.callback(hung.resume)
        yield {
            "healthy": healthy.url,
            "refused": f"redis://{HOST}:{free_port()}/0",
            "hung": hung.url,
            "slow": f"redis://{HOST}:{slow.port}/0",
        }


def _start(env: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "chaos.request"],
        cwd=ROOT,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
