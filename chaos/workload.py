"""The workload: client threads whose requests have the web server send events."""

from __future__ import annotations

import random
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field

#: One transaction in this many is rolled back after its event was sent.
ROLLBACK_ONE_IN = 12
CLIENTS = 3
TIMEOUT = 30.0


@dataclass
class Workload:
    """Send ``count`` events over ``seconds``, under keys with a common prefix.

    A failed request may or may not have been committed. Its key is not used again;
    another event is sent instead, until the count is reached.
    """

    url: str
    prefix: str
    count: int
    seconds: float
    seed: str
    sent: int = 0
    failed: int = 0
    slowest: float = 0.0
    _last_number: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        """Start the clients."""
        for number in range(CLIENTS):
            thread = threading.Thread(target=self._run, args=(number,), daemon=True)
            thread.start()
            self._threads.append(thread)

    @property
    def done(self) -> bool:
        """Return whether all clients have ended."""
        return not any(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        """Stop the clients and wait until they have ended."""
        self._stop.set()
        for thread in self._threads:
            thread.join(TIMEOUT)

    def _run(self, client: int) -> None:
        rng = random.Random(f"{self.seed} {self.prefix} {client}")  # noqa: S311
        pause = self.seconds * CLIENTS / self.count
        while self.sent < self.count and not self._stop.is_set():
            nap = rng.random() ** 4 * 0.1
            self._send(nap=nap, rollback=not rng.randrange(ROLLBACK_ONE_IN))
            time.sleep(pause * rng.uniform(0.5, 1.5))

    def _send(self, *, nap: float, rollback: bool) -> None:
        with self._lock:
            self._last_number += 1
            key = f"{self.prefix}-{self._last_number}"
        query = {
            "key": key,
            "nap": f"{nap:.3f}",
            "rollback": "yes" if rollback else "no",
        }
        started = time.monotonic()
        served = get(f"{self.url}/send?{urllib.parse.urlencode(query)}")
        with self._lock:
            self.slowest = max(self.slowest, time.monotonic() - started)
            self.sent += served and not rollback
            self.failed += not served


def get(address: str) -> bool:
    """Request a page of the web server; return whether it was served."""
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT) as answer:  # noqa: S310 - ours
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
