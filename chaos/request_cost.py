"""Measure the duration of a request's transaction with each kind of broker (P8).

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

from chaos.processes import ROOT
from chaos.proxy import SlowProxy
from shop.embedded import RedisServer
from shop.servers import HOST, free_port

ROUNDS, REQUESTS = 20, 50
DELAY = 0.1
#: Longest time a web process may take to end if its broker never answers (seconds): it
#: waits two for the broker, and has to end on a busy machine, too.
MAX_EXIT = 10.0


@dataclass
class WebProcess:
    """A web process, its kind of broker, and the durations of its transactions."""

    broker: str
    process: subprocess.Popen[str]
    durations: list[float] = field(default_factory=list)
    operations: dict[str, int] = field(default_factory=dict)  # on sockets, by thread
    exit: float = 0.0

    @property
    def used_by_requests(self) -> int:
        """Return how often the request thread used a socket of the broker."""
        return self.operations.get("MainThread", 0)

    def ask(self, requests: int) -> None:
        """Have it serve some requests, and read their durations."""
        if self.process.stdin is None or self.process.stdout is None:
            raise RuntimeError("a web process without pipes")
        self.process.stdin.write(f"{requests}\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        self.durations += answer["durations"]
        self.operations = answer["operations"]

    def end(self) -> None:
        """Close its input so that it ends, and measure how long that takes."""
        started = time.monotonic()
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait(60)
        self.exit = time.monotonic() - started
        if self.process.stdout is not None:
            self.process.stdout.close()

    def quantile(self, percent: int) -> float:
        """Return this percentile of the durations (milliseconds)."""
        return statistics.quantiles(self.durations, n=100)[percent - 1] * 1000

    @property
    def median(self) -> float:
        """Return the median of the durations (milliseconds)."""
        return statistics.median(self.durations) * 1000


def measure(folder: Path, env: dict[str, str]) -> list[WebProcess]:
    """Measure transactions with each kind of broker, in turns."""
    with brokers(folder) as urls:
        webs = [start(kind, {**env, "CHAOS_BROKER": urls[kind]}) for kind in urls]
        for web in webs:
            web.ask(20)  # the first ones connect
            web.durations.clear()
        for _ in range(ROUNDS):
            for web in webs:
                web.ask(REQUESTS)
        for web in webs:
            web.end()
    return webs


@contextmanager
def brokers(folder: Path) -> Iterator[dict[str, str]]:
    """Start a broker of each kind; yield their URLs."""
    with ExitStack() as closing:
        healthy = closing.enter_context(RedisServer(folder / "healthy"))
        hung = closing.enter_context(RedisServer(folder / "hung"))
        slow = SlowProxy(healthy.port, DELAY)
        closing.callback(slow.close)
        hung.pause()
        closing.callback(hung.resume)
        yield {
            "healthy": healthy.url,
            "refused": f"redis://{HOST}:{free_port()}/0",
            "hung": hung.url,
            "slow": f"redis://{HOST}:{slow.port}/0",
        }


def start(broker: str, env: dict[str, str]) -> WebProcess:
    """Start a web process with this kind of broker."""
    process = subprocess.Popen(
        [sys.executable, "-m", "chaos.request_loop"],
        cwd=ROOT,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    return WebProcess(broker, process)
