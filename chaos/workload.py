"""The customers: threads that have events sent by the web server."""

from __future__ import annotations

import random
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field

#: One transaction in so many is rolled back after its event was sent.
REGRETS_ONE_IN = 12
CUSTOMERS = 3
TIMEOUT = 30.0


@dataclass
class Workload:
    """Sends ``count`` events over ``seconds``, under keys with a common prefix.

    A request that fails is one that may or may not have been committed: its key is
    not used again, and another one is sent instead, until the time is up.
    """

    url: str
    prefix: str
    count: int
    seconds: float
    seed: str
    sent: int = 0
    failed: int = 0
    slowest: float = 0.0
    _numbers: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        """Let the customers in."""
        for number in range(CUSTOMERS):
            thread = threading.Thread(target=self._shop, args=(number,), daemon=True)
            thread.start()
            self._threads.append(thread)

    @property
    def done(self) -> bool:
        """Whether all customers have left."""
        return not any(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        """Send the customers away."""
        self._stop.set()
        for thread in self._threads:
            thread.join(TIMEOUT)

    def _shop(self, customer: int) -> None:
        rng = random.Random(f"{self.seed} {self.prefix} {customer}")  # noqa: S311
        pause = self.seconds * CUSTOMERS / self.count
        while self.sent < self.count and not self._stop.is_set():
            self._send(nap=rng.random() ** 4 * 0.1, regret=self._regrets(rng))
            time.sleep(pause * rng.uniform(0.5, 1.5))

    def _regrets(self, rng: random.Random) -> bool:
        return not rng.randrange(REGRETS_ONE_IN)

    def _send(self, *, nap: float, regret: bool) -> None:
        with self._lock:
            self._numbers += 1
            key = f"{self.prefix}-{self._numbers}"
        query = {"key": key, "nap": f"{nap:.3f}", "regret": "yes" if regret else "no"}
        started = time.monotonic()
        served = self._get(f"{self.url}/send?{urllib.parse.urlencode(query)}")
        with self._lock:
            self.slowest = max(self.slowest, time.monotonic() - started)
            self.sent += served and not regret
            self.failed += not served

    def _get(self, address: str) -> bool:
        try:
            with urllib.request.urlopen(address, timeout=TIMEOUT) as answer:  # noqa: S310 - ours
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False
