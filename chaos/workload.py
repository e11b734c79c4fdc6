"""The workload: client threads whose requests have the web server send events."""

from __future__ import annotations

import http.client
import random
import threading
import time
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
    another event is sent instead, until the count is reached. The count may be raised
    at any time, by ``extend()``.
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
    _pause: float = field(init=False)
    _clients: int = 0  # at work
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _started: int = 0  # clients, in all

    def __post_init__(self) -> None:
        self._pause = self.seconds * CLIENTS / self.count

    def start(self) -> None:
        """Start the clients."""
        self.extend(0)

    def extend(self, events: int) -> None:
        """Send more events at the same rate, also if all have been sent."""
        with self._lock:
            self.count += events
            while self._clients < CLIENTS:
                number = self._started
                threading.Thread(target=self._run, args=(number,), daemon=True).start()
                self._clients, self._started = self._clients + 1, number + 1

    @property
    def done(self) -> bool:
        """Return whether all clients have ended."""
        return not self._clients

    @property
    def left(self) -> int:
        """Return the number of events that are still to be sent."""
        return max(self.count - self.sent, 0)

    def _run(self, client: int) -> None:
        rng = random.Random(f"{self.seed} {self.prefix} {client}")  # noqa: S311
        while not self._ends():
            nap = rng.random() ** 4 * 0.1
            self._send(nap=nap, rollback=not rng.randrange(ROLLBACK_ONE_IN))
            time.sleep(self._pause * rng.uniform(0.5, 1.5))

    def _ends(self) -> bool:
        """Return whether a client has to end; it then is at work no longer."""
        with self._lock:
            ends = not self.left
            self._clients -= ends
            return ends

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
    except (http.client.HTTPException, OSError):
        return False
